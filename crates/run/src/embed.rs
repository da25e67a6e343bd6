use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use serde::Serialize;
use serde_json::json;
use taper_candle::open_device;
use taper_data::{FolderUse, Item};
use taper_picture::Finding;
use taper_plan::Output;
use taper_zoo::resolve;

use crate::{
    Backbone, CheckedRecipe, Error, Features, Result, Session, extract, file::write_atomically,
    open_data,
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

/// The answer of `taper embed --json`.
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
    /// Remarks about pictures that were used all the same.
    pub remarks: Vec<Finding>,
}

/// Writes the features of every picture of a recipe's data set to a safetensors file: `features` f32 `[n, width]` and `labels`
/// i64 `[n]` in index order; in the metadata, as JSON, `paths` and `classes` (arrays of text) and `taper` (how the features
/// were made). Of the recipe count data, model, weights, cut, size, fit, precision, kernels, device and strict.
///
/// # Errors
/// If the data or the weights cannot be had, no picture can be used, or the file cannot be written.
pub fn embed(
    checked: &CheckedRecipe,
    through: Through,
    out: &Path,
    session: &Session,
) -> Result<EmbedAnswer> {
    let start = Instant::now();
    let recipe = checked.recipe();
    let device = open_device(recipe.device)?;
    let dataset = open_data(&recipe.data, FolderUse::Evaluate)?;
    let weights = resolve(checked.model(), &checked.weights)?;
    weights.check(checked.backbone())?;
    let (graph, source, preprocessing) =
        (checked.backbone(), weights.source.as_ref(), *checked.preprocessing());
    let mut backbone = match through {
        Through::Plan => Backbone::new(
            graph,
            source,
            preprocessing,
            Output::Features,
            recipe.precision,
            recipe.kernels,
            &device,
        )?,
        Through::Candle => Backbone::candle(
            graph,
            source,
            preprocessing,
            Output::Features,
            recipe.precision,
            &device,
        )?,
    }
    .with_digest(&weights.digest);
    let dataset = Arc::new(dataset);
    let items = Item::untouched(&dataset.indices(None));
    let features = extract(&mut backbone, &dataset, items, None, recipe.strict, session)?;
    if features.is_empty() {
        return Err(Error::Picture {
            path: dataset.place(),
            reason: "none of the pictures can be used".into(),
        });
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
        "precision": recipe.precision,
        "kernels": backbone.kernels(),
        "data": dataset.fingerprint(),
    });
    let metadata = BTreeMap::from([
        ("paths", json!(paths).to_string()),
        ("classes", json!(classes).to_string()),
        ("taper", how.to_string()),
    ]);
    write_atomically(out, &file(&features, &metadata))?;
    let findings = dataset.findings().iter().chain(&features.findings).cloned();
    let (remarks, unreadable) = findings.partition(Finding::usable);
    Ok(EmbedAnswer {
        n: features.len(),
        width: features.width,
        out: out.display().to_string(),
        seconds: start.elapsed().as_secs_f64(),
        model: checked.model().name.into(),
        weights: weights.origin,
        digest: weights.digest,
        kernels: backbone.kernels(),
        cached: features.cached,
        unreadable,
        remarks,
    })
}

/// The bytes of the file. The header's keys stand in a fixed order, so that the same features give the same bytes.
fn file(features: &Features, metadata: &BTreeMap<&str, String>) -> Vec<u8> {
    let (n, width) = (features.len(), features.width);
    let (labels, values) = (8 * n, 4 * n * width);
    // The labels first: both are then aligned.
    let header = json!({
        "__metadata__": metadata,
        "labels": { "dtype": "I64", "shape": [n], "data_offsets": [0, labels] },
        "features": { "dtype": "F32", "shape": [n, width], "data_offsets": [labels, labels + values] },
    });
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = Vec::with_capacity(8 + header.len() + labels + values);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    bytes.extend(features.labels.iter().flat_map(|label| i64::from(*label).to_le_bytes()));
    bytes.extend(features.values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}
