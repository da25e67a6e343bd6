use std::{path::Path, sync::Arc, time::Instant};

use serde::Serialize;
use serde_json::json;
use taper_core::{OutOfRange, Precision};
use taper_data::Item;
use taper_outputs::{OutFile, check_extension};
use taper_picture::Finding;
use taper_plan::Output;
use taper_sources::FolderUse;
use taper_train::Table;
use taper_weights::TensorWriter;
use taper_zoo::resolve_part;

use taper_run::{
    BackboneSpec, CheckedRecipe, Error, Place, Result, Session, WITH_CANDLE, extract,
    open_data_with, remarks_of, resolve_precision,
};

/// What computes features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Through {
    /// The frozen plan, where the device has one.
    #[default]
    Plan,
    /// candle: the reference, slower on the CPU.
    Candle,
}

/// What an embedding answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmbedAnswer {
    /// How many pictures have features.
    pub n: usize,
    /// Numbers per picture.
    pub width: usize,
    /// The file.
    pub out: String,
    /// Seconds for everything.
    pub seconds: f64,
    /// The network.
    pub model: String,
    /// Where its weights came from.
    pub weights: String,
    /// Their SHA-256.
    pub digest: String,
    /// What computed.
    pub kernels: String,
    /// How many features came from the cache.
    pub cached: usize,
    /// Pictures that could not be used and were left out.
    pub unreadable: Vec<Finding>,
    /// Remarks about pictures that were used anyway.
    pub remarks: Vec<Finding>,
}

/// Writes the features of every picture of a recipe's data set to a safetensors file: `features`
/// f32 `[n, width]` and `labels` i64 `[n]` in index order; in the metadata, as JSON, `paths` and
/// `classes` (arrays of text) and `taper` (how the features were computed). Of the recipe, only
/// data, model, weights, cut, size, fit, precision, kernels, device and strict are used.
///
/// The name of the file may have no other ending than `.safetensors`; a file that exists is
/// refused, unless it may be overwritten.
///
/// # Errors
/// If the data or the weights are not available, no picture can be used, or the file cannot be
/// written.
pub fn embed(
    checked: &CheckedRecipe,
    through: Through,
    out: &Path,
    overwrite: bool,
    session: &Session,
) -> Result<EmbedAnswer> {
    let start = Instant::now();
    check_extension("out", out, &["safetensors", ""])?;
    let file = OutFile::check("out", out, overwrite)?;
    if through == Through::Candle && !WITH_CANDLE {
        let remedy = "this build has no candle: build with the feature candle, or use plan";
        return Err(OutOfRange::new("through", "candle", remedy).into());
    }
    let recipe = checked.recipe();
    let place = Place::open(recipe.device)?;
    let dataset = open_data_with(&recipe.data, recipe.reading(FolderUse::Evaluate), session)?;
    let weights = resolve_part(checked.model(), checked.weights(), checked.backbone())?;
    weights.check(checked.backbone())?;
    let preprocessing = *checked.preprocessing();
    let spec = BackboneSpec {
        graph: checked.backbone(),
        weights: weights.source.as_ref(),
        preprocessing,
        output: Output::Features,
        precision: Precision::F32,
        kernels: recipe.kernels,
        identified: session.cache().is_some(),
    };
    let precision = resolve_precision(recipe.precision, &place, &spec, session)?;
    let spec = BackboneSpec { precision, ..spec };
    let backbone = match through {
        Through::Plan => place.backbone(&spec)?,
        Through::Candle => place.through_candle(&spec)?,
    };
    let dataset = Arc::new(dataset);
    let items = Item::untouched(&dataset.indices(None));
    let features = extract(backbone.as_ref(), &dataset, items, None, recipe.strict, session)?;
    if features.table.is_empty() {
        return Err(Error::NothingUsable { place: dataset.place() });
    }
    let paths: Vec<&str> =
        features.items.iter().map(|item| dataset.samples()[item.sample].id.as_str()).collect();
    let classes: Vec<&str> = dataset.classes().iter().collect();
    let how = json!({
        "model": checked.model().name,
        "cut": recipe.cut,
        "weights": weights.origin,
        "sha256": weights.digest,
        "preprocessing": preprocessing,
        "precision": precision,
        "kernels": backbone.runs_on(),
        "data": dataset.fingerprint(),
    });
    let metadata = [
        ("paths", json!(paths).to_string()),
        ("classes", json!(classes).to_string()),
        ("taper", how.to_string()),
    ];
    let Table { width, values, labels, .. } = &features.table;
    let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    let mut tensors = TensorWriter::new();
    tensors.i64("labels", &[labels.len()], &labels);
    tensors.f32("features", &[labels.len(), *width], values);
    file.write(&tensors.into_bytes(metadata)?)?;
    let findings = dataset.findings().iter().chain(&features.findings).cloned();
    let (mut remarks, unreadable): (Vec<Finding>, _) = findings.partition(Finding::usable);
    remarks.splice(0..0, remarks_of(&dataset));
    Ok(EmbedAnswer {
        n: features.table.len(),
        width: features.table.width,
        out: out.display().to_string(),
        seconds: start.elapsed().as_secs_f64(),
        model: checked.model().name.into(),
        weights: weights.origin,
        digest: weights.digest,
        kernels: backbone.runs_on(),
        cached: features.cached,
        unreadable,
        remarks,
    })
}
