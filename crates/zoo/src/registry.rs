use std::sync::LazyLock;

use taper_core::{Preprocessing, nearest};
use taper_fetch::{HubFile, RepositoryKind};
use taper_graph::{Graph, Summary};
use taper_networks::{Published, TextTower, published};

use crate::{Error, Result, pins::Pin};

/// Ordered by name.
static MODELS: LazyLock<Vec<ModelSpec>> = LazyLock::new(|| {
    let mut models: Vec<_> = published().map(ModelSpec::new).collect();
    models.sort_by_key(|model| model.name);
    models
});

/// A pretrained network: architecture, preprocessing and the place of its weights, after timm's
/// `timm/models/_pretrained.py`.
#[derive(Debug)]
#[non_exhaustive]
pub struct ModelSpec {
    /// The name in Taper, lower case.
    pub name: &'static str,
    /// The preprocessing that the network expects, from the training of its weights.
    pub preprocessing: Preprocessing,
    /// Where the weights are on the Hub.
    pub hub: HubFile<'static>,
    /// The licence of the weights, as an SPDX expression.
    pub licence: &'static str,
    /// The paper that describes the architecture.
    pub paper: &'static str,
    /// Who trained the weights.
    pub source: &'static str,
    /// How many features the backbone computes per picture.
    pub feature_width: usize,
    /// How many weights and biases the network has with its classifier; running statistics not
    /// counted.
    pub parameters: usize,
    /// How many classes the pretrained classifier has.
    pub classes: usize,
    /// The encoder of texts whose answers can be compared with the features.
    pub text: Option<TextTower>,
    graph: fn(usize) -> Graph,
    pub(crate) embedded: Option<Embedded>,
}

/// Weights inside the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Embedded {
    pub(crate) file: &'static str,
    pub(crate) bytes: &'static [u8],
    pub(crate) sha256: &'static str,
}

/// Those of [`DEFAULT_MODEL`].
const EMBEDDED: Embedded = Embedded {
    file: "efficientnet-lite0-f16.safetensors",
    bytes: include_bytes!("../assets/efficientnet-lite0-f16.safetensors"),
    sha256: "23aa92d811b335963cdaa9d376da76e7e3808d3192c18757e3055e3f97b43f43",
};

impl ModelSpec {
    fn new(published: &'static Published) -> Self {
        let graph = (published.graph)(published.classes);
        let pin = Pin::of(published.repository);
        Self {
            name: published.name,
            preprocessing: published.preprocessing,
            hub: HubFile {
                kind: RepositoryKind::Model,
                repository: published.repository,
                revision: pin.map_or("main", |pin| pin.commit),
                file: published.file,
                sha256: pin.and_then(|pin| pin.sha256),
            },
            licence: published.origin.licence,
            paper: published.origin.paper,
            source: published.origin.source,
            feature_width: graph.feature_width(),
            parameters: graph.learnable_parameters(),
            classes: published.classes,
            text: published.text,
            graph: published.graph,
            embedded: (published.name == DEFAULT_MODEL).then_some(EMBEDDED),
        }
    }

    /// The network with its pretrained classifier.
    pub fn graph(&self) -> Graph {
        (self.graph)(self.classes)
    }

    /// The network up to its features ("no top").
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
    &MODELS
}

/// The default network: its weights are built in.
pub const DEFAULT_MODEL: &str = "efficientnet-lite0";

/// Networks of candle-transformers that are left out, why, and what is like them:
/// `docs/candle-transformers.md`.
const LEFT_OUT: [(&str, &str, &str); 3] = [
    (
        "hiera",
        "candle-transformers' differs from its original by a window in the third stage",
        "convnext-tiny",
    ),
    (
        "efficientvit",
        "candle-transformers' lacks the biases of the original's attention",
        "mobilenet-v4-medium or fastvit-t8",
    ),
    ("eva", "candle-transformers' does not read timm's files", "dinov2-base-reg4 or clip-vit-b16"),
];

/// The model of this name.
///
/// # Errors
/// [`Error::LeftOut`], or [`Error::UnknownModel`] suggests the nearest names and lists all of them.
pub fn find(name: &str) -> Result<&'static ModelSpec> {
    if let Some((_, why, instead)) = LEFT_OUT.iter().find(|(own, ..)| name.starts_with(own)) {
        return Err(Error::LeftOut { name: name.to_owned(), why, instead });
    }
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
            assert!(spec.flops() > 100_000_000, "{}", spec.name);
            assert_eq!(spec.hub.repository.split('/').count(), 2);
            assert_eq!(spec.backbone().feature_width(), spec.feature_width);
        }
        // Strictly: no two networks have one name.
        assert!(models().windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn an_unknown_name_gets_a_hint() {
        assert_eq!(find("resnet50").unwrap().name, "resnet50");
        let error = find("resnet-50").unwrap_err().to_string();
        let expected = "unknown model 'resnet-50' (did you mean resnet50";
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains("the models are clip-vit-b16, "), "{error}");
        let error = find("hiera-tiny").unwrap_err().to_string();
        assert!(error.contains("window") && error.contains("use convnext-tiny"), "{error}");
        let error = find("???").unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }
}
