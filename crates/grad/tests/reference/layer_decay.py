"""Writes layer_decay.json: by how many factors of timm's layer decay each layer's rate lies below the head's.

    python crates/grad/tests/reference/layer_decay.py

One network of each family, by layers as timm names them; layers without weights of their own are left out, and so are those
of VGG and MobileNetV4 between pooling and classifier, which Taper's features come before.
"""

import json
import pathlib

import timm
import timm.optim
import timm.utils

HERE = pathlib.Path(__file__).parent
NETWORKS = {
    "resnet50": "resnet50",
    "vgg16": "vgg16",
    "vgg16-bn": "vgg16_bn",
    "efficientnet-lite0": "tf_efficientnet_lite0",
    "mobilenet-v2": "mobilenetv2_100",
    "mobilenet-v4-small": "mobilenetv4_conv_small",
    "convnext-tiny": "convnext_tiny",
    "vit-base": "vit_base_patch16_224",
    "dinov2-small": "vit_small_patch14_dinov2",
    "repvgg-a0": "repvgg_a0",
}


def factors(name: str) -> dict[str, int]:
    model = timm.create_model(name, num_classes=3)
    if "repvgg" in name:
        model = timm.utils.reparameterize_model(model)
    groups = timm.optim.param_groups_layer_decay(model, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    head = model.get_classifier()
    head = {id(p) for p in head.parameters()}
    behind = ("pre_logits.", "norm_head.") + (("conv_head.",) if "mobilenetv4" in name else ())
    own = {n: scale[id(p)] for n, p in model.named_parameters() if id(p) not in head and not n.startswith(behind)}
    order = sorted(set(own.values()), reverse=True)
    return {n: order.index(s) + 1 for n, s in own.items()}


def main() -> None:
    answers = {}
    for name, timm_name in NETWORKS.items():
        answers[name] = {}
        for tensor, factor in factors(timm_name).items():
            layer = tensor.rpartition(".")[0] or tensor
            assert answers[name].setdefault(layer, factor) == factor, tensor
    answers["versions"] = {"timm": timm.__version__}
    text = json.dumps(answers, separators=(",", ":")).replace('},"', '},\n"')
    (HERE / "layer_decay.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
