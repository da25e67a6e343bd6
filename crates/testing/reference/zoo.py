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
# CLIP's pictures' networks, where timm has them under other names than the repository's. Their features are timm's
# `head`, which Taper calls `projection`; timm gives it a bias of zeros, and another crop to some.
CLIP = {
    "clip-vit-b32": "vit_base_patch32_clip_quickgelu_224.openai",
    "clip-vit-b16": "vit_base_patch16_clip_quickgelu_224.openai",
    "clip-vit-l14": "vit_large_patch14_clip_quickgelu_224.openai",
    "clip-vit-b32-laion2b": "vit_base_patch32_clip_224.laion2b",
    "clip-vit-b32-datacomp": "vit_base_patch32_clip_224.datacompxl",
}
# SigLIP's, with the form of GELU that it was trained with.
SIGLIP = {"siglip-b16": "vit_base_patch16_siglip_224.webli", "siglip2-b16": "vit_base_patch16_siglip_224.v2_webli"}
# MobileCLIP's, with open_clip's way to prepare pictures.
MOBILECLIP = {
    "mobileclip-s1": "fastvit_mci1.apple_mclip",
    "mobileclip-s2": "fastvit_mci2.apple_mclip",
    "mobileclip2-s0": "fastvit_mci0.apple_mclip2_dfndr2b",
}
# timm's names of licences that have no SPDX expression.
LICENCES = {f"{name}": f"licenseref-{name.removesuffix('-license')}" for name in ("fastvit-license", "mobileone-license", "apple-amlr")}
FASTVIT = ("fastvit", "mobileclip")
# Of these, some weights are smaller: attention on random weights would be all on one position, and what is squeezed far
# beyond where a sigmoid changes.
QUIETER = {
    FASTVIT: ((".gamma", ".qkv.weight"), np.float32(0.05)),
    ("mobileone",): ((".bn.weight", ".identity.weight"), np.float32(0.7)),
}
# One of a family stands for all: they differ in their sizes.
LISTED = (set(CLIP) | set(SIGLIP) | set(MOBILECLIP) | {"dinov2-base-reg4"}) - {"clip-vit-b32", "siglip-b16", "mobileclip2-s0"}
LISTED |= {"fastvit-t12", "fastvit-s12", "fastvit-sa24", "fastvit-sa36", "fastvit-ma36", "mobileone-s1", "mobileone-s2", "mobileone-s3"}

def registry() -> dict[str, tuple[str, str]]:
    """Every network of `taper models`: its name in Taper, timm's with its tag, and the repository."""
    listing = ["cargo", "run", "--quiet", "--", "models", "--json"]
    answer = subprocess.run(listing, check=True, stdout=subprocess.PIPE)
    models = json.loads(answer.stdout)
    timm_name = lambda model: (CLIP | SIGLIP | MOBILECLIP).get(model["name"], model["repository"].partition("/")[2])
    return {model["name"]: (timm_name(model), model["repository"]) for model in models}


def listing(tensors: dict[str, torch.Tensor]) -> str:
    """A line for each module, its tensors and their shapes behind it."""
    lines: dict[str, list[str]] = {}
    for key, value in tensors.items():
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
        ends_with_head = model.attn_pool is not None or model.pretrained_cfg["num_classes"] not in (0, 1000)
        return model.forward_head(maps)[0] if ends_with_head else maps[0, 0]
    if isinstance(model, timm.models.FastVit) and model.pretrained_cfg["num_classes"] not in (0, 1000):
        return model.forward_head(maps)[0]
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
    branched = ("repvgg", "mobileone", "fastvit")
    deployed = timm.utils.reparameterize_model(model) if timm_name.startswith(branched) else model
    return {
        "timm": timm_name,
        "repository": cfg["hf_hub_id"] if timm_name in cfg["hf_hub_id"] else f"timm/{timm_name}",
        "licence": LICENCES.get(cfg["license"], cfg["license"]),
        "size": cfg["input_size"][1],
        "interpolation": cfg["interpolation"],
        "crop": cfg["crop_pct"],
        "mean": cfg["mean"],
        "std": cfg["std"],
        "classes": cfg["num_classes"],
        "features": model.num_features,
        "parameters": sum(p.numel() for p in deployed.parameters()),
    }


def of_clip(specification: dict, repository: str) -> dict:
    """What timm says about a network of CLIP, with Taper's projection and open_clip's crop and licence."""
    features = specification["classes"]
    changes = {"repository": repository, "licence": "mit", "crop": 1.0, "classes": 0, "features": features}
    return {**specification, **changes, "parameters": specification["parameters"] - features}


def of_siglip(specification: dict, name: str, repository: str) -> dict:
    """The same for SigLIP, whose pictures are squashed (a crop of 0), as its repository says. In Taper, the query of the
    pooling is part of a layer of scores and values."""
    interpolation = "bilinear" if name == "siglip2-b16" else "bicubic"
    width, heads = 768, 12
    pooling = width + (width + 1) * 3 * width - (width + 1) * (heads + width)
    changes = {"repository": repository, "licence": "apache-2.0", "interpolation": interpolation, "crop": 0.0}
    return {**specification, **changes, "parameters": specification["parameters"] - pooling}


def of_mobileclip(specification: dict, repository: str) -> dict:
    """The same for MobileCLIP, whose projection is the last layer of the features, as in timm."""
    changes = {"repository": repository, "crop": 1.0, "interpolation": "bilinear", "classes": 0, "features": specification["classes"]}
    return {**specification, **changes}


def projected(state: dict) -> dict:
    """timm's tensors of CLIP under Taper's names."""
    names = {name: name.replace("head.", "projection.") for name in state if name != "head.bias"}
    return {names[name]: state[name] for name in names}


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
        timm_name, repository = models[name]
        options = {"act_layer": "gelu_tanh"} if name in SIGLIP else {}
        model = timm.create_model(timm_name, **options)
        if isinstance(model, timm.models.VisionTransformer):
            # The same network, for pictures of other sizes too.
            model = timm.create_model(timm_name, dynamic_img_size=True, dynamic_img_pad=True, **options)
        model = model.eval()
        known[name] = specification(timm_name, model)
        tensors_of = model.state_dict()
        if name.endswith("-reg4"):
            # In Taper, class token and registers have positions too, of zeros.
            known[name]["parameters"] += 5 * model.num_features
        if name in CLIP:
            known[name] = of_clip(known[name], repository)
            tensors_of = projected(tensors_of)
        (HERE / "zoo" / f"{name}.tsv").write_text(listing(tensors_of), encoding="utf-8")
        if name in SIGLIP:
            known[name] = of_siglip(known[name], name, repository)
        if name in MOBILECLIP:
            known[name] = of_mobileclip(known[name], repository)
        if name.startswith(FASTVIT):
            # Attention's norm is part of the layer behind it, which gets a bias.
            attended = [module for module in model.modules() if type(module).__name__ == "AttentionBlock"]
            known[name]["parameters"] += sum(3 * block.norm.num_features - 2 * block.norm.num_features for block in attended)
        if name in LISTED:
            continue
        cfg = model.pretrained_cfg
        mean, std = (torch.tensor(cfg[key], dtype=torch.float64) for key in ("mean", "std"))
        shapes = {key: tuple(value.shape) for key, value in tensors_of.items()}
        state = {key: torch.from_numpy(values) for key, values in seeded.state(shapes).items()}
        if name in CLIP:
            weight = state.pop("projection.weight")
            state |= {"head.weight": weight, "head.bias": torch.zeros(len(weight))}
        for families, (endings, factor) in QUIETER.items():
            if name.startswith(families):
                state = {key: values * factor if key.endswith(endings) else values for key, values in state.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing), (missing, unexpected)
        sizes = SIZES
        if isinstance(model, timm.models.VisionTransformer):
            sizes = sorted({tuple(cfg["input_size"][1:]), *SIZES})
        for height, width in sizes:
            # VGG's classifier needs 224 pixels: below, timm stretches the feature map, Taper says so.
            logits = known[name]["classes"] > 0 and not (name.startswith("vgg") and min(height, width) < 224)
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
