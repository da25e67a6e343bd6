"""Writes curve.json: the curve of a small fine-tuning run, by torch in 64-bit arithmetic.

    python crates/train/tests/reference/curve.py

EfficientNet-Lite0 with its ImageNet weights and a seeded linear head learns six crops of photographs as `lp-ft` does: AdamW,
timm's layer decay of 0.8, half a cosine after a warm-up, gradients clipped to a norm of 1, statistics
frozen. Every epoch is one batch of all six, so that their order does not matter; two further crops are validated on. Losses
and accuracies of each epoch.
"""

import json
import math
import pathlib
import sys

import numpy as np
import timm
import timm.optim
import torch
from PIL import Image

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "crates/grad/tests/reference"))
from fine_tuning import CLASSES, SIDE, classifier, conv2d  # noqa: E402

EPOCHS, WARM_UP, RATE, DECAY = 12, 2, 2e-5, 0.01


def factor(step: int) -> float:
    if step < WARM_UP:
        return step / WARM_UP
    return (1 + math.cos(math.pi * (step - WARM_UP) / (EPOCHS - WARM_UP))) / 2


def rate_factors() -> dict[str, float]:
    """timm's layer decay, by the names of `Classifier`."""
    model = timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)
    groups = timm.optim.param_groups_layer_decay(model, layer_decay=0.8)
    by_tensor = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    name_of = lambda name: name.replace("classifier.", "head.fc.") if "classifier" in name else f"backbone.{name}"
    return {name_of(name): by_tensor[id(p)] for name, p in model.named_parameters()}


def main() -> None:
    torch.nn.functional.conv2d = torch.conv2d = conv2d
    strip = np.asarray(Image.open(ROOT / "crates/grad/tests/reference/crops.png")).reshape(SIDE, 8, SIDE, 3)
    x = torch.from_numpy(strip.transpose(1, 3, 0, 2).astype(np.float64)) / 127.5 - 1
    y = torch.arange(8) % CLASSES
    model = classifier().eval()
    groups, factors = [], rate_factors()
    for name, p in model.named_parameters():
        groups.append({"params": [p], "lr": RATE * factors[name], "weight_decay": DECAY if p.ndim > 1 else 0.0})
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    curve = []
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        logits = model(x[:6])
        loss = torch.nn.functional.cross_entropy(logits, y[:6])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            held_out = model(x[6:])
            val_loss = torch.nn.functional.cross_entropy(held_out, y[6:])
        accuracy = [(found.argmax(1) == wanted).double().mean() for found, wanted in [(logits, y[:6]), (held_out, y[6:])]]
        curve.append([float(f"{v.item():.9g}") for v in (loss, accuracy[0], val_loss, accuracy[1])])
        print(curve[-1], flush=True)
    answer = {"columns": ["loss", "accuracy", "val_loss", "val_accuracy"], "epochs": curve, "versions": {"torch": torch.__version__, "timm": timm.__version__}}
    text = json.dumps(answer, separators=(",", ":")).replace("],[", "],\n[")
    (HERE / "curve.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
