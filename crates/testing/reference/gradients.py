"""Writes gradients.json: torch's gradients of whole networks, in 64-bit arithmetic on seeded weights.

    python crates/testing/reference/gradients.py [NAME…]

The loss is the sum of the features of three pictures times `factors`; its gradients with respect to every tensor are kept
as two numbers, their norm and their product with `factors`. `frozen`: BatchNorm with its running statistics; `trained`: with
those of the batch, whose running statistics after the pass are kept as well. `torch_f32` is how far torch's own 32-bit
answer is off at most, relative to a tensor's norm: where an activation's kink lies between the two, a gradient changes by
leaps. With names, only those networks are computed anew.
"""

import json
import pathlib
import sys

import numpy as np
import seeded
import timm
import torch
from timm.utils.model import reparameterize_model
from zoo import pooled

HERE = pathlib.Path(__file__).parent
FILE = HERE / "gradients.json"
NETWORKS = {
    "resnet18": "resnet18.tv_in1k",
    "resnet50": "resnet50.tv_in1k",
    "vgg11": "vgg11.tv_in1k",
    "vgg11-bn": "vgg11_bn.tv_in1k",
    "mobilenet-v2": "mobilenetv2_100.ra_in1k",
    "efficientnet-lite0": "tf_efficientnet_lite0.in1k",
    "mobilenet-v4-small": "mobilenetv4_conv_small.e2400_r224_in1k",
    "convnext-atto": "convnext_atto.d2_in1k",
    "dinov2-small": "vit_small_patch14_dinov2.lvd142m",
    "fastvit-t8": "fastvit_t8.apple_in1k",
    "mobileone-s4": "mobileone_s4.apple_in1k",
}
SIZE = {"dinov2-small": (70, 98)}
# Their branches are one convolution, as in Taper.
FUSED = ["fastvit-t8", "mobileone-s4"]
# Where torch's own 32-bit answer is further off than this, there is nothing to compare with.
LARGEST_F32 = 1e-2


def factors(count: int) -> torch.Tensor:
    """Numbers between -1 and 1 that depend on their position alone."""
    return torch.from_numpy(np.sin(np.arange(count, dtype=np.float64) * 0.7368 + 0.25))


def digest(values: torch.Tensor) -> list[float]:
    values = values.reshape(-1)
    return [float(f"{number:.9g}") for number in (values.norm().item(), (values.double() * factors(len(values))).sum().item())]


def batch(height: int, width: int) -> torch.Tensor:
    """A picture, its mirror image and its negative: [3, height, width, 3], 0 to 255."""
    picture = torch.from_numpy(seeded.picture(height, width).astype(np.float64))
    return torch.stack([picture, picture.flip(1), 255 - picture])


def gradients(model: torch.nn.Module, pixels: torch.Tensor) -> dict[str, list[float]]:
    model.zero_grad()
    maps = model.forward_features(pixels)
    rows = torch.stack([pooled(model, maps[i : i + 1]) for i in range(len(maps))])
    (rows.reshape(-1) * factors(rows.numel()).to(rows.dtype)).sum().backward()
    digests = {"features": digest(rows.detach())}
    digests |= {name: digest(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    if model.training:
        running = {k: v for k, v in model.state_dict().items() if k.rpartition(".")[2].startswith("running")}
        digests |= {name: digest(values) for name, values in running.items()}
    return digests


def difference(found: dict[str, list[float]], expected: dict[str, list[float]]) -> float:
    """The largest difference, relative to a tensor's norm; as the test measures it."""
    largest = max(norm for norm, _ in expected.values())
    off = []
    for name, pair in expected.items():
        norm = pair[0] if pair[0] > 1e-9 * largest else 1e-2 * largest
        off += [abs(a - b) / norm for a, b in zip(found[name], pair)]
    return max(off)


def main() -> None:
    wanted = sys.argv[1:] or list(NETWORKS)
    known = json.loads(FILE.read_text(encoding="utf-8")) if sys.argv[1:] else {}
    for name in wanted:
        options = {"dynamic_img_size": True, "dynamic_img_pad": True} if name in SIZE else {}
        model = timm.create_model(NETWORKS[name], **options)
        # It sets some parameters aside.
        model = reparameterize_model(model).requires_grad_() if name in FUSED else model
        cfg = model.pretrained_cfg
        mean, std = (torch.tensor(cfg[key], dtype=torch.float64) for key in ("mean", "std"))
        height, width = SIZE.get(name, (96, 64))
        pixels = ((batch(height, width) / 255 - mean) / std).permute(0, 3, 1, 2)
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        entry = {"size": [height, width], "torch_f32": {}}
        normed = any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
        for mode in ["frozen", "trained"] if normed else ["frozen"]:
            # FastViT's scales have the shape of maps in timm.
            flat = {key: shape[:1] if key.endswith(".gamma") else shape for key, shape in shapes.items()}
            state = {key: torch.from_numpy(values).reshape(shapes[key]) for key, values in seeded.state(flat).items()}
            model.train(mode == "trained")
            answers = []
            for precision in [torch.float64, torch.float32]:
                model.to(precision).load_state_dict(state, strict=False)
                answers.append(gradients(model, pixels.to(precision)))
            double, single = answers
            off = float(f"{difference(single, double):.1e}")
            if off > LARGEST_F32:
                print(f"{name}, {mode}: left out, since torch's 32-bit answer is off by {off}")
                continue
            entry[mode], entry["torch_f32"][mode] = double, off
        known[name] = entry
        print(name, entry["torch_f32"], flush=True)
    known = {"versions": {"torch": torch.__version__, "timm": timm.__version__}} | {n: known[n] for n in sorted(known) if n != "versions"}
    FILE.write_text(json.dumps(known, separators=(",", ":")).replace('},"', '},\n"').replace('],"', '],\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
