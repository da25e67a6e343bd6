//! Pictures whose labels are contradicted by the other pictures, after Northcutt, Jiang and Chuang:
//! Confident learning, 2021.

use rayon::prelude::*;
use serde::Serialize;
use taper_data::Dataset;

use crate::{
    Embeddings,
    embeddings::{Projected, directions, nearest, projected},
    ridge::out_of_fold,
};

/// A picture that is probably of another class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelError {
    /// The picture.
    pub path: String,
    /// Its label.
    pub label: String,
    /// What it looks like instead.
    pub looks_like: String,
    /// How probable that other class is, by a classifier that has not seen the picture: 0…1.
    pub probability: f64,
    /// How probable the given label is, by the same.
    pub given: f64,
    /// How many of its ten nearest neighbours have the given label.
    pub neighbours: usize,
    /// How many witnesses doubt the label: 2 if the name of its class does so too
    /// ([`Health::badly_named`](crate::Health::badly_named)), else 1.
    pub witnesses: usize,
    /// The picture's place in the data set.
    #[serde(skip)]
    pub index: usize,
}

const FOLDS: usize = 5;
const NEIGHBOURS: usize = 10;
/// The largest number of neighbours with the given label that is compatible with an error.
const FEW: usize = 2;
/// With more classes than this, only the neighbours decide: the equations would have to be solved
/// for each class.
const MOST_CLASSES: usize = 200;

/// Finds probable label errors by the features of the pictures alone; the most probable first.
/// Needs no pixels: copies with another label count, too.
pub fn suspects(dataset: &Dataset, embeddings: &Embeddings) -> Vec<LabelError> {
    let rows: Vec<&[f32]> = embeddings.values.chunks_exact(embeddings.width.max(1)).collect();
    let positions = (0..rows.len()).collect();
    let projected = Projected { positions, rows: projected(embeddings.width, &rows) };
    label_errors(dataset, &embeddings.samples, &projected)
}

/// Finds probable label errors; the most probable first. `pictures` are the places in the data set
/// that the projected rows' positions refer to.
pub(crate) fn label_errors(
    dataset: &Dataset,
    pictures: &[usize],
    projected: &Projected,
) -> Vec<LabelError> {
    let classes = dataset.classes().len();
    let sample = |row: usize| &dataset.samples()[pictures[projected.positions[row]]];
    let n = projected.rows.len();
    if !(2..=MOST_CLASSES).contains(&classes) || n < 4 * FOLDS {
        return Vec::new();
    }
    let labels: Vec<usize> = (0..n).map(|row| sample(row).label as usize).collect();
    let mut counts = vec![0usize; classes];
    labels.iter().for_each(|label| counts[*label] += 1);
    let mut targets = vec![0f32; n * classes];
    labels.iter().enumerate().for_each(|(row, label)| targets[row * classes + label] = 1.0);
    let present = counts.iter().filter(|c| **c > 0).count();
    let weights: Vec<f32> =
        labels.iter().map(|label| n as f32 / (present * counts[*label]) as f32).collect();
    // Random, but reproducible folds: other frames of the clip may be in the training folds, as
    // they do not share a wrong label.
    let folds: Vec<usize> = (0..n).map(|row| (sample(row).key() >> 32) as usize % FOLDS).collect();
    let scores = out_of_fold(&projected.rows, &targets, classes, &weights, &folds, FOLDS);
    let probabilities = calibrated(&scores, classes, &labels);

    // Northcutt's threshold: the classifier's mean confidence in a class over the pictures with
    // that label.
    let mut threshold = vec![0f64; classes];
    for (row, label) in labels.iter().enumerate() {
        threshold[*label] += probabilities[row * classes + label] / counts[*label] as f64;
    }
    let suspects: Vec<(usize, usize)> = (0..n)
        .filter_map(|row| {
            let own = &probabilities[row * classes..(row + 1) * classes];
            let best = (0..classes).max_by(|a, b| own[*a].total_cmp(&own[*b]))?;
            let doubtful = best != labels[row]
                && own[best] >= threshold[best].max(0.5)
                && own[labels[row]] < 0.5 * threshold[labels[row]];
            doubtful.then_some((row, best))
        })
        .collect();
    let directions = directions(projected);
    let mut found: Vec<LabelError> = suspects
        .into_par_iter()
        .filter_map(|(row, best)| {
            let around = nearest(&directions, row, 0..n, NEIGHBOURS);
            let agree = around.iter().filter(|a| labels[a.1] == labels[row]).count();
            let other = around.iter().filter(|a| labels[a.1] == best).count();
            let own = &probabilities[row * classes..(row + 1) * classes];
            (agree <= FEW && other > NEIGHBOURS / 2).then(|| LabelError {
                path: sample(row).id.clone(),
                label: dataset.classes().name(labels[row] as u32).unwrap_or_default().into(),
                looks_like: dataset.classes().name(best as u32).unwrap_or_default().into(),
                probability: own[best],
                given: own[labels[row]],
                neighbours: agree,
                witnesses: 1,
                index: pictures[projected.positions[row]],
            })
        })
        .collect();
    found.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.path.cmp(&b.path)));
    found
}

/// Scores as probabilities: a softmax whose temperature makes the given labels most likely.
fn calibrated(scores: &[f32], classes: usize, labels: &[usize]) -> Vec<f64> {
    let softmax = |sharpness: f64| -> Vec<f64> {
        scores
            .chunks_exact(classes)
            .flat_map(|row| {
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f64> =
                    row.iter().map(|s| (sharpness * f64::from(s - most)).exp()).collect();
                let sum: f64 = powers.iter().sum();
                powers.into_iter().map(move |p| p / sum)
            })
            .collect()
    };
    let loss = |sharpness: f64| -> f64 {
        let probabilities = softmax(sharpness);
        labels
            .iter()
            .enumerate()
            .map(|(row, label)| -probabilities[row * classes + label].max(1e-12).ln())
            .sum()
    };
    let best = (0..24)
        .map(|step| 1.3f64.powi(step))
        .map(|sharpness| (loss(sharpness), sharpness))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(1.0, |best| best.1);
    softmax(best)
}
