"""Writes zoo.json, zoo/ and zoo.safetensors: what timm says about every network of the registry.

    python crates/testing/reference/zoo.py [NAME…]

- zoo.json: `pretrained_cfg`, parameters and feature width of each entry, as timm has them.
- zoo/NAME.tsv: names and shapes of the tensors in the order of `state_dict`, counters of batches left out; a line for each
  module, then `tensor shape` pairs.
- zoo.safetensors: pooled features (of transformers, the class token at their own size) and ImageNet logits of `picture(height, width)` on seeded weights, in 64-bit
  arithmetic on 32-bit weights, rounded to 32 bits; every n-th number only, so that at most 64 of each remain. The
  metadata holds the versions and, in `torch_f32`, ‖a − b‖ / ‖b‖ of torch's own 32-bit answer.

With names, only those networks are computed anew. The networks are those of `taper models`; sizes: `SIZES`.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import safetensors
import seeded
import timm
import torch
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
SIZES = [(224, 224), (256, 256), (197, 231)]
KEPT = 64

def registry() -> dict[str, str]:
    """Every network of `taper models`: its name in Taper, and timm's with its tag."""
    listing = ["cargo", "run", "--quiet", "--", "models", "--json"]
    answer = subprocess.run(listing, check=True, stdout=subprocess.PIPE)
    models = json.loads(answer.stdout)
    return {model["name"]: model["repository"].partition("/")[2] for model in models}


def listing(model: torch.nn.Module) -> str:
    """A line for each module, its tensors and their shapes behind it."""
    lines: dict[str, list[str]] = {}
    for key, value in model.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            module, _, tensor = key.rpartition(".")
            lines.setdefault(module, []).append(f"{tensor} {'×'.join(map(str, value.shape))}")
    return "".join("\t".join([module, *tensors]) + "\n" for module, tensors in lines.items())


def thinned(values: torch.Tensor) -> np.ndarray:
    values = values.double().numpy().astype(np.float32)
    return np.ascontiguousarray(values[:: -(-len(values) // KEPT)])


def pooled(model: torch.nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """The features that a head starts from: of ConvNeXt behind the last layer norm."""
    if isinstance(model, timm.models.ConvNeXt):
        return model.forward_head(maps, pre_logits=True)[0]
    if isinstance(model, timm.models.VisionTransformer):
        return maps[0, 0]
    return maps.mean((2, 3))[0]


def answer(model: torch.nn.Module, batch: torch.Tensor, logits: bool) -> list[torch.Tensor]:
    with torch.no_grad():
        maps = model.forward_features(batch)
        answers = [pooled(model, maps)]
        if logits:
            answers.append(model.forward_head(maps)[0])
    return answers


def specification(timm_name: str, model: torch.nn.Module) -> dict:
    cfg = model.pretrained_cfg
    # RepVGG's paper counts the network as it is deployed.
    deployed = timm.utils.reparameterize_model(model) if "repvgg" in timm_name else model
    return {
        "timm": timm_name,
        "repository": cfg["hf_hub_id"] if timm_name in cfg["hf_hub_id"] else f"timm/{timm_name}",
        "licence": cfg["license"],
        "size": cfg["input_size"][1],
        "interpolation": cfg["interpolation"],
        "crop": cfg["crop_pct"],
        "mean": cfg["mean"],
        "std": cfg["std"],
        "classes": cfg["num_classes"],
        "features": model.num_features,
        "parameters": sum(p.numel() for p in deployed.parameters()),
    }


def main() -> None:
    models = registry()
    wanted = sys.argv[1:] or list(models)
    (HERE / "zoo").mkdir(exist_ok=True)
    known, tensors, noise = {}, {}, {}
    if sys.argv[1:]:
        known = json.loads((HERE / "zoo.json").read_text(encoding="utf-8"))
        tensors = load_file(HERE / "zoo.safetensors")
        with safetensors.safe_open(HERE / "zoo.safetensors", "numpy") as file:
            noise = json.loads(file.metadata()["torch_f32"])
    for name in wanted:
        timm_name = models[name]
        model = timm.create_model(timm_name)
        if isinstance(model, timm.models.VisionTransformer):
            # The same network, for pictures of other sizes too.
            model = timm.create_model(timm_name, dynamic_img_size=True, dynamic_img_pad=True)
        model = model.eval()
        known[name] = specification(timm_name, model)
        (HERE / "zoo" / f"{name}.tsv").write_text(listing(model), encoding="utf-8")
        cfg = model.pretrained_cfg
        mean, std = (torch.tensor(cfg[key], dtype=torch.float64) for key in ("mean", "std"))
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        state = {key: torch.from_numpy(values) for key, values in seeded.state(shapes).items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing), (missing, unexpected)
        sizes = SIZES
        if isinstance(model, timm.models.VisionTransformer):
            sizes = sorted({tuple(cfg["input_size"][1:]), *SIZES})
        for height, width in sizes:
            # VGG's classifier needs 224 pixels: below, timm stretches the feature map, Taper says so.
            logits = model.num_classes > 0 and not (name.startswith("vgg") and min(height, width) < 224)
            pixels = torch.from_numpy(seeded.picture(height, width)).double()
            batch = ((pixels / 255 - mean) / std).permute(2, 0, 1)[None]
            singles = answer(model.float(), batch.float(), logits)
            doubles = answer(model.double(), batch, logits)
            case = f"{name}/{height}x{width}"
            for what, single, double in zip(["features", "logits"], singles, doubles):
                tensors[f"{case}/{what}"] = thinned(double)
                noise[f"{case}/{what}"] = f"{((single - double).norm() / double.norm()).item():.2e}"
                print(case, what, noise[f"{case}/{what}"], double.abs().mean().item(), flush=True)
    known = {name: known[name] for name in sorted(known)}
    (HERE / "zoo.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    metadata = {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        "torch_f32": json.dumps(noise, sort_keys=True),
    }
    save_file(tensors, HERE / "zoo.safetensors", metadata=metadata)


if __name__ == "__main__":
    main()
