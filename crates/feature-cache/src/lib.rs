#![doc = include_str!("../README.md")]

mod cache;
mod error;
mod segment;

pub use cache::{FeatureCache, FeatureSet};
pub use error::{Error, Result};

/// Everything that determines a row's values, in 32 bytes.
pub type Key = [u8; 32];

/// SHA-256 over parts, each preceded by its length, so that no two lists of parts concatenate to
/// the same bytes.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Key {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
