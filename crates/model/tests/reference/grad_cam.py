"""Writes grad_cam.json: the maps of Grad-CAM that the package grad-cam (pytorch-grad-cam) draws for timm's networks.

    pip install torch timm grad-cam; python crates/model/tests/reference/grad_cam.py

Made with grad-cam 1.5.7, torch 2.15.0, timm 1.0.31, NumPy 2.4.6, opencv-python-headless 5.0.0.93, on the CPU; the file
names its versions. No random numbers: weights are those of `taper_graph::Weights::seeded`, by the tensors' names
(crates/testing/reference/seeded.py), or EfficientNet-Lite0's own (crates/zoo/assets). On the pooled features, as Taper has
them, stands a linear head of five classes, seeded as `fc.weight` [5, width] and `fc.bias`. Two pictures of `size` pixels:

- `formula`: `seeded.picture(size, size)`;
- `photograph`: the first crop of crates/grad/tests/reference/crops.png (its left 64 pixels, a cat), enlarged without
  smoothing: pixel (y, x) is that of (64 y / size, 64 x / size), rounded down.

Each goes through network and package in 64-bit arithmetic on 32-bit weights. `signed`: the package's weighted sum of the
target layer's channels, on the layer's `grid` (height, width), row by row; `map`: its positive part; `torch_f32`:
‖a − b‖ / ‖b‖ of `signed` as the package gives it in 32 bits. `drawn`: what users of the package get, `map` from 0 to 1,
resized to the picture, from 0 to 1 again; there of every `step`-th row every `step`-th pixel, from the first on. The
score is the logit of the class; asked are the two classes with the largest logits. For transformers, the package's
documented usage: the target layer is the last block's first norm, without its class token.
"""

import json
import pathlib
import sys
from importlib.metadata import version

import numpy as np
import timm
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "crates/testing/reference"))
import seeded  # noqa: E402
from zoo import pooled  # noqa: E402

CLASSES, SCORED = 5, 2
# Taper's name, timm's name, weights, side of the picture, step, target layer.
CASES = [
    ("resnet50", "resnet50.tv_in1k", "seeded", 96, 8, lambda m: m.layer4[-1]),
    ("vgg16", "vgg16.tv_in1k", "seeded", 96, 8, lambda m: m.features[-1]),
    ("efficientnet-lite0", "tf_efficientnet_lite0.in1k", "seeded", 96, 8, lambda m: m.bn2),
    ("efficientnet-lite0", "tf_efficientnet_lite0.in1k", "seeded", 224, 16, lambda m: m.bn2),
    ("efficientnet-lite0", "tf_efficientnet_lite0.in1k", "embedded", 96, 8, lambda m: m.bn2),
    ("efficientnet-lite0", "tf_efficientnet_lite0.in1k", "embedded", 224, 16, lambda m: m.bn2),
    ("convnext-atto", "convnext_atto.d2_in1k", "seeded", 160, 16, lambda m: m.stages[-1]),
    ("mobilenet-v4-small", "mobilenetv4_conv_small.e2400_r224_in1k", "seeded", 160, 16, lambda m: m.blocks[-1]),
    ("vit-base", "vit_base_patch16_224.augreg2_in21k_ft_in1k", "seeded", 96, 8, lambda m: m.blocks[-1].norm1),
    ("dinov2-small", "vit_small_patch14_dinov2.lvd142m", "seeded", 98, 8, lambda m: m.blocks[-1].norm1),
]


class Classifier(torch.nn.Module):
    """A network up to its pooled features, and a linear head."""

    def __init__(self, timm_name: str, weights: str) -> None:
        super().__init__()
        transformer = "vit_" in timm_name
        self.backbone = timm.create_model(timm_name, **({"dynamic_img_size": True} if transformer else {}))
        width = self.backbone.num_features
        self.fc = torch.nn.Linear(width, CLASSES)
        if weights == "seeded":
            state = seeded.state({key: tuple(value.shape) for key, value in self.backbone.state_dict().items()})
        else:
            state = load_file(ROOT / "crates/zoo/assets/efficientnet-lite0-f16.safetensors")
            state = {key: values.astype(np.float32) for key, values in state.items()}
        state = {f"backbone.{key}": values for key, values in state.items()}
        state |= seeded.state({"fc.weight": (CLASSES, width), "fc.bias": (CLASSES,)})
        missing, unexpected = self.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
        assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing), (missing, unexpected)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(pooled(self.backbone, self.backbone.forward_features(x))[None])


class Kept(GradCAM):
    """The package's Grad-CAM, which keeps the sum that it draws."""

    def get_cam_image(self, *arguments, **options) -> np.ndarray:
        self.signed = super().get_cam_image(*arguments, **options)
        return self.signed


def pictures(size: int) -> dict[str, np.ndarray]:
    photograph = np.asarray(Image.open(ROOT / "crates/grad/tests/reference/crops.png"))[:, :64]
    nearest = np.arange(size) * 64 // size
    return {"formula": seeded.picture(size, size), "photograph": photograph[nearest][:, nearest]}


def rounded(values: np.ndarray) -> list[float]:
    assert np.isfinite(values).all()
    return [float(f"{value:.7g}") for value in values.astype(np.float32).reshape(-1)]


def maps(model: Classifier, layer: torch.nn.Module, x: torch.Tensor, label: int) -> tuple[np.ndarray, ...]:
    """The signed sum on the layer's grid, and what the package draws."""
    reshape = None
    if isinstance(model.backbone, timm.models.VisionTransformer):
        patch = model.backbone.patch_embed.patch_size[0]
        height, width = (side // patch for side in x.shape[2:])
        reshape = lambda tokens: vit_reshape_transform(tokens, height, width)  # noqa: E731
    with Kept(model, [layer], reshape) as cam:
        drawn = cam(input_tensor=x, targets=[ClassifierOutputTarget(label)])[0]
        return cam.signed[0], drawn


def case(name: str, timm_name: str, weights: str, size: int, step: int, layer) -> dict:
    model = Classifier(timm_name, weights).eval()
    cfg = model.backbone.pretrained_cfg
    entry = {"network": name, "weights": weights, "size": size, "step": step}
    entry |= {"mean": list(cfg["mean"]), "std": list(cfg["std"]), "pictures": {}}
    mean, std = (torch.tensor(cfg[key], dtype=torch.float64) for key in ("mean", "std"))
    for what, pixels in pictures(size).items():
        x = ((torch.from_numpy(pixels.copy()).double() / 255 - mean) / std).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = model.double()(x)[0].numpy()
        found = {}
        for label in np.argsort(-logits)[:SCORED].tolist():
            single, _ = maps(model.float(), layer(model.backbone), x.float(), label)
            signed, drawn = maps(model.double(), layer(model.backbone), x, label)
            assert signed.dtype == np.float64 and drawn.shape == (size, size)
            noise = np.linalg.norm(single - signed) / np.linalg.norm(signed)
            found[str(label)] = {
                "torch_f32": float(f"{noise:.1e}"),
                "signed": rounded(signed),
                "map": rounded(np.maximum(signed, 0)),
                "drawn": rounded(drawn[::step, ::step]),
            }
            positive = int((signed > 0).sum())
            print(name, weights, size, what, label, f"{positive} of {signed.size} positive, {noise:.1e}", flush=True)
        entry["grid"] = list(signed.shape)
        entry["pictures"][what] = {"logits": rounded(logits), "classes": found}
    return entry


def main() -> None:
    # With more, `torch_f32` depends on their number.
    torch.set_num_threads(1)
    packages = ["grad-cam", "torch", "timm", "numpy", "opencv-python-headless"]
    cases = [case(*described) for described in CASES]
    answers = {"versions": {package: version(package) for package in packages}, "cases": cases}
    text = json.dumps(answers, separators=(",", ":"))
    for opening in ['{"network"', '"pictures"', '"photograph"', '"signed"', '"map"', '"drawn"']:
        text = text.replace(opening, "\n" + opening)
    (HERE / "grad_cam.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
