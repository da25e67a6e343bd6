"""Writes networks.safetensors: what three of timm's models answer on seeded and on embedded weights.

    python crates/testing/reference/networks.py

Made with the versions that the file's metadata names, on the CPU. For every network and input size: the pooled features
and the ImageNet logits of `picture(height, width)`, in 64-bit arithmetic on 32-bit weights, rounded to 32 bits at the
end. `torch_f32` is ‖a − b‖ / ‖b‖ of torch's own 32-bit answer against it, for features and logits: the noise that any
implementation in 32 bits may have.
"""

import json
import pathlib

import numpy as np
import safetensors
import seeded
import timm
import torch
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
EMBEDDED = HERE.parent.parent / "zoo/assets/efficientnet-lite0-f16.safetensors"
HALF = ((0.5,) * 3, (0.5,) * 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# VGG's classifier needs 224 pixels (below, timm stretches the feature map, Taper says so): features only.
NETWORKS = [
    ("efficientnet-lite0", "tf_efficientnet_lite0", HALF, "seeded", [(224, 224), (256, 256), (197, 231)], 0),
    ("efficientnet-lite0", "tf_efficientnet_lite0", HALF, "embedded", [(224, 224), (197, 231)], 0),
    ("resnet50", "resnet50", IMAGENET, "seeded", [(224, 224), (256, 256), (197, 231)], 0),
    ("vgg16", "vgg16", IMAGENET, "seeded", [(224, 224), (256, 256), (224, 270), (197, 231)], 224),
]


def answer(model: torch.nn.Module, picture: np.ndarray, norm, logits: bool) -> list[torch.Tensor]:
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in norm)
    pixels = torch.from_numpy(picture).double()
    batch = ((pixels / 255 - mean) / std).permute(2, 0, 1)[None].to(next(model.parameters()).dtype)
    with torch.no_grad():
        maps = model.forward_features(batch)
        answers = [maps.mean((2, 3))[0]]
        if logits:
            answers.append(model.forward_head(maps)[0])
    return answers


def main() -> None:
    tensors, noise = {}, {}
    for name, timm_name, norm, weights, sizes, smallest in NETWORKS:
        model = timm.create_model(timm_name).eval()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        if weights == "seeded":
            state = seeded.state(shapes)
        else:
            state = {key: values.astype(np.float32) for key, values in load_file(EMBEDDED).items()}
        state = {key: torch.from_numpy(values) for key, values in state.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing), (missing, unexpected)
        for height, width in sizes:
            picture = seeded.picture(height, width)
            logits = min(height, width) >= smallest
            singles = answer(model.float(), picture, norm, logits)
            doubles = answer(model.double(), picture, norm, logits)
            case = f"{name}/{weights}/{height}x{width}"
            for what, single, double in zip(["features", "logits"], singles, doubles):
                tensors[f"{case}/{what}"] = double.numpy().astype(np.float32)
                noise[f"{case}/{what}"] = f"{((single - double).norm() / double.norm()).item():.2e}"
                print(case, what, noise[f"{case}/{what}"], double.abs().mean().item(), flush=True)
    metadata = {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "torch_f32": json.dumps(noise, sort_keys=True),
    }
    save_file(tensors, HERE / "networks.safetensors", metadata=metadata)


if __name__ == "__main__":
    main()
