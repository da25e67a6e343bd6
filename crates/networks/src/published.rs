use taper_core::{Fit, Interpolation, Preprocessing};
use taper_graph::Graph;

use crate::TextTower;

/// A network whose weights are published, after timm's `timm/models/_pretrained.py`. The
/// preprocessing is that of timm's `pretrained_cfg` for these weights, as a test checks.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// The name in Taper, lower case.
    pub name: &'static str,
    /// The repository of the weights on the Hugging Face Hub. The part after the owner is timm's
    /// name, where timm has them.
    pub repository: &'static str,
    /// The file with the weights in it.
    pub file: &'static str,
    /// The preprocessing that the network expects, from the training of its weights.
    pub preprocessing: Preprocessing,
    /// How many classes the published classifier has; 0 without one.
    pub classes: usize,
    /// The network for a number of classes.
    pub graph: fn(usize) -> Graph,
    /// The encoder of texts that was trained with it, in the same file.
    pub text: Option<TextTower>,
    /// Where architecture and weights come from.
    pub origin: Origin,
}

/// The properties that all networks of a family share.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The licence of the weights, as an SPDX expression.
    pub licence: &'static str,
    /// The paper that describes the architecture.
    pub paper: &'static str,
    /// Who trained the weights.
    pub source: &'static str,
}

impl Origin {
    /// A network with the thousand classes of ImageNet.
    pub(crate) const fn network(
        self,
        name: &'static str,
        repository: &'static str,
        preprocessing: Preprocessing,
        graph: fn(usize) -> Graph,
    ) -> Published {
        Published {
            name,
            repository,
            file: "model.safetensors",
            preprocessing,
            classes: 1000,
            graph,
            text: None,
            origin: self,
        }
    }
}

/// ImageNet at 224 pixels as torchvision trained: bilinear, central 224 of 256.
pub(crate) const TORCHVISION: Preprocessing =
    Preprocessing { interpolation: Interpolation::Bilinear, ..imagenet(224, 0.875) };

/// As timm trains: bicubic, a central crop of this fraction, ImageNet's mean and deviation.
pub(crate) const fn imagenet(size: u32, fraction: f32) -> Preprocessing {
    Preprocessing {
        size,
        interpolation: Interpolation::Bicubic,
        fit: Fit::Crop { fraction },
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
    }
}

/// Pixels from −1 to 1, as TensorFlow's networks expect them.
pub(crate) const fn tensorflow(
    size: u32,
    fraction: f32,
    interpolation: Interpolation,
) -> Preprocessing {
    let fit = Fit::Crop { fraction };
    Preprocessing { size, interpolation, fit, mean: [0.5; 3], std: [0.5; 3] }
}
