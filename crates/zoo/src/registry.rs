use taper_core::{Preprocessing, nearest};
use taper_fetch::HubFile;
use taper_graph::{Graph, Summary};

use crate::{Error, Result, entries::MODELS};

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
    /// How many weights and biases the network has with its classifier; running statistics not
    /// counted.
    pub parameters: usize,
    /// How many classes the pretrained classifier tells apart.
    pub classes: usize,
    pub(crate) build: fn(usize) -> Graph,
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

    /// Floating-point operations for one picture of its own size, classifier included; a
    /// multiply-add is two.
    pub fn flops(&self) -> u64 {
        let size = self.preprocessing.size as usize;
        Summary::new(&self.graph(), false, None, size, size).map_or(0, |summary| summary.flops)
    }

    /// Whether the weights are inside the program, so that no file and no network is needed.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }
}

/// All models, ordered by name.
pub fn models() -> &'static [ModelSpec] {
    MODELS
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
            assert!(spec.flops() > 100_000_000, "{}", spec.name);
            assert_eq!(spec.hub.repository.split('/').count(), 2);
            assert_eq!(spec.backbone().feature_width(), spec.feature_width);
        }
        assert!(models().is_sorted_by_key(|spec| spec.name));
    }

    #[test]
    fn an_unknown_name_gets_a_hint() {
        assert_eq!(find("resnet50").unwrap().name, "resnet50");
        let error = find("resnet-50").unwrap_err().to_string();
        let expected = "unknown model 'resnet-50' (did you mean resnet50";
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains("the models are convnext-atto, "), "{error}");
        let error = find("???").unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }
}
