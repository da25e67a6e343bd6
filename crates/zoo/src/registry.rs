use taper_core::{Fit, Interpolation, Preprocessing, nearest};
use taper_graph::{Graph, networks};

use crate::{Error, Result};

/// A file of a repository on the Hugging Face Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubFile<'a> {
    /// `owner/name`.
    pub repository: &'a str,
    /// A commit, a tag or a branch.
    pub revision: &'a str,
    /// The path in the repository.
    pub file: &'a str,
    /// The SHA-256 of the content in lower-case hexadecimal, if it is known beforehand.
    pub sha256: Option<&'a str>,
}

/// A pretrained network: architecture, preprocessing and the place of its weights, after timm's
/// `timm/models/_pretrained.py`.
#[derive(Debug)]
#[non_exhaustive]
pub struct ModelSpec {
    /// The name in Taper, lower case.
    pub name: &'static str,
    /// How the network wants its pictures; comes from the training of the weights.
    pub preprocessing: Preprocessing,
    /// Where the weights are on the Hub.
    pub hub: HubFile<'static>,
    /// The licence of the weights, as an SPDX expression.
    pub licence: &'static str,
    /// Who described the architecture.
    pub paper: &'static str,
    /// Who trained the weights.
    pub source: &'static str,
    /// How many features the backbone gives per picture.
    pub feature_width: usize,
    /// How many weights and biases the network has with its classifier; running statistics not counted.
    pub parameters: usize,
    /// How many classes the pretrained classifier tells apart.
    pub classes: usize,
    build: fn(usize) -> Graph,
    pub(crate) embedded: Option<Embedded>,
}

/// Weights inside the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Embedded {
    pub(crate) file: &'static str,
    pub(crate) bytes: &'static [u8],
    pub(crate) sha256: &'static str,
}

impl ModelSpec {
    /// The network with its pretrained classifier.
    pub fn graph(&self) -> Graph {
        (self.build)(self.classes)
    }

    /// The network up to its features: "no top".
    pub fn backbone(&self) -> Graph {
        self.graph().without_classifier()
    }

    /// Whether the weights are inside the program, so that no file and no network is needed.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }
}

/// ImageNet at 224 pixels as torchvision trained: bilinear, central 224 of 256.
const TORCHVISION: Preprocessing = Preprocessing {
    size: 224,
    interpolation: Interpolation::Bilinear,
    fit: Fit::Crop { fraction: 0.875 },
    mean: Preprocessing::IMAGENET_MEAN,
    std: Preprocessing::IMAGENET_STD,
};

static MODELS: [ModelSpec; 3] = [
    ModelSpec {
        name: "efficientnet-lite0",
        preprocessing: Preprocessing {
            size: 224,
            interpolation: Interpolation::Bicubic,
            fit: Fit::Crop { fraction: 0.875 },
            mean: [0.5; 3],
            std: [0.5; 3],
        },
        hub: HubFile {
            repository: "timm/tf_efficientnet_lite0.in1k",
            revision: "main",
            file: "model.safetensors",
            sha256: None,
        },
        licence: "Apache-2.0",
        paper: "Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019, arXiv:1905.11946",
        source: "TensorFlow TPU repository (efficientnet/lite), ported for timm (tf_efficientnet_lite0.in1k)",
        feature_width: 1280,
        parameters: 4_652_008,
        classes: 1000,
        build: networks::efficientnet_lite0,
        embedded: Some(Embedded {
            file: "efficientnet-lite0-f16.safetensors",
            bytes: include_bytes!("../assets/efficientnet-lite0-f16.safetensors"),
            sha256: "23aa92d811b335963cdaa9d376da76e7e3808d3192c18757e3055e3f97b43f43",
        }),
    },
    ModelSpec {
        name: "resnet50",
        preprocessing: TORCHVISION,
        hub: HubFile {
            repository: "timm/resnet50.tv_in1k",
            revision: "main",
            file: "model.safetensors",
            sha256: None,
        },
        licence: "BSD-3-Clause",
        paper: "He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385",
        source: "torchvision (IMAGENET1K_V1), in timm's form (resnet50.tv_in1k)",
        feature_width: 2048,
        parameters: 25_557_032,
        classes: 1000,
        build: networks::resnet50,
        embedded: None,
    },
    ModelSpec {
        name: "vgg16",
        preprocessing: TORCHVISION,
        hub: HubFile {
            repository: "timm/vgg16.tv_in1k",
            revision: "main",
            file: "model.safetensors",
            sha256: None,
        },
        licence: "BSD-3-Clause",
        paper: "Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014, arXiv:1409.1556",
        source: "torchvision (IMAGENET1K_V1), in timm's form (vgg16.tv_in1k)",
        feature_width: 512,
        parameters: 138_357_544,
        classes: 1000,
        build: networks::vgg16,
        embedded: None,
    },
];

/// All models, ordered by name.
pub fn models() -> &'static [ModelSpec] {
    &MODELS
}

/// The model of this name.
///
/// # Errors
/// [`Error::UnknownModel`] suggests the nearest names and lists all of them.
pub fn find(name: &str) -> Result<&'static ModelSpec> {
    let names = || MODELS.iter().map(|spec| spec.name);
    MODELS.iter().find(|spec| spec.name == name).ok_or_else(|| Error::UnknownModel {
        name: name.to_owned(),
        nearest: nearest(name, names(), 2),
        known: names().collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_agrees_with_its_graph() {
        for spec in models() {
            spec.preprocessing.check().unwrap();
            let graph = spec.graph();
            assert_eq!(graph.name(), spec.name);
            assert_eq!(graph.learnable_parameters(), spec.parameters, "{}", spec.name);
            assert_eq!(graph.feature_width(), spec.feature_width, "{}", spec.name);
            assert_eq!(spec.hub.repository.split('/').count(), 2);
            assert_eq!(spec.backbone().feature_width(), spec.feature_width);
        }
        assert!(models().is_sorted_by_key(|spec| spec.name));
    }

    #[test]
    fn an_unknown_name_gets_a_hint() {
        assert_eq!(find("resnet50").unwrap().name, "resnet50");
        let error = find("resnet-50").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown model 'resnet-50' (did you mean resnet50?): \
             the models are efficientnet-lite0, resnet50, vgg16"
        );
        let error = find("???").unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }
}
