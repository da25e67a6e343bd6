use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};
use taper_core::{Precision, Preprocessing, hex};
use taper_graph::ParameterCount;
use taper_model::{Artefact, Calibration, Figures, FineTuning};

use taper_run::{Error, Published, Result, model_file};

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
    /// Where the network's weights came from: those that it has, or those that fine-tuning began
    /// with.
    pub weights: String,
    /// The SHA-256 of the file that they came from.
    pub weights_sha256: String,
    /// How the network was trained too; `null` if it was not, and in models of earlier programs.
    pub fine_tuning: Option<FineTuning>,
    /// What it knows about its own answers; `null` in models of earlier programs.
    pub calibration: Option<Calibration>,
    /// The validation pictures whose scores it has, which sets are made from.
    pub scores: usize,
    /// The training pictures whose features it has, which pictures are compared with.
    pub reference: usize,
    /// The licence of the published weights that the network's are or go back to, as an SPDX
    /// expression; `null` if they are others, whose licence is not known here.
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
    let (licence, source) = Published::of(&artefact).map(|own| (own.licence, own.source)).unzip();
    let count = |graph| ParameterCount::of(graph, false).total;
    let own = artefact.calibration.as_ref();
    let familiarity = own.and_then(|own| own.familiarity.as_ref());
    let features = artefact.backbone.feature_width();
    Ok(ModelInfo {
        file: path.display().to_string(),
        bytes: content.len() as u64,
        sha256: hex(&Sha256::digest(&content)),
        classes: artefact.classes.iter().map(str::to_owned).collect(),
        features,
        scores: own.map_or(0, |own| own.scores.len()),
        reference: familiarity.map_or(0, |own| own.rows.len() / features.max(1)),
        backbone_parameters: count(&artefact.backbone),
        head_parameters: count(&artefact.head),
        preprocessing: artefact.preprocessing,
        precision: artefact.precision,
        figures: artefact.figures,
        weights: artefact.weights.origin,
        weights_sha256: artefact.weights.sha256,
        fine_tuning: artefact.fine_tuning,
        calibration: artefact.calibration,
        licence,
        source,
        model: artefact.model,
        data: artefact.data,
        recipe: artefact.recipe,
    })
}
