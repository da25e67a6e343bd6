use taper_core::{Activation, Fit, Interpolation, Preprocessing};
use taper_graph::{Graph, GraphBuilder, VisionTransformer};

use crate::{
    published::{Origin, Published},
    text::{Cleaning, Reading, TextTower, Tokens},
};

const SIGLIP: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, arXiv:2303.15343",
    source: "Google (WebLI, English), in the form of transformers",
};

const SIGLIP2: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Tschannen et al., SigLIP 2: Multilingual Vision-Language Encoders, 2025, arXiv:2502.14786",
    source: "Google (WebLI, 109 languages), in the form of transformers",
};

pub(crate) const NETWORKS: &[Published] = &[
    Published {
        classes: 0,
        text: Some(text(32_000, Reading::Everything { padding: 1 }, TOKENS)),
        ..SIGLIP.network(
            "siglip-b16",
            "google/siglip-base-patch16-224",
            pixels(Interpolation::Bicubic),
            siglip_b16,
        )
    },
    Published {
        classes: 0,
        text: Some(text(256_000, Reading::Everything { padding: 0 }, TOKENS2)),
        ..SIGLIP2.network(
            "siglip2-b16",
            "google/siglip2-base-patch16-224",
            pixels(Interpolation::Bilinear),
            siglip2_b16,
        )
    },
];

/// Squashed to a square, pixels from −1 to 1, as `preprocessor_config.json` has it.
const fn pixels(interpolation: Interpolation) -> Preprocessing {
    Preprocessing { size: 224, interpolation, fit: Fit::Squash, mean: [0.5; 3], std: [0.5; 3] }
}

const TOKENS: Tokens = Tokens {
    repository: "google/siglip-base-patch16-224",
    revision: "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
    sha256: "c6e405cb7c670d56636a9402c81023a55bc6c3c53d89cf02b92f5c5005bfe920",
    probe: ("a photo of a dog", &[262, 266, 1304, 267, 262, 266, 1571, 1]),
    cleaning: Cleaning::Plain,
};

const TOKENS2: Tokens = Tokens {
    repository: "google/siglip2-base-patch16-224",
    revision: "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
    sha256: "cb9140fae3ac5122c972d37adf83e1248471a38147ad76f8215c8872c6fd8322",
    probe: ("a photo of a cat", &[235_250, 2686, 576, 476, 4401, 1]),
    cleaning: Cleaning::Lower,
};

const fn text(vocabulary: usize, reading: Reading, tokenizer: Tokens) -> TextTower {
    TextTower {
        vocabulary,
        context: 64,
        width: 768,
        depth: 12,
        heads: 12,
        features: 768,
        activation: Activation::GeluTanh,
        eps: 1e-6,
        reading,
        tokenizer,
    }
}

/// SigLIP's ViT-B/16 (Zhai et al., *Sigmoid loss for language image pre-training*, 2023). Features:
/// 768, pooled by attention; their cosine with the answer of the text tower is what it was trained
/// on. There is no classifier: `classes` must be 0.
///
/// Numerics follow `big_vision/models/vit.py` and `transformers/models/siglip/modeling_siglip.py`,
/// both with the tanh form of GELU; names `timm/models/vision_transformer.py`
/// (`vit_base_patch16_siglip_224`), whose `attn_pool` has its query apart.
pub fn siglip_b16(_classes: usize) -> Graph {
    siglip("siglip-b16")
}

/// SigLIP 2's ViT-B/16, as [`siglip_b16`] with other weights (Tschannen et al., *SigLIP 2*, 2025).
pub fn siglip2_b16(_classes: usize) -> Graph {
    siglip("siglip2-b16")
}

fn siglip(name: &str) -> Graph {
    let tower = VisionTransformer {
        prefix: 0,
        activation: Activation::GeluTanh,
        ..VisionTransformer::new(224, 16, [768, 12, 12])
    };
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let features = tower.add(&mut g, input);
    g.finish(features)
}
