"""Writes clip/: what open_clip and transformers say about networks with an encoder of texts.

    python crates/testing/reference/clip.py

Needs torch, timm, open_clip_torch, transformers and ftfy; the versions stand in the metadata of clip/answers.safetensors.

- clip/NAME.open_clip.tsv, clip/NAME.transformers.tsv: names and shapes of the tensors of the published networks, from
  their configurations alone.
- clip/small.json: two small networks in the form of each library, with the names and shapes of their tensors.
- clip/answers.safetensors: their features of texts and of a picture, and the logits, on seeded weights, in 64-bit
  arithmetic on 32-bit weights, rounded to 32 bits.
- clip/zero_shot.json: what ViT-B/32 on seeded weights says to the photographs of tests/end_to_end, from the JPEG to the
  probabilities of three names.
- clip/tokenizer.json.gz: the tokenizer of all CLIP networks, made from the merges that open_clip carries; its SHA-256 is
  that of the file in openai/clip-vit-base-patch32.
- clip/tokens.json.gz: 2,000 texts and their tokens, from transformers' tokenizer. open_clip's first repairs the text
  (ftfy, HTML entities); where that changes nothing, both must agree, or this fails.
"""

import gzip
import hashlib
import html
import importlib.metadata
import json
import pathlib
import random
import unicodedata

import ftfy
import numpy as np
import open_clip
import PIL.Image
import seeded
import tokenizers
import torch
import transformers
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "clip"
PHOTOGRAPHS = HERE.parents[2] / "tests/end_to_end/photographs"
SHA256 = "b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842"
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])
# Taper's name (those of LAION and DataComp differ in their activation alone), open_clip's configuration, and width, layers, heads and patch of transformers'.
PUBLISHED = [
    ("clip-vit-b32", "ViT-B-32-quickgelu", (768, 12, 12, 32), (512, 8), 512),
    ("clip-vit-b16", "ViT-B-16-quickgelu", (768, 12, 12, 16), (512, 8), 512),
    ("clip-vit-l14", "ViT-L-14-quickgelu", (1024, 24, 16, 14), (768, 12), 768),
]
TEXTS = ["", "a", "a photo of a cat.", "two dogs on a red sofa, seen from above", "ein Größenvergleich", "日本語の猫 🐈", "word " * 200]


def listing(shapes: dict[str, tuple[int, ...]]) -> str:
    return "".join(f"{name}\t{'×'.join(map(str, shape))}\n" for name, shape in shapes.items())


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def published() -> None:
    for name, config, (width, layers, heads, patch), (text_width, text_heads), features in PUBLISHED:
        with torch.device("meta"):
            model = open_clip.create_model(config, device="meta")
            (OUT / f"{name}.open_clip.tsv").write_text(listing(shapes_of(model)), encoding="utf-8")
            vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads, "patch_size": patch}
            text = {"hidden_size": text_width, "intermediate_size": 4 * text_width, "num_attention_heads": text_heads, "num_hidden_layers": 12}
            config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=features)
            model = transformers.CLIPModel(config)
            (OUT / f"{name}.transformers.tsv").write_text(listing(shapes_of(model)), encoding="utf-8")


def small_open_clip(quick: bool) -> torch.nn.Module:
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 24, "heads": 3, "layers": 2}
    return open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text, quick_gelu=quick)


def small_transformers(quick: bool) -> torch.nn.Module:
    act = "quick_gelu" if quick else "gelu"
    vision = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "hidden_act": act}
    text = {"hidden_size": 24, "intermediate_size": 96, "num_attention_heads": 3, "num_hidden_layers": 2, "hidden_act": act, "eos_token_id": 49407}
    return transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=16))


def small(tokens: list[list[int]]) -> None:
    described, answers = {}, {}
    pixels = torch.from_numpy((seeded.picture(32, 32) / 255 - MEAN) / STD).permute(2, 0, 1)[None]
    ids = torch.tensor([row + [0] * (77 - len(row)) for row in tokens])
    for library, make in [("open_clip", small_open_clip), ("transformers", small_transformers)]:
        for quick in (True, False):
            name = f"{library}/{'quick_gelu' if quick else 'gelu'}"
            model = make(quick).eval()
            shapes = {key: shape for key, shape in shapes_of(model).items() if not key.endswith("position_ids")}
            state = {key: torch.from_numpy(np.asarray(value)) for key, value in seeded.state(shapes).items()}
            state["logit_scale"] = torch.tensor(2.5)
            missing, unexpected = model.load_state_dict(state, strict=False)
            assert not unexpected and all(key.endswith(("position_ids", "attn_mask")) for key in missing), (missing, unexpected)
            model = model.double()
            with torch.no_grad():
                if library == "open_clip":
                    text, image = model.encode_text(ids), model.encode_image(pixels)
                else:
                    text = model.get_text_features(input_ids=ids)
                    image = model.get_image_features(pixel_values=pixels)
                    text, image = (getattr(x, "pooler_output", x) for x in (text, image))
                unit = [x / x.norm(dim=-1, keepdim=True) for x in (image, text)]
                logits = np.exp(2.5) * unit[0] @ unit[1].T
            described[name] = {key: list(shape) for key, shape in shapes.items()}
            for what, values in [("text", text), ("image", image), ("logits", logits)]:
                answers[f"{name}/{what}"] = values.numpy().astype(np.float32)
                print(name, what, values.shape, values.abs().mean().item())
    (OUT / "small.json").write_text(json.dumps({"texts": TEXTS, "tensors": described}) + "\n", encoding="utf-8")
    packages = ["torch", "open_clip_torch", "transformers", "tokenizers", "ftfy", "numpy"]
    versions = {name: importlib.metadata.version(name) for name in packages}
    save_file(answers, OUT / "answers.safetensors", metadata=versions)


def tokenizer() -> tokenizers.Tokenizer:
    """The published tokenizer.json, byte for byte, from open_clip's list of merges."""
    merges = gzip.open(pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz").read().decode().split("\n")
    merges = merges[1 : 49152 - 256 - 2 + 1]
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), *(line.replace(" ", "") for line in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    split = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    added = [(49406, "<|startoftext|>", True), (49407, "<|endoftext|>", False)]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "special": True, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized}
            for number, word, normalized in added
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": split}, "behavior": "Removed", "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
            ],
        },
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": ["<|endoftext|>", 49407],
            "cls": ["<|startoftext|>", 49406],
            "trim_offsets": False,
            "add_prefix_space": False,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<|endoftext|>",
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "vocab": {word: number for number, word in enumerate(words)},
            "merges": merges,
        },
    }
    text = json.dumps(content, indent=2, ensure_ascii=False).encode()
    found = hashlib.sha256(text).hexdigest()
    assert found == SHA256, found
    (OUT / "tokenizer.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    own = tokenizers.Tokenizer.from_str(text.decode())
    own.enable_truncation(77)
    return own


def texts() -> list[str]:
    draw = random.Random(20)
    names = ["cat", "red car", "Golden_Retriever", "Müller", "T-shirt", "paper", "K9", "owl's nest", "3.5mm jack", "naïve façade"]
    all_texts = ["", " ", "\t\n", *names, *TEXTS]
    all_texts += [template(name) for template in OPENAI_IMAGENET_TEMPLATES for name in names]
    pools = ["😀🐈‍⬛👩🏽‍🚀🇩🇪❤️", "猫犬鳥魚赤い車漢字カタカナひらがな한국어고양이", "кошкасобакаΑθήναقطةकुत्ताแมว", "0123456789.,;:!?-+*/=()[]{}#%&@~^`|\\'\"", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"]
    while len(all_texts) < 2000:
        pool = draw.choice(pools) if draw.random() < 0.7 else "".join(pools)
        words = ("".join(draw.choice(pool) for _ in range(draw.randint(1, 9))) for _ in range(draw.randint(1, 12)))
        length = 40 if draw.random() < 0.05 else 1
        all_texts.append(" ".join([*words] * length))
    return all_texts


def whole() -> None:
    """ViT-B/32 on seeded weights in 16 bits, from the photographs to the probabilities of three names."""
    model, _, prepare = open_clip.create_model_and_transforms("ViT-B-32-quickgelu")
    state = {name: torch.from_numpy(np.asarray(values).astype(np.float16)).float() for name, values in seeded.state(shapes_of(model)).items()}
    state["logit_scale"] = torch.tensor(np.float16(4.6052)).float()
    model.load_state_dict(state)
    model = model.double().eval()
    tokenize, names = open_clip.get_tokenizer("ViT-B-32"), ["cat", "cup_of_coffee", "rocket"]
    answers = {}
    with torch.no_grad():
        rows = []
        for name in names:
            texts = model.encode_text(tokenize([template(name.replace("_", " ")) for template in SIMPLE_IMAGENET_TEMPLATES]))
            mean = (texts / texts.norm(dim=-1, keepdim=True)).mean(0)
            rows.append(mean / mean.norm())
        for path in sorted(PHOTOGRAPHS.glob("*.jpg")):
            image = model.encode_image(prepare(PIL.Image.open(path).convert("RGB"))[None].double())
            logits = model.logit_scale.exp() * (image / image.norm(dim=-1, keepdim=True)) @ torch.stack(rows).T
            answers[path.name] = dict(zip(names, logits.softmax(-1)[0].tolist()))
            print(path.name, answers[path.name])
    (OUT / "zero_shot.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    own = tokenizer()
    theirs = open_clip.get_tokenizer("ViT-B-32")
    rows, same = [], 0
    for text in texts():
        tokens = own.encode(text).ids
        rows.append([text, tokens])
        repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
        if repaired == text and unicodedata.normalize("NFC", text) == text and not text.endswith("Σ"):
            row = theirs(text)[0].tolist()
            assert row[: len(tokens)] == tokens and not any(row[len(tokens) :]), (text, tokens, row)
            same += 1
    print(len(rows), "texts, of which open_clip has", same, "alike")
    (OUT / "tokens.json.gz").write_bytes(gzip.compress(json.dumps(rows, ensure_ascii=False).encode(), 9, mtime=0))
    small([own.encode(text).ids for text in TEXTS])
    published()
    whole()


if __name__ == "__main__":
    main()
