"""PyTorch's side of `cargo xtask bench head`: answers requests on standard input, as crates/bench/src/protocol.rs says."""

import statistics
import time

import torch

import peers


class Head:
    def load(self, work):
        torch.set_num_threads(work["threads"])
        torch.manual_seed(0)
        rows, width = work["rows"], work["width"]
        self.batch = work["batch"]
        self.x = (torch.arange(rows * width, dtype=torch.int64) * 7919 % 251).reshape(rows, width).float() / 250
        self.y = torch.arange(rows) % 3
        norm = lambda n: torch.nn.BatchNorm1d(n, eps=1e-3, momentum=0.01)
        self.head = torch.nn.Sequential(
            norm(width),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(width, 512),
            torch.nn.ReLU(),
            norm(512),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(512, 3),
        )
        # The fastest of torch's implementations: "foreach" and "for-loop" take longer.
        self.optimizer = torch.optim.Adam(self.head.parameters(), 1e-3, eps=1e-7, fused=True)
        return {"loaded": {"version": f"torch {torch.__version__}", "sample": []}}

    def epoch(self):
        start = time.perf_counter()
        for rows in torch.randperm(len(self.x)).split(self.batch):
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.head(self.x[rows]), self.y[rows])
            loss.backward()
            self.optimizer.step()
            loss.item()
        return time.perf_counter() - start

    def burst(self, seconds):
        begin = time.perf_counter()
        first = self.epoch()
        times = [first] if first >= seconds else []
        while first < seconds and (len(times) < 2 or time.perf_counter() - begin < seconds):
            times.append(self.epoch())
        return {"measured": {"value": len(self.x) / statistics.median(times), "passes": len(times)}}


peers.answer(Head())
