use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};
use taper_core::{Precision, Preprocessing, hex};
use taper_graph::ParameterCount;
use taper_model::{Artefact, Figures};

use taper_run::{Error, Result, model_file};

/// What a trained model is: the answer of `taper info`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelInfo {
    /// The file.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// What it can tell apart, in label order.
    pub classes: Vec<String>,
    /// The network that it is built on.
    pub model: String,
    /// How many features the head starts from.
    pub features: usize,
    /// The parameters of the network up to its features.
    pub backbone_parameters: usize,
    /// The parameters of the head.
    pub head_parameters: usize,
    /// How it prepares pictures.
    pub preprocessing: Preprocessing,
    /// What its network computes in.
    pub precision: Precision,
    /// What it was measured with; `null` in models of earlier programs.
    pub figures: Option<Figures>,
    /// Where the network's weights came from.
    pub weights: String,
    /// Their SHA-256.
    pub weights_sha256: String,
    /// The licence of the network's published weights, as an SPDX expression; `null` if the weights
    /// are others, whose licence is not known here.
    pub licence: Option<String>,
    /// Who trained the published weights.
    pub source: Option<String>,
    /// The fingerprint of the data set that it was trained on.
    pub data: String,
    /// How it was trained, in TOML.
    pub recipe: String,
}

/// Describes an artefact, `model.safetensors` of a run folder, or the folder.
///
/// # Errors
/// [`OutOfRange`](taper_core::OutOfRange) if there is no such file,
/// [`taper_model::Error::Artefact`] if the file is something else, [`Error::Io`].
pub fn info(path: &Path) -> Result<ModelInfo> {
    let path = &model_file(path)?;
    let (artefact, _) = Artefact::open(path)?;
    let content = std::fs::read(path).map_err(Error::io("read", path))?;
    let recipe: Option<toml::Table> = toml::from_str(&artefact.recipe).ok();
    let weights = recipe.as_ref().and_then(|recipe| recipe.get("weights")?.as_str());
    let published = weights.is_none_or(|weights| weights == "pretrained");
    let spec = taper_zoo::find(&artefact.model).ok().filter(|_| published);
    let count = |graph| ParameterCount::of(graph, false).total;
    Ok(ModelInfo {
        file: path.display().to_string(),
        bytes: content.len() as u64,
        sha256: hex(&Sha256::digest(&content)),
        classes: artefact.classes.iter().map(str::to_owned).collect(),
        features: artefact.backbone.feature_width(),
        backbone_parameters: count(&artefact.backbone),
        head_parameters: count(&artefact.head),
        preprocessing: artefact.preprocessing,
        precision: artefact.precision,
        figures: artefact.figures,
        weights: artefact.weights.origin,
        weights_sha256: artefact.weights.sha256,
        licence: spec.map(|spec| spec.licence.to_owned()),
        source: spec.map(|spec| spec.source.to_owned()),
        model: artefact.model,
        data: artefact.data,
        recipe: artefact.recipe,
    })
}
