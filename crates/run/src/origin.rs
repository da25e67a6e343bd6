//! Where the weights of a network come from, and whose they are.

use std::path::Path;

use taper_model::{Artefact, Origin};
use taper_zoo::{LoadedWeights, WeightsChoice};

use crate::{CheckedRecipe, model_file};

/// The licence of published weights, as an SPDX expression, and who trained them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The licence.
    pub licence: String,
    /// Who trained them.
    pub source: String,
}

impl Published {
    /// Of the published weights that a model goes back to; none if that is not known.
    pub fn of(artefact: &Artefact) -> Option<Self> {
        let Origin { licence, source, .. } = &artefact.weights;
        if let (Some(licence), Some(source)) = (licence.clone(), source.clone()) {
            return Some(Self { licence, source });
        }
        // Models of earlier programs say it in their recipe only.
        let recipe: toml::Table = toml::from_str(&artefact.recipe).ok()?;
        let published = recipe
            .get("weights")
            .is_none_or(|weights| weights.as_str().is_some_and(|weights| weights == "pretrained"));
        let spec = taper_zoo::find(&artefact.model).ok().filter(|_| published)?;
        Some(Self { licence: spec.licence.into(), source: spec.source.into() })
    }
}

/// What a model records of the weights that it is built on.
pub(crate) fn origin(checked: &CheckedRecipe, loaded: &LoadedWeights) -> Origin {
    let mut origin = loaded.origin.clone();
    let published = match checked.weights() {
        WeightsChoice::Pretrained => {
            let spec = checked.model();
            Some(Published { licence: spec.licence.into(), source: spec.source.into() })
        }
        WeightsChoice::File(path) => of_model(path).and_then(|artefact| {
            origin = format!("{origin} ({})", history(&artefact));
            Published::of(&artefact)
        }),
        WeightsChoice::Random => None,
    };
    let (licence, source) = published.map(|own| (own.licence, own.source)).unzip();
    Origin { origin, sha256: loaded.digest.clone(), licence, source }
}

/// The trained model in a file or in a run's folder, if that is what it is.
fn of_model(path: &Path) -> Option<Artefact> {
    Artefact::open(&model_file(path).ok()?).ok().map(|(artefact, _)| artefact)
}

/// What the backbone of a model went through.
fn history(artefact: &Artefact) -> String {
    let before = &artefact.weights.origin;
    match &artefact.fine_tuning {
        Some(own) if own.alpha > 0.0 => {
            format!("{before}; then fine-tuned from '{}' on", own.from)
        }
        _ => before.clone(),
    }
}
