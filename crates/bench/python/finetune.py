"""PyTorch's side of `cargo xtask bench finetune`: answers requests on standard input, as crates/bench/src/protocol.rs says.

    python finetune.py eager | channels-last
"""

import statistics
import sys
import time

import timm
import torch

import peers

NAMES = {
    "efficientnet-lite0": "tf_efficientnet_lite0",
    "resnet50": "resnet50",
    "vgg16": "vgg16",
    "mobilenet-v2": "mobilenetv2_100",
}


def network(name):
    """Timm's network with a linear layer on its pooled features; VGG-16 without its three wide layers, as in Taper."""
    if name == "vgg16":
        own = timm.create_model("vgg16", num_classes=10)
        return torch.nn.Sequential(
            own.features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(512, 10)
        )
    return timm.create_model(NAMES[name], num_classes=10)


def halves(model, name, first):
    """The layers below the one that training begins with, and the rest, as functions of their input."""
    if name == "resnet50":
        stages = ["conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        modules = [getattr(model, stage) for stage in stages]
        at = stages.index(first)
        rest = [*modules[at:], model.global_pool, model.fc]
    else:
        blocks = list(model.blocks)
        modules = [model.conv_stem, model.bn1, *blocks]
        at = 2 + int(first.removeprefix("blocks."))
        rest = [*modules[at:], model.conv_head, model.bn2, model.global_pool, model.classifier]
    return torch.nn.Sequential(*modules[:at]), torch.nn.Sequential(*rest)


class Step:
    def __init__(self, form):
        self.format = torch.channels_last if form == "channels-last" else torch.contiguous_format

    def load(self, work):
        torch.set_num_threads(work["threads"])
        torch.manual_seed(0)
        self.batch, first = work["batch"], work["from"]
        model = network(work["network"]).to(memory_format=self.format)
        model.train()
        if work["batch_norm"] == "frozen":
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
        x = torch.randn(self.batch, 3, work["size"], work["size"])
        self.x = x.contiguous(memory_format=self.format)
        self.y = torch.arange(self.batch) % 10
        self.below = None
        if first:
            self.below, model = halves(model, work["network"], first)
            self.below.eval()
        self.model = model
        # The fastest of torch's implementations.
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-5, fused=True)
        return {"loaded": {"version": f"torch {torch.__version__}, timm {timm.__version__}", "sample": []}}

    def step(self):
        start = time.perf_counter()
        x = self.x
        if self.below is not None:
            with torch.no_grad():
                x = self.below(x)
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(self.model(x), self.y)
        loss.backward()
        self.optimizer.step()
        loss.item()
        return time.perf_counter() - start

    def burst(self, seconds):
        begin = time.perf_counter()
        first = self.step()
        times = [first] if first >= seconds else []
        while first < seconds and (len(times) < 2 or time.perf_counter() - begin < seconds):
            times.append(self.step())
        return {"measured": {"value": self.batch / statistics.median(times), "passes": len(times)}}


peers.answer(Step(sys.argv[1]))
