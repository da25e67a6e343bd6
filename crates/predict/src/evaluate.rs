use std::{path::PathBuf, sync::Arc};

use taper_calibration::{Judged, Known, judge};
use taper_core::{OutOfRange, Split};
use taper_data::{Dataset, Item};
use taper_metrics::{Evaluation, Metrics};
use taper_model::Classifier;
use taper_picture::Finding;
use taper_run::{Error, OutFolder, Result, Session, extract, remarks_of, write_json};
use taper_train::{head_logits, measure_head};

/// What an evaluation came to.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// Figures of the head's probabilities as they are.
    pub evaluation: Evaluation,
    /// What the model's knowledge about its own answers is worth on these pictures: its
    /// temperature, its sets of the coverage that the classifier was [asked
    /// for](Classifier::with_coverage), unfamiliar pictures. None if it has none.
    pub judged: Option<Judged>,
    /// Pictures that could not be used, and remarks about others.
    pub findings: Vec<Finding>,
    /// The pictures, with the classifier's classes.
    pub dataset: Arc<Dataset>,
    /// Those that were evaluated, by their places in the data set.
    pub samples: Vec<usize>,
    /// Their classes.
    pub labels: Vec<u32>,
    /// What the head gave for them, f32 `[samples, classes]`.
    pub logits: Vec<f32>,
}

/// Evaluates a classifier on one split of a data set (or, without splits, on all of it).
///
/// # Errors
/// If the data set has classes that the classifier does not know, or no such split.
pub fn evaluate(
    classifier: &Classifier,
    dataset: Dataset,
    split: Option<Split>,
    strict: bool,
    session: &Session,
) -> Result<Evaluated> {
    let dataset = Arc::new(dataset.with_classes(classifier.classes())?);
    let indices = dataset.indices(split);
    if indices.is_empty() {
        let there = Split::ALL.into_iter().filter(|s| !dataset.indices(Some(*s)).is_empty());
        let there: Vec<&str> = there.map(Split::name).collect();
        let there = there.join(", ");
        let choose = if there.is_empty() { "leave it out" } else { "choose one of those, or all" };
        let there = if there.is_empty() { "no splits at all".into() } else { there };
        let remedy = format!("{} has {there}: {choose}", dataset.place());
        return Err(OutOfRange::new("split", split.map_or("all", Split::name), remedy).into());
    }
    let items = Item::untouched(&indices);
    let mut features = extract(classifier.backbone(), &dataset, items, None, strict, session)?;
    let mut findings = remarks_of(&dataset);
    findings.extend_from_slice(dataset.findings());
    findings.append(&mut features.findings);
    if features.table.is_empty() {
        return Err(Error::NothingUsable { place: dataset.place() });
    }
    let metrics = match classifier.head() {
        Some(head) => measure_head(head, &features.table)?,
        None => {
            let mut metrics = Metrics::new(classifier.classes().len())?;
            metrics.update_logits(&features.table.values, &features.table.labels)?;
            metrics
        }
    };
    let logits = match classifier.head() {
        Some(head) => head_logits(head, &features.table)?,
        None => features.table.values.clone(),
    };
    let judged = match (classifier.calibration(), classifier.head()) {
        (Some(own), Some(_)) => {
            let known = Known::new(&logits, &features.table.labels, &features.table.values);
            match judge(own, &known, classifier.sets()) {
                Err(taper_metrics::Error::Empty) => None,
                judged => Some(judged?),
            }
        }
        _ => None,
    };
    let evaluation = metrics.evaluation(classifier.classes())?;
    let samples = features.items.iter().map(|item| item.sample).collect();
    let labels = features.table.labels;
    Ok(Evaluated { evaluation, judged, findings, dataset, samples, labels, logits })
}

/// Writes an evaluation into a new folder: `evaluation.json`, which holds `value`, the confusion
/// matrix as `confusion.png` and `confusion.svg`, and `reliability.{png,svg}` if the model has a
/// temperature, as a training does. Returns the folder.
///
/// # Errors
/// [`Error::Output`], or if the picture cannot be drawn.
pub fn write_evaluation(
    out: &OutFolder,
    title: &str,
    evaluated: &Evaluated,
    value: &impl serde::Serialize,
) -> Result<PathBuf> {
    let (folder, ()) = out.make(|folder| -> Result<()> {
        write_json(&folder.join("evaluation.json"), value)?;
        let picture = taper_report::confusion(title, &evaluated.evaluation)?;
        picture.save(folder, "confusion").map_err(taper_report::Error::from)?;
        let Some(judged) = &evaluated.judged else { return Ok(()) };
        let picture = taper_report::reliability(title, &judged.before, &judged.after);
        Ok(picture.save(folder, "reliability").map_err(taper_report::Error::from)?)
    })?;
    Ok(folder)
}
