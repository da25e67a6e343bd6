use taper_core::{Activation, Fit, Interpolation, Preprocessing};
use taper_graph::{Graph, GraphBuilder, Linear, Op, VisionTransformer};

use crate::{
    published::{Origin, Published},
    text::{Cleaning, Reading, TextTower, Tokens},
};

const OPENAI: Origin = Origin {
    licence: "MIT",
    paper: "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, arXiv:2103.00020",
    source: "OpenAI (400 million pairs of pictures and texts), in open_clip's form",
};

const LAION: Origin = Origin {
    licence: "MIT",
    paper: "Schuhmann et al., LAION-5B: An open large-scale dataset for training next generation image-text models, 2022, arXiv:2210.08402",
    source: "LAION (LAION-2B, 34 billion samples seen)",
};

const DATACOMP: Origin = Origin {
    licence: "MIT",
    paper: "Gadre et al., DataComp: In search of the next generation of multimodal datasets, 2023, arXiv:2304.14108",
    source: "DataComp (DataComp-1B, 13 billion samples seen), published by LAION",
};

pub(crate) const NETWORKS: &[Published] = &[
    with_text(
        OPENAI.network(
            "clip-vit-b32",
            "timm/vit_base_patch32_clip_224.openai",
            PIXELS,
            clip_vit_b32,
        ),
        text(512, 8, Activation::QuickGelu),
    ),
    with_text(
        OPENAI.network(
            "clip-vit-b16",
            "timm/vit_base_patch16_clip_224.openai",
            PIXELS,
            clip_vit_b16,
        ),
        text(512, 8, Activation::QuickGelu),
    ),
    with_text(
        OPENAI.network(
            "clip-vit-l14",
            "timm/vit_large_patch14_clip_224.openai",
            PIXELS,
            clip_vit_l14,
        ),
        text(768, 12, Activation::QuickGelu),
    ),
    with_text(
        LAION.network(
            "clip-vit-b32-laion2b",
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            PIXELS,
            clip_vit_b32_laion2b,
        ),
        text(512, 8, Activation::Gelu),
    ),
    with_text(
        DATACOMP.network(
            "clip-vit-b32-datacomp",
            "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
            PIXELS,
            clip_vit_b32_datacomp,
        ),
        text(512, 8, Activation::Gelu),
    ),
];

/// The whole shorter side, bicubic, normalised with the statistics of CLIP's own pictures.
const PIXELS: Preprocessing = Preprocessing {
    size: 224,
    interpolation: Interpolation::Bicubic,
    fit: Fit::Crop { fraction: 1.0 },
    mean: [0.481_454_67, 0.457_827_5, 0.408_210_72],
    std: [0.268_629_55, 0.261_302_6, 0.275_777_1],
};

/// The same file in all of OpenAI's repositories, up to its spelling.
const TOKENS: Tokens = Tokens {
    repository: "openai/clip-vit-base-patch32",
    revision: "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
    sha256: "b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842",
    probe: ("a photo of a cat", &[49_406, 320, 1125, 539, 320, 2368, 49_407]),
    cleaning: Cleaning::Nothing,
};

/// The towers of a whole network, whose weights are in one file.
const fn with_text(network: Published, text: TextTower) -> Published {
    Published { classes: 0, file: "open_clip_model.safetensors", text: Some(text), ..network }
}

pub(crate) const fn text(width: usize, heads: usize, activation: Activation) -> TextTower {
    TextTower {
        vocabulary: 49_408,
        context: 77,
        width,
        depth: 12,
        heads,
        features: width,
        activation,
        eps: 1e-5,
        reading: Reading::Forward,
        tokenizer: TOKENS,
    }
}

/// CLIP's ViT-B/32 (Radford et al., *Learning transferable visual models from natural language
/// supervision*, 2021). Features: 512, the projected class token, whose cosine with the answer of
/// the text tower is what CLIP was trained on. There is no classifier: `classes` must be 0.
///
/// Numerics follow `open_clip/transformer.py`, names `timm/models/vision_transformer.py`
/// (`vit_base_patch32_clip_quickgelu_224`), whose `head` is `projection` here.
pub fn clip_vit_b32(_classes: usize) -> Graph {
    clip("clip-vit-b32", 32, [768, 12, 12], 512, Activation::QuickGelu)
}

/// CLIP's ViT-B/16, as [`clip_vit_b32`] with smaller patches.
pub fn clip_vit_b16(_classes: usize) -> Graph {
    clip("clip-vit-b16", 16, [768, 12, 12], 512, Activation::QuickGelu)
}

/// CLIP's ViT-L/14, as [`clip_vit_b32`] with 24 wider blocks. Features: 768.
pub fn clip_vit_l14(_classes: usize) -> Graph {
    clip("clip-vit-l14", 14, [1024, 24, 16], 768, Activation::QuickGelu)
}

/// ViT-B/32 as LAION trained it on LAION-2B: as [`clip_vit_b32`] with the exact GELU.
pub fn clip_vit_b32_laion2b(_classes: usize) -> Graph {
    clip("clip-vit-b32-laion2b", 32, [768, 12, 12], 512, Activation::Gelu)
}

/// ViT-B/32 as it was trained on DataComp-1B: as [`clip_vit_b32`] with the exact GELU.
pub fn clip_vit_b32_datacomp(_classes: usize) -> Graph {
    clip("clip-vit-b32-datacomp", 32, [768, 12, 12], 512, Activation::Gelu)
}

/// `sizes`: width, depth and heads.
fn clip(
    name: &str,
    patch: usize,
    sizes: [usize; 3],
    features: usize,
    activation: Activation,
) -> Graph {
    let tower = VisionTransformer {
        pre_norm: true,
        activation,
        eps: 1e-5,
        ..VisionTransformer::new(224, patch, sizes)
    };
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let token = tower.add(&mut g, input);
    let projection = Linear { in_features: tower.width, out_features: features, bias: false };
    let features = g.layer("projection", Op::Linear(projection), &[token]);
    g.finish(features)
}
