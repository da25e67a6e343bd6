"""Writes crops.png and fine_tuning.json: twenty steps of torch in 64-bit arithmetic.

    python crates/grad/tests/reference/fine_tuning.py

EfficientNet-Lite0 with its ImageNet weights (crates/zoo/assets) and a seeded linear head learns eight crops of the
photographs in tests/end_to_end. For each tensor: the norm of its values and their product with `factors`, after the last
step, how far it has moved, and the norm of its first gradient. Loss: cross entropy. Layer decay: each stage's rate is 0.8
times that of the next one. With trained statistics the rates are a tenth: a few values per channel decide where ReLU6 has
its kinks, so that 32 and 64 bits soon go different ways.
"""

import json
import pathlib
import sys

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "crates/testing/reference"))
import seeded  # noqa: E402

SIDE, STEPS, CLASSES = 64, 20, 3
MEAN, STD = [0.5] * 3, [0.5] * 3


def crops() -> np.ndarray:
    pictures = [Image.open(ROOT / "tests/end_to_end/photographs" / f"{n}.jpg") for n in ["chelsea", "coffee", "rocket"]]
    strip = Image.new("RGB", (8 * SIDE, SIDE))
    for i in range(8):
        picture = pictures[i % 3].convert("RGB")
        side = min(picture.size) * 2 // 3
        left, top = (i * 17) % (picture.width - side), (i * 11) % (picture.height - side)
        crop = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        strip.paste(crop, (i * SIDE, 0))
    strip.save(HERE / "crops.png", optimize=True)
    pixels = np.asarray(strip).reshape(SIDE, 8, SIDE, 3)
    return pixels.transpose(1, 0, 2, 3)


def factors(count: int) -> torch.Tensor:
    return torch.from_numpy(np.sin(np.arange(count, dtype=np.float64) * 0.7368 + 0.25))


def digest(values: torch.Tensor) -> list[float]:
    values = values.reshape(-1).double()
    return [float(f"{v:.9g}") for v in (values.norm().item(), (values * factors(len(values))).sum().item())]


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The same sums as torch's own, which takes seconds for a depthwise convolution in 64 bits."""
    pad = padding if isinstance(padding, tuple) else (padding, padding)
    step = stride if isinstance(stride, tuple) else (stride, stride)
    x = torch.nn.functional.pad(x, (pad[1], pad[1], pad[0], pad[0]))
    kh, kw = weight.shape[2:]
    height, width = (x.shape[2] - kh) // step[0] + 1, (x.shape[3] - kw) // step[1] + 1
    total = 0
    for i in range(kh):
        for j in range(kw):
            part = x[:, :, i : i + height * step[0] : step[0], j : j + width * step[1] : step[1]]
            part = part[:, :, :height, :width]
            taps = weight[:, :, i, j]
            total = total + (part * taps.reshape(1, -1, 1, 1) if groups > 1 else torch.einsum("nchw,oc->nohw", part, taps))
    return total if bias is None else total + bias.reshape(1, -1, 1, 1)


class Classifier(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("tf_efficientnet_lite0", num_classes=0, global_pool="")
        self.head = torch.nn.ModuleDict({"fc": torch.nn.Linear(1280, CLASSES)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head["fc"](self.backbone.forward_features(x).mean((2, 3)))


def depth(name: str) -> int:
    """Stages between a tensor and the logits."""
    if name.startswith("head."):
        return 0
    if name.startswith(("backbone.conv_head", "backbone.bn2")):
        return 1
    if name.startswith("backbone.blocks."):
        return 8 - int(name.split(".")[2])
    return 9


def classifier() -> Classifier:
    """With ImageNet weights and a seeded head, in 64 bits."""
    model = Classifier()
    weights = {f"backbone.{k}": v for k, v in load_file(ROOT / "crates/zoo/assets/efficientnet-lite0-f16.safetensors").items()}
    weights |= {f"head.{k}": v for k, v in seeded.state({"fc.weight": (CLASSES, 1280), "fc.bias": (CLASSES,)}).items()}
    own = model.state_dict()
    for name in own:
        if not name.endswith("num_batches_tracked"):
            own[name] = torch.from_numpy(weights[name].astype(np.float64))
    model.double().load_state_dict(own)
    return model


def run(pixels: np.ndarray, algorithm: str, mode: str) -> dict:
    model = classifier().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and mode == "frozen":
            module.eval()
    groups = []
    for name, p in model.named_parameters():
        decay = (0.05 if algorithm == "adamw" else 1e-4) if p.ndim > 1 else 0.0
        rate = (3e-4 if algorithm == "adamw" else 3e-3) * 0.8 ** depth(name) * (0.1 if mode == "trained" else 1)
        groups.append({"params": [p], "lr": rate, "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups) if algorithm == "adamw" else torch.optim.SGD(groups, momentum=0.9)
    x = (torch.from_numpy(pixels.astype(np.float64)) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    x, y = x.permute(0, 3, 1, 2), torch.arange(8) % CLASSES
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses, first = [], {}
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        first = first or {name: float(f"{p.grad.norm().item():.3g}") for name, p in model.named_parameters()}
        optimizer.step()
        losses.append(float(f"{loss.item():.9g}"))
    after = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    print(algorithm, mode, losses[0], losses[-1], flush=True)
    return {"losses": losses, "tensors": {n: [*digest(v), digest(v - before[n])[0], first.get(n, 0.0)] for n, v in after.items()}}


def main() -> None:
    torch.nn.functional.conv2d = torch.conv2d = conv2d
    pixels = crops()
    answers = {f"{a} {m}": run(pixels, a, m) for a in ["sgd", "adamw"] for m in ["frozen", "trained"]}
    answers["versions"] = {"torch": torch.__version__, "timm": timm.__version__}
    text = json.dumps(answers, separators=(",", ":")).replace('],"', '],\n"')
    (HERE / "fine_tuning.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
