//! What timm answers for three networks of the zoo, in full; [`crate::zoo`] has them all, a few
//! numbers of each.
//!
//! Made by `reference/networks.py`; the versions stand in the metadata of
//! `reference/networks.safetensors`.

use safetensors::SafeTensors;

/// The weights that a reference was computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReferenceWeights {
    /// `taper_graph::Weights::seeded`.
    Seeded,
    /// Those that are embedded in `taper-zoo`, widened to 32 bits.
    Embedded,
}

/// What a network answers to [`picture(height, width)`](crate::picture), normalised as its
/// pretrained weights want it: in 64-bit arithmetic on 32-bit weights, rounded to 32 bits.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkReference {
    /// The network's name in Taper, e.g. `resnet50`.
    pub network: String,
    /// The weights.
    pub weights: ReferenceWeights,
    /// The picture's height in pixels.
    pub height: usize,
    /// The picture's width in pixels.
    pub width: usize,
    /// The mean of each channel, in units of the full range: the input is `(pixel / 255 − mean) /
    /// std`.
    pub mean: [f64; 3],
    /// The standard deviation of each channel, in units of the full range.
    pub std: [f64; 3],
    /// The pooled features: 1280, 2048 or 512.
    pub features: Vec<f32>,
    /// The logits of the ImageNet classifier; empty where the picture is too small for it (VGG
    /// below 224).
    pub logits: Vec<f32>,
}

/// All references: three networks on seeded weights at 224 × 224, 256 × 256 and 197 × 231 (VGG-16
/// also at 224 × 270), EfficientNet-Lite0 on its embedded weights at 224 × 224 and 197 × 231.
pub fn networks() -> Vec<NetworkReference> {
    let file =
        SafeTensors::deserialize(include_bytes!("../reference/networks.safetensors")).unwrap();
    let values = |name: &str| {
        let Ok(tensor) = file.tensor(name) else { return Vec::new() };
        tensor
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    };
    let mut cases: Vec<&str> =
        file.names().into_iter().filter_map(|name| name.strip_suffix("/features")).collect();
    cases.sort_unstable();
    let case = |case: &str| {
        let mut parts = case.split('/');
        let mut next = || parts.next().unwrap();
        let (network, weights, size) = (next(), next(), next());
        let (height, width) = size.split_once('x').unwrap();
        let (mean, std) = match network {
            "efficientnet-lite0" => ([0.5; 3], [0.5; 3]),
            _ => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        };
        NetworkReference {
            network: network.to_owned(),
            weights: match weights {
                "seeded" => ReferenceWeights::Seeded,
                _ => ReferenceWeights::Embedded,
            },
            height: height.parse().unwrap(),
            width: width.parse().unwrap(),
            mean,
            std,
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
        let cases = networks();
        assert_eq!(cases.len(), 12);
        for case in &cases {
            let width = match case.network.as_str() {
                "efficientnet-lite0" => 1280,
                "resnet50" => 2048,
                _ => 512,
            };
            assert_eq!(case.features.len(), width);
            let no_logits = case.network == "vgg16" && case.height < 224;
            assert_eq!(case.logits.len(), if no_logits { 0 } else { 1000 });
            assert!(case.features.iter().chain(&case.logits).all(|v| v.is_finite()));
        }
        let embedded = cases.iter().filter(|c| c.weights == ReferenceWeights::Embedded);
        assert_eq!(embedded.count(), 2);
    }
}
