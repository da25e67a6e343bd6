"""The peer of `taper-bench cuda`: PyTorch eager, channels last, cudnn.benchmark on.

    python cuda.py      answers requests on standard input, as crates/bench/src/protocol.rs says

Needs PyTorch alone; the cases from JPEG files also torchvision or Pillow. The networks come as JSON from the benchmark, and are
gone through layer by layer with the calls that torch.nn's modules make.
"""

import json
import os
import pathlib
import statistics
import sys
import time


class Network:
    """A network of Taper's, eager."""

    def __init__(self, work):
        import torch

        self.torch = torch
        self.device = torch.device(work["device"].replace("cpu:0", "cpu"))
        torch.backends.cudnn.benchmark = True
        tf32 = work["precision"] == "tf32"
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        self.dtype = {"bf16": torch.bfloat16, "f16": torch.float16}.get(work["precision"], torch.float32)
        described = json.loads(pathlib.Path(work["graph"]).read_text())
        values = torch.frombuffer(bytearray(pathlib.Path(work["weights"]).read_bytes()), dtype=torch.float32)
        tensors, at = {}, 0
        for entry in described["tensors"]:
            size = 1
            for side in entry["shape"]:
                size *= side
            tensor = values[at : at + size].reshape(entry["shape"]).to(self.device, self.dtype)
            if tensor.dim() == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            tensors[entry["name"]] = tensor
            at += size
        self.tensors, self.nodes = tensors, described["graph"]["nodes"]
        self.mean = torch.tensor(work["mean"], device=self.device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(work["std"], device=self.device).view(1, 3, 1, 1) * 255

    def normalised(self, pixels):
        """u8 [n, h, w, 3] to the network's input, channels last: the layout that the pixels have already."""
        x = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return ((x - self.mean) / self.std).to(self.dtype)

    def __call__(self, x):
        F, outputs = self.torch.nn.functional, []
        for node in self.nodes:
            kind, p = node["op"], {}
            if isinstance(kind, dict):
                [(kind, p)] = kind.items()
            i = [outputs[j] for j in node["inputs"]]
            own = lambda suffix: self.tensors.get(f"{node['name']}.{suffix}")
            if kind == "Input":
                y = x
            elif kind == "Conv2d":
                y, padding = i[0], 0
                if p["padding"] == "Same":
                    sides = []
                    for side in (y.shape[3], y.shape[2]):
                        reach = (p["kernel"] - 1) * p["dilation"] + 1
                        total = max((-(-side // p["stride"]) - 1) * p["stride"] + reach - side, 0)
                        sides += [total // 2, total - total // 2]
                    if len(set(sides)) == 1:
                        padding = sides[0]
                    else:
                        y = F.pad(y, sides)
                else:
                    padding = p["padding"]["Symmetric"]
                y = F.conv2d(y, own("weight"), own("bias"), p["stride"], padding, p["dilation"], p["groups"])
            elif kind == "BatchNorm":
                y = F.batch_norm(i[0], own("running_mean"), own("running_var"), own("weight"), own("bias"), False, 0.0, p["eps"])
            elif kind == "Activation":
                y = F.relu(i[0]) if p == "Relu" else F.relu6(i[0])
            elif kind == "MaxPool":
                y = F.max_pool2d(i[0], p["kernel"], p["stride"], p["padding"]["Symmetric"])
            elif kind == "GlobalAvgPool":
                y = i[0].mean((2, 3))
            elif kind == "Add":
                y = i[0] + i[1]
            elif kind == "Dropout":
                y = i[0]
            else:
                raise ValueError(f"layer {node['name']}: unknown kind {kind}")
            outputs.append(y)
            for j in node["inputs"]:
                if all(j not in later["inputs"] for later in self.nodes[len(outputs) :]):
                    outputs[j] = None
        return outputs[-1]


class Pixels:
    """Batches from memory."""

    def __init__(self, network, work):
        torch = network.torch
        n, size = work["batch"], work["size"]
        pixels = (torch.arange(n * size * size * 3, dtype=torch.int64) * 7919 % 251).to(torch.uint8)
        self.pixels = pixels.reshape(n, size, size, 3)
        if network.device.type == "cuda":
            self.pixels = self.pixels.pin_memory()
        self.network = network

    def batches(self):
        for _ in range(8):
            yield self.pixels


class Files:
    """Batches from JPEG files: a DataLoader with a process per core."""

    def __init__(self, network, work):
        torch = network.torch
        files = sorted(p for p in pathlib.Path(work["data"]).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        size = work["size"]

        class Pictures(torch.utils.data.Dataset):
            def __len__(self):
                return len(files)

            def __getitem__(self, i):
                import numpy
                from PIL import Image

                with Image.open(files[i]) as picture:
                    picture = picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
                    return torch.from_numpy(numpy.array(picture))

        self.loader = torch.utils.data.DataLoader(
            Pictures(),
            work["batch"],
            num_workers=work["threads"],
            pin_memory=network.device.type == "cuda",
            persistent_workers=True,
            prefetch_factor=4,
        )

    def batches(self):
        return iter(self.loader)


class Steps:
    """A network in training, eager: automatic mixed precision with f32 weights, fused AdamW, fixed statistics of BatchNorm."""

    def __init__(self, work):
        self.network = network = Network({**work, "precision": "tf32" if work["precision"] == "tf32" else "f32"})
        self.torch = torch = network.torch
        described = json.loads(pathlib.Path(work["graph"]).read_text())
        network.nodes = network.nodes[: described["features"] + 1]
        self.half = {"bf16": torch.bfloat16, "f16": torch.float16}.get(work["precision"])
        self.scaler = torch.amp.GradScaler(network.device.type, enabled=work["precision"] == "f16")
        heads = ("trained_head.fc.weight", "trained_head.fc.bias")
        used = {node["name"] for node in network.nodes}
        trained = []
        for name, tensor in network.tensors.items():
            if ".running_" not in name and (name in heads or name.rsplit(".", 1)[0] in used):
                trained.append(tensor.requires_grad_())
        self.head = [network.tensors[name] for name in heads]
        fused = network.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01, fused=fused)
        pixels = Pixels(network, work).pixels.float()
        rows = (pixels / 255 - torch.tensor(work["mean"])) / torch.tensor(work["std"])
        self.rows = rows.pin_memory() if fused else rows
        self.labels = (torch.arange(len(rows)) % 10).to(network.device)

    def step(self):
        F, torch, device = self.torch.nn.functional, self.torch, self.network.device
        x = self.rows.to(device, non_blocking=True).permute(0, 3, 1, 2)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=self.half or torch.bfloat16, enabled=self.half is not None):
            features = self.network(x).float()
        loss = F.cross_entropy(F.linear(features, *self.head), self.labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def run(self):
        for _ in range(8):
            loss = self.step()
        loss.cpu()
        return 8 * len(self.rows)


class Peer:
    def load(self, work):
        self.run = None
        if work["step"]:
            import torch

            steps = Steps(work)
            sample = [float(steps.step()) for _ in range(3)]
            self.run = steps.run
            name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
            return {"loaded": {"version": f"torch {torch.__version__} on {name}", "sample": sample}}
        network = Network(work)
        torch = network.torch
        sample_of = Pixels(network, work)
        source = Files(network, work) if work["data"] else sample_of

        def run():
            count, last = 0, None
            with torch.inference_mode():
                for pixels in source.batches():
                    last = network(network.normalised(pixels)).float()
                    count += len(pixels)
            last.cpu()
            return count

        with torch.inference_mode():
            sample = network(network.normalised(sample_of.pixels))[0].float().cpu().tolist()
        run()  # cudnn.benchmark chooses its algorithms
        self.run = run
        name = torch.cuda.get_device_name() if network.device.type == "cuda" else "cpu"
        return {"loaded": {"version": f"torch {torch.__version__} on {name}", "sample": sample}}

    def burst(self, seconds):
        """The first pass does not count, unless it is all there is time for: as in crates/bench/src/protocol.rs."""
        begin, times, count = time.perf_counter(), [], 0

        def timed():
            start = time.perf_counter()
            return self.run(), time.perf_counter() - start

        count, first = timed()
        times = [first] if first >= seconds else []
        while first < seconds and (len(times) < 2 or time.perf_counter() - begin < seconds):
            times.append(timed()[1])
        return {"measured": {"value": count / statistics.median(times), "passes": len(times)}}


if __name__ == "__main__":
    # Libraries print what they like: that goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = Peer()
    for line in sys.stdin:
        [(what, request)] = json.loads(line).items()
        try:
            said = peer.load(request) if what == "load" else peer.burst(request["seconds"])
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=answers, flush=True)
