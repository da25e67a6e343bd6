#![allow(dead_code)] // not every test needs all of it

use std::io::Read;

use taper_core::Activation;
use taper_networks::{Cleaning, Reading, TextTower, Tokens};
use taper_text::Tokenizer;

/// The encoder of texts in the small networks of `crates/testing/reference/clip.py`.
pub(crate) const TOWER: TextTower = TextTower {
    vocabulary: 49_408,
    context: 77,
    width: 24,
    depth: 2,
    heads: 3,
    features: 16,
    activation: Activation::QuickGelu,
    eps: 1e-5,
    reading: Reading::Forward,
    tokenizer: Tokens {
        repository: "",
        revision: "",
        sha256: "",
        probe: ("a photo of a cat", &[49_406, 320, 1125, 539, 320, 2368, 49_407]),
        cleaning: Cleaning::Nothing,
    },
};

/// The encoder of texts in the small networks of `crates/testing/reference/siglip.py`.
pub(crate) const SIGLIP: TextTower = TextTower {
    vocabulary: 1000,
    context: 64,
    width: 32,
    depth: 2,
    heads: 4,
    features: 32,
    activation: Activation::GeluTanh,
    eps: 1e-6,
    reading: Reading::Everything { padding: 1 },
    tokenizer: Tokens { probe: PROBE, cleaning: Cleaning::Plain, ..TOWER.tokenizer },
};

/// Of the small tokenizer.
const PROBE: (&str, &[u32]) = ("a photo of a cat", &[259, 260, 262, 259, 261, 259, 260, 494, 1]);

pub(crate) fn siglip_tokenizer() -> Tokenizer {
    let bytes = gunzipped(include_bytes!("../../../testing/reference/siglip/tokenizer.json.gz"));
    Tokenizer::from_bytes(&bytes, "tokenizer.json".as_ref(), &SIGLIP).unwrap()
}

pub(crate) fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

pub(crate) fn tokenizer() -> Tokenizer {
    let bytes = gunzipped(include_bytes!("../../../testing/reference/clip/tokenizer.json.gz"));
    Tokenizer::from_bytes(&bytes, "tokenizer.json".as_ref(), &TOWER).unwrap()
}
