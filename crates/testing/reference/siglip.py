"""Writes siglip/: what open_clip and transformers say about SigLIP and MobileCLIP.

    python crates/testing/reference/siglip.py

Needs torch, timm, open_clip_torch, transformers and ftfy; the versions stand in the metadata of
siglip/answers.safetensors.

- siglip/NAME.open_clip.tsv, siglip/NAME.transformers.tsv: names and shapes of the tensors of the published networks, from
  their configurations alone.
- siglip/small.json: three small networks, SigLIP in the form of each library and MobileCLIP in open_clip's, with what
  they are made of and the names and shapes of their tensors.
- siglip/answers.safetensors: their features of texts and of a picture, and the logits, on seeded weights (but for
  `logit_scale` and `logit_bias`, which stand in small.json, and `gamma`, which is halved), in 64-bit arithmetic on 32-bit
  weights, rounded to 32 bits.
- siglip/tokenizer.json.gz: a small tokenizer in the form of SigLIP's, trained on the names of ImageNet's classes.
- siglip/tokens.json.gz: nearly 2,000 texts, each with its tokens when made canonical (SigLIP) and when only put in lower case
  (SigLIP 2). open_clip first repairs the text (ftfy, HTML entities); where that changes nothing, its tokenizer must agree
  with the former, or this fails.
"""

import gzip
import html
import importlib.metadata
import json
import pathlib

import clip
import ftfy
import numpy as np
import open_clip
import seeded
import timm
import tokenizers
import torch
import transformers
from open_clip.tokenizer import SigLipTokenizer, canonicalize_text
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
from safetensors.numpy import save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
OUT = HERE / "siglip"
CONTEXT = 64
VOCABULARY = 1000
END = 1
# Taper's name, open_clip's configuration, and the words of transformers' (None: it has no such network).
PUBLISHED = [
    ("siglip-b16", "ViT-B-16-SigLIP", 32000),
    ("siglip2-b16", "ViT-B-16-SigLIP2", 256000),
    ("mobileclip-s1", "MobileCLIP-S1", None),
    ("mobileclip-s2", "MobileCLIP-S2", None),
]
LOGIT_SCALE, LOGIT_BIAS = 2.5, -10.0
# The small networks. Both forms of SigLIP have the tanh approximation of GELU in both towers, as the original has;
# open_clip's own configuration has the exact one, but for the texts of SigLIP 2.
VIT = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "heads": 4, "hidden": 128}
FASTVIT = {"layers": (1, 1, 1, 2), "embed_dims": (8, 16, 32, 64)}
SIGLIP_TEXT = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 32, "heads": 4, "layers": 2}
MOBILECLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 24, "heads": 3, "layers": 2}
FEATURES = 16
SIGLIP = {
    "image_size": VIT["image_size"],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "image": {**VIT, "activation": "gelu_tanh", "norm_eps": 1e-6, "pool": "map"},
    "text": {**SIGLIP_TEXT, "hidden": 128, "activation": "gelu_tanh", "norm_eps": 1e-6, "causal": False, "pool": "last", "pad": END},
    "features": SIGLIP_TEXT["width"],
    "logit_scale": LOGIT_SCALE,
    "logit_bias": LOGIT_BIAS,
}
MOBILECLIP = {
    "image_size": 96,
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    # fastvit_mci1 of timm with fewer and narrower blocks.
    "image": {
        **FASTVIT,
        "mlp_ratio": 3,
        "token_mixers": ["repmixer", "repmixer", "repmixer", "attention"],
        "stem": [[3, 2, "full"], [3, 2, "depthwise"], [1, 1, "full"]],
        "stem_scale_branch": True,
        "repmixer_kernel_size": 3,
        "mlp_kernel_size": 7,
        "downsamples": [False, True, True, True],
        "down_kernel_size": 7,
        "down_small_kernel_size": 3,
        "down_stride": 2,
        "down_activation": True,
        "se_downsamples": [False, False, True, True],
        "se_downsample_widths": [None, None, 8, 16],
        "positional_kernel_sizes": [None, None, None, 7],
        "head_dim": 32,
        "qkv_bias": False,
        "layer_scale": True,
        "final_conv_width": 128,
        "final_conv_kernel_size": 3,
        "final_conv_se_width": 8,
        "activation": "gelu",
        "norm_eps": 1e-5,
        "pool": "avg",
    },
    "text": {**MOBILECLIP_TEXT, "hidden": 96, "activation": "gelu", "norm_eps": 1e-5, "causal": False, "pool": "argmax", "pad": 0},
    "features": FEATURES,
    "logit_scale": LOGIT_SCALE,
    "logit_bias": None,
}


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in clip.shapes_of(model).items() if not name.endswith("num_batches_tracked")}


def published() -> None:
    for name, config, words in PUBLISHED:
        with torch.device("meta"):
            model = open_clip.create_model(config, device="meta")
            (OUT / f"{name}.open_clip.tsv").write_text(clip.listing(shapes_of(model)), encoding="utf-8")
            if words:
                model = transformers.SiglipModel(transformers.SiglipConfig(text_config={"vocab_size": words}))
                (OUT / f"{name}.transformers.tsv").write_text(clip.listing(shapes_of(model)), encoding="utf-8")


@timm.models.register_model
def vit_small_siglip(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
    size = {"img_size": VIT["image_size"], "patch_size": VIT["patch_size"]}
    shape = {"embed_dim": VIT["width"], "depth": VIT["layers"], "num_heads": VIT["heads"]}
    return timm.create_model("vit_base_patch16_siglip_224", **size, **shape, act_layer="gelu_tanh", **kwargs)


@timm.models.register_model
def fastvit_small_mci(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
    return timm.create_model("fastvit_mci1", **FASTVIT, **kwargs)


def siglip_open_clip() -> torch.nn.Module:
    vision = {"timm_model_name": "vit_small_siglip", "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"}
    options = {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}}
    text = {**SIGLIP_TEXT, **options}
    return open_clip.CustomTextCLIP(SIGLIP_TEXT["width"], {**vision, "image_size": VIT["image_size"]}, text, init_logit_bias=LOGIT_BIAS)


def siglip_transformers() -> torch.nn.Module:
    shape = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {**shape, "image_size": VIT["image_size"], "patch_size": VIT["patch_size"]}
    text = {**shape, "max_position_embeddings": CONTEXT, "vocab_size": VOCABULARY}
    return transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision, text_config=text))


def mobileclip_open_clip() -> torch.nn.Module:
    vision = {"timm_model_name": "fastvit_small_mci", "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": None}
    vision |= {"timm_drop": 0.0, "timm_drop_path": 0.0, "image_size": MOBILECLIP["image_size"]}
    return open_clip.CustomTextCLIP(FEATURES, vision, {**MOBILECLIP_TEXT, "no_causal_mask": True})


SMALL = [
    ("transformers/siglip", siglip_transformers, SIGLIP),
    ("open_clip/siglip", siglip_open_clip, SIGLIP),
    ("open_clip/mobileclip", mobileclip_open_clip, MOBILECLIP),
]


def answer(model: torch.nn.Module, ids: torch.Tensor, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        if hasattr(model, "encode_text"):
            text, image = model.encode_text(ids), model.encode_image(pixels)
        else:
            text, image = model.get_text_features(input_ids=ids), model.get_image_features(pixel_values=pixels)
            text, image = (getattr(x, "pooler_output", x) for x in (text, image))
        unit = [x / x.norm(dim=-1, keepdim=True) for x in (image, text)]
        logits = model.logit_scale.exp() * unit[0] @ unit[1].T
        if getattr(model, "logit_bias", None) is not None:
            logits = logits + model.logit_bias
    return {"text": text, "image": image, "logits": logits}


def small(tokens: dict[str, list[list[int]]]) -> None:
    tensors, answers = {}, {}
    for name, make, config in SMALL:
        model = make().eval()
        shapes = shapes_of(model)
        state = {key: torch.from_numpy(np.asarray(value)) for key, value in seeded.state(shapes).items()}
        # As they are, attention in FastViT would see one place alone, and GELU be as good as ReLU.
        state |= {key: values / 2 for key, values in state.items() if key.endswith(".gamma")}
        state["logit_scale"] = torch.full(shapes["logit_scale"], LOGIT_SCALE)
        if config["logit_bias"] is not None:
            state["logit_bias"] = torch.full(shapes["logit_bias"], LOGIT_BIAS)
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing), (missing, unexpected)
        assert all(values.dtype == torch.float32 for key, values in model.state_dict().items() if key in shapes)
        text = config["text"]
        ids = torch.tensor([row + [text["pad"]] * (text["context_length"] - len(row)) for row in tokens[name.split("/")[1]]])
        side = config["image_size"]
        pixels = (seeded.picture(side, side) / 255 - np.array(config["mean"])) / np.array(config["std"])
        pixels = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        single = answer(model, ids, pixels.float())
        double = answer(model.double(), ids, pixels)
        tensors[name] = {key: list(shape) for key, shape in shapes.items()}
        for what, values in double.items():
            far = ((single[what] - values).abs().max() / values.abs().max()).item()
            assert far < 2e-6, (name, what, far)
            answers[f"{name}/{what}"] = values.numpy().astype(np.float32)
            print(name, what, tuple(values.shape), values.abs().mean().item(), "in 32 bits off by", far)
    content = {"texts": clip.TEXTS, "networks": {name: config for name, _, config in SMALL}, "tensors": tensors}
    (OUT / "small.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    packages = ["torch", "timm", "open_clip_torch", "transformers", "tokenizers", "ftfy", "numpy"]
    versions = {name: importlib.metadata.version(name) for name in packages}
    save_file(answers, OUT / "answers.safetensors", metadata=versions)


def tokenizer() -> tokenizers.Tokenizer:
    """A small tokenizer in the form of google/siglip-base-patch16-224's.

    Alike: Unigram; <pad>, </s>, <unk> and the 256 bytes come first; what is in no piece becomes bytes; </s> is appended.
    Unlike: the published one also puts text in lower case, deletes punctuation (all of ASCII's but `/`, `<` and `>`) and
    collapses white space before the table of compatibility forms, in whose place NFKC stands here. These steps are left
    out, so that texts that were not made canonical before get other tokens here.
    """
    captions = [canonicalize_text(template(name)) for k, name in enumerate(IMAGENET_CLASSNAMES) for template in OPENAI_IMAGENET_TEMPLATES[k % 16 :: 16]]
    learner = tokenizers.Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    # The same pieces come out each time, but in any order and with scores that differ in the last bits.
    learner.train_from_iterator(captions, trainers.UnigramTrainer(vocab_size=VOCABULARY - 256, special_tokens=special, unk_token="<unk>", show_progress=False))
    learned = [(piece, round(score, 4)) for piece, score in json.loads(learner.to_str())["model"]["vocab"] if piece not in special]
    learned.sort(key=lambda pair: (-pair[1], pair[0]))
    pieces = [(piece, 0.0) for piece in special] + [(f"<0x{byte:02X}>", 0.0) for byte in range(256)] + learned
    assert len(pieces) == VOCABULARY, len(pieces)
    own = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=True))
    own.add_special_tokens([tokenizers.AddedToken(word, lstrip=True, rstrip=True, normalized=False, special=True) for word in special[1:]])
    own.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False, right=True), normalizers.Replace(tokenizers.Regex(" {2,}"), "▁")])
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    own.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", END)])
    own.decoder = decoders.Metaspace()
    (OUT / "tokenizer.json.gz").write_bytes(gzip.compress(own.to_str().encode(), 9, mtime=0))
    own.enable_truncation(CONTEXT)
    return own


def texts() -> list[str]:
    """Some of CLIP's, then odd characters, then classes of ImageNet in whole sentences."""
    odd = ["tab\tand\nline", "no\xa0break", "ideographic\u3000space", "a\u2028b\x85c", "İstanbul", "STRASSE ẞ ß", "a/b <c> d", "e\u0301te\u0301", "ﬁﬂ ①⑫ ㍿", "ＡＢＣ１２３", "__init__", "don't", "“quoted”", "Σίσυφος ΟΔΟΣ", "a\x1cb"]
    some = clip.texts()[:1300] + odd
    return some + [OPENAI_IMAGENET_TEMPLATES[k % 80](IMAGENET_CLASSNAMES[k]) for k in range(2000 - len(some))]


def encode(own: tokenizers.Tokenizer) -> None:
    """Texts and tokens; those on whose white space or lower case Python and Rust may differ are left out."""
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(own.to_str()), eos_token="</s>", unk_token="<unk>", pad_token="</s>")
    theirs = object.__new__(SigLipTokenizer)
    theirs.tokenizer, theirs.context_length = wrapped, CONTEXT
    rows, left_out, same = [], 0, 0
    for text in texts():
        if any(letter in "Σ\x1c\x1d\x1e\x1f" for letter in text):
            left_out += 1
            continue
        canonical, lower = (own.encode(version).ids for version in (canonicalize_text(text), text.lower()))
        assert canonical[-1] == lower[-1] == END and max(len(canonical), len(lower)) <= CONTEXT
        rows.append([text, canonical, lower])
        repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
        if repaired == text:
            row = theirs(text)[0].tolist()
            assert row == canonical + [END] * (CONTEXT - len(canonical)), (text, canonical, row)
            same += 1
    print(len(rows), "texts, of which open_clip has", same, "alike;", left_out, "left out")
    (OUT / "tokens.json.gz").write_bytes(gzip.compress(json.dumps(rows, ensure_ascii=False).encode(), 9, mtime=0))


def main() -> None:
    OUT.mkdir(exist_ok=True)
    own = tokenizer()
    encode(own)
    for_clip = tokenizers.Tokenizer.from_str(gzip.open(clip.OUT / "tokenizer.json.gz").read().decode())
    for_clip.enable_truncation(77)
    siglip = [own.encode(canonicalize_text(text)).ids for text in clip.TEXTS]
    small({"siglip": siglip, "mobileclip": [for_clip.encode(text).ids for text in clip.TEXTS]})
    published()


if __name__ == "__main__":
    main()
