use taper_plan::Precision;

/// A network, its input and a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Case {
    pub(crate) network: &'static str,
    /// Side of the pictures in pixels.
    pub(crate) size: usize,
    pub(crate) precision: Precision,
    /// Pictures that go through the network together.
    pub(crate) batch: usize,
}

/// Networks and the sizes of their pictures.
pub(crate) const NETWORKS: [(&str, usize); 6] = [
    ("resnet50", 256),
    ("vgg16", 224),
    ("efficientnet-lite0", 224),
    ("clip-vit-b32", 224),
    ("fastvit-t8", 256),
    ("mobileone-s0", 224),
];

/// So many of them, the first ones, are of convolutions, ReLU and pooling alone: all peers know
/// them.
pub(crate) const PLAIN: usize = 3;

impl Case {
    /// Every network in both precisions with each of these batches.
    pub(crate) fn all(batches: &[u32]) -> Vec<Self> {
        let mut all = Vec::new();
        for (network, size) in NETWORKS {
            for precision in [Precision::F32, Precision::Bf16] {
                for &batch in batches {
                    all.push(Self { network, size, precision, batch: batch as usize });
                }
            }
        }
        all
    }

    /// The name, e.g. `resnet50-256-f32-b8`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}-{}-b{}", self.network, self.size, self.precision, self.batch)
    }

    pub(crate) fn is_f32(&self) -> bool {
        self.precision == Precision::F32
    }

    /// Those who can do the same.
    pub(crate) fn peers(&self) -> Vec<&'static str> {
        if !self.is_f32() {
            return vec!["pytorch-bf16-channels-last", "openvino-bf16"];
        }
        let mut peers = vec!["pytorch-eager", "onnxruntime-f32", "openvino-f32", "rten"];
        // Three pictures a second: one batch shows it. candle-transformers has no
        // EfficientNet-Lite, and its VGG takes one picture at a time and ends in the classifier:
        // there, candle's own layers do the work.
        let plain = NETWORKS[..PLAIN].iter().any(|(name, _)| *name == self.network);
        if self.batch == 8 && plain {
            peers.push(if self.network == "resnet50" { "candle-transformers" } else { "candle" });
        }
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_peers_are_those_of_the_contract() {
        let all = Case::all(&[1, 8, 32]);
        assert_eq!(all.len(), 36);
        let names: Vec<String> = all.iter().map(Case::name).collect();
        for name in ["resnet50-256-f32-b8", "vgg16-224-f32-b8", "efficientnet-lite0-224-bf16-b1"] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
        let peers = |name: &str| {
            all.iter().find(|case| case.name() == name).map(Case::peers).unwrap_or_default()
        };
        assert!(!peers("fastvit-t8-256-f32-b8").contains(&"candle"));
        assert!(peers("resnet50-256-f32-b8").contains(&"candle-transformers"));
        assert!(!peers("resnet50-256-f32-b1").contains(&"candle-transformers"));
        assert_eq!(peers("vgg16-224-bf16-b32"), ["pytorch-bf16-channels-last", "openvino-bf16"]);
    }
}
