//! Models with seeded weights.

use std::path::{Path, PathBuf};

use taper_core::{ClassNames, Precision};
use taper_graph::{Graph, Weights};
use taper_model::{Artefact, Origin};

/// Saves a model of this network as `model.safetensors`, with these layers and classes.
pub(crate) fn saved(
    folder: &Path,
    network: &str,
    [backbone, head]: [Graph; 2],
    classes: Vec<String>,
) -> anyhow::Result<PathBuf> {
    let weights = (Weights::seeded(&backbone), Weights::seeded(&head));
    let artefact = Artefact {
        model: network.into(),
        classes: ClassNames::new(classes)?,
        preprocessing: taper_zoo::find(network)?.preprocessing,
        precision: Precision::F32,
        backbone,
        head,
        weights: Origin::default(),
        recipe: String::new(),
        data: String::new(),
        figures: None,
        fine_tuning: None,
        calibration: None,
    };
    let path = folder.join("model.safetensors");
    artefact.save(&path, &weights.0, &weights.1)?;
    Ok(path)
}
