use std::io::Read;

use taper_core::Activation;
use taper_networks::{Reading, TextTower, Tokens};
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
        probe: &[49_406, 320, 1125, 539, 320, 2368, 49_407],
    },
};

pub(crate) fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

pub(crate) fn tokenizer() -> Tokenizer {
    let bytes = gunzipped(include_bytes!("../../../testing/reference/clip/tokenizer.json.gz"));
    Tokenizer::from_bytes(&bytes, "tokenizer.json".as_ref(), &TOWER).unwrap()
}
