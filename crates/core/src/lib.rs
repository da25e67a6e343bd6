#![doc = include_str!("../README.md")]

mod activation;
mod backbone;
mod classes;
mod device;
mod error;
mod fault;
pub mod file;
pub mod float;
mod hex;
#[cfg(feature = "identity")]
mod identity;
mod monitor;
mod precision;
mod preprocessing;
pub mod random;

pub use activation::Activation;
pub use backbone::{FrozenBackbone, PendingRows};
pub use classes::{ClassNames, Split};
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use fault::{AnyFault, Fault, OutOfRange};
pub use hex::{Digest, hex, is_sha256};
#[cfg(feature = "identity")]
pub use identity::Identity;
pub use monitor::{Direction, Mode, Monitor};
pub use precision::Precision;
pub use preprocessing::{Fit, Interpolation, Part, Preprocessing};

/// The closest candidate to `wanted` by Damerau–Levenshtein-like distance, for "did you mean"
/// hints.
///
/// Returns at most `limit` candidates, nearest first; those that share nothing with `wanted`
/// (distance above half of the longer name) are left out.
///
/// ```
/// let models = ["resnet50", "vgg16", "efficientnet-lite0"];
/// assert_eq!(taper_core::nearest("resnet-50", models, 2), ["resnet50"]);
/// ```
pub fn nearest<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    limit: usize,
) -> Vec<&'a str> {
    let mut scored: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|c| (edit_distance(&wanted.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, c)| *d * 2 <= wanted.chars().count().max(c.chars().count()))
        .collect();
    scored.sort_by_key(|(d, _)| *d);
    scored.into_iter().take(limit).map(|(_, c)| c).collect()
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_come_first_and_strangers_stay_out() {
        let models = ["resnet18", "resnet50", "vgg16", "efficientnet-lite0"];
        assert_eq!(nearest("resnet5", models, 3), ["resnet50", "resnet18"]);
        assert_eq!(nearest("efficientnet_lite0", models, 3), ["efficientnet-lite0"]);
        assert!(nearest("zzzzzzzz", models, 3).is_empty());
    }
}
