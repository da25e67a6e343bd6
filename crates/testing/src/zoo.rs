//! What timm says about every network of the registry: specification, tensors, answers on seeded
//! weights.
//!
//! Made by `reference/zoo.py`; the versions stand in the metadata of `reference/zoo.safetensors`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use safetensors::SafeTensors;
use serde::Deserialize;

/// What timm's `pretrained_cfg` says about the weights of a network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Specification {
    /// timm's name with its tag, e.g. `resnet18.tv_in1k`.
    pub timm: String,
    /// The repository on the Hub.
    pub repository: String,
    /// An SPDX expression in lower case.
    pub licence: String,
    /// Side of the square input in pixels.
    pub size: u32,
    /// `bilinear` or `bicubic`.
    pub interpolation: String,
    /// The share of the resized picture's side that the central crop keeps; 0 if the picture is
    /// squashed to a square instead.
    pub crop: f32,
    /// Of each channel, in units of the full range.
    pub mean: [f32; 3],
    /// Of each channel, in units of the full range.
    pub std: [f32; 3],
    /// Of the pretrained classifier; 0 if there is none.
    pub classes: usize,
    /// Numbers per picture that a head starts from.
    pub features: usize,
    /// Learnable numbers, classifier included.
    pub parameters: usize,
}

/// What a network answers to [`picture(height, width)`](crate::picture) on
/// `taper_graph::Weights::seeded`: every n-th number of it, see [`thinned`].
#[derive(Debug, Clone, PartialEq)]
pub struct ZooReference {
    /// The network's name in Taper, e.g. `resnet50`.
    pub network: String,
    /// The picture's height in pixels.
    pub height: usize,
    /// The picture's width in pixels.
    pub width: usize,
    /// Of the pooled features.
    pub features: Vec<f32>,
    /// Of the logits of the ImageNet classifier; empty where there is none or the picture is too
    /// small for it.
    pub logits: Vec<f32>,
}

/// Every n-th number, so that at most 64 remain: what [`ZooReference`] holds of an answer.
pub fn thinned(values: &[f32]) -> Vec<f32> {
    values.iter().copied().step_by(values.len().div_ceil(64).max(1)).collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("reference")
}

/// The specifications of all networks, by their names in Taper.
pub fn specifications() -> BTreeMap<String, Specification> {
    let text = fs::read_to_string(folder().join("zoo.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Names and shapes of a network's tensors in timm's `state_dict`, ordered by name, counters of
/// batches left out.
///
/// # Panics
/// If there is no listing of this network.
pub fn tensors(network: &str) -> BTreeMap<String, Vec<usize>> {
    let path = folder().join("zoo").join(format!("{network}.tsv"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.split('\t');
        let module = parts.next().unwrap();
        for part in parts {
            let (tensor, shape) = part.split_once(' ').unwrap();
            let name = if module.is_empty() { tensor.into() } else { format!("{module}.{tensor}") };
            all.insert(name, shape.split('×').map(|n| n.parse().unwrap()).collect());
        }
    }
    all
}

/// The answers of all networks at 224 × 224, 256 × 256 and 197 × 231 (of transformers at their own
/// size), ordered by network.
pub fn answers() -> Vec<ZooReference> {
    let bytes = fs::read(folder().join("zoo.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| {
        let Ok(tensor) = file.tensor(name) else { return Vec::new() };
        let (words, _) = tensor.data().as_chunks::<4>();
        words.iter().map(|word| f32::from_le_bytes(*word)).collect()
    };
    let mut cases: Vec<&str> =
        file.names().into_iter().filter_map(|name| name.strip_suffix("/features")).collect();
    cases.sort_unstable();
    let case = |case: &str| {
        let (network, size) = case.split_once('/').unwrap();
        let (height, width) = size.split_once('x').unwrap();
        ZooReference {
            network: network.to_owned(),
            height: height.parse().unwrap(),
            width: width.parse().unwrap(),
            features: values(&format!("{case}/features")),
            logits: values(&format!("{case}/logits")),
        }
    };
    cases.into_iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_complete() {
        let all = specifications();
        let answers = answers();
        // Three sizes of each, unless another of its family stands for it (`LISTED` in `zoo.py`);
        // both small DINOv2 at their own size too.
        let answered: std::collections::BTreeSet<&str> =
            answers.iter().map(|case| case.network.as_str()).collect();
        assert_eq!(answers.len(), 3 * answered.len() + 2);
        let family = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
        for name in all.keys().filter(|name| !answered.contains(name.as_str())) {
            let other = answered
                .iter()
                .any(|own| family(own).trim_end_matches('2') == family(name).trim_end_matches('2'));
            assert!(other, "nothing stands for {name}");
        }
        assert!(answered.len() > 40, "{}", answered.len());
        for case in &answers {
            let specification = &all[&case.network];
            assert!(tensors(&case.network).len() > 15, "{}", case.network);
            let expected = thinned(&vec![0.0; specification.features]).len();
            assert_eq!(case.features.len(), expected, "{}", case.network);
            assert!(case.features.iter().chain(&case.logits).all(|v| v.is_finite()));
        }
    }

    #[test]
    fn thinning_keeps_at_most_64() {
        let numbers: Vec<f32> = (0..130).map(|i| i as f32).collect();
        assert_eq!(thinned(&numbers)[..3], [0.0, 3.0, 6.0]);
        assert_eq!(thinned(&numbers[..64]), numbers[..64]);
    }
}
