//! Whether the test and validation pictures resemble the training pictures.

use std::collections::BTreeMap;

use serde::Serialize;
use taper_core::Split;
use taper_data::Dataset;

use crate::{
    embeddings::{PROJECTED, Projected, projected},
    look::{FEATURES, Feature},
    ridge::out_of_fold,
    scan::Scanned,
};

/// How much two splits differ in one property.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureDrift {
    /// The property.
    pub feature: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// The Kolmogorov–Smirnov statistic, 0 for the same distribution, 1 for two that do not
    /// overlap; classes weighted equally.
    pub statistic: f64,
    /// Difference of the means over the pooled standard deviation.
    pub effect: f64,
    /// Mean in the training split.
    pub train: f64,
    /// Mean in the other split.
    pub other: f64,
    #[serde(skip)]
    pub(crate) remedy: &'static str,
}

/// How strong a drift is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// Nothing beyond chance.
    None,
    /// Worth a look.
    Moderate,
    /// The splits show different things.
    Strong,
}

/// How much a split differs from the training split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// How strong it is, judged by all of the following.
    pub strength: Strength,
    /// The properties that differ significantly, the most different first.
    pub features: Vec<FeatureDrift>,
    /// How well a linear classifier on the embeddings tells the splits apart, on pictures that it
    /// has not seen: the area under the ROC curve, 0.5 for not at all, 1 for always. None without
    /// embeddings.
    pub embedding_auc: Option<f64>,
}

/// A statistic below this is not reported, whatever the number of pictures.
const MODERATE: f64 = 0.25;
const STRONG: f64 = 0.5;
const MODERATE_AUC: f64 = 0.75;
/// An area under the curve from which on a drift is strong.
pub const STRONG_DRIFT: f64 = 0.9;
/// c(α) of the two-sample test for α = 0.001.
const CRITICAL: f64 = 1.95;
/// Fewer pictures than this say nothing.
const FEWEST: usize = 8;

/// Compares every other split with the training split.
pub(crate) fn drift(
    dataset: &Dataset,
    pictures: &[Scanned],
    projected: Option<&Projected>,
) -> BTreeMap<String, Drift> {
    let split_of = |p: &Scanned| dataset.samples()[p.index].split;
    let mut found = BTreeMap::new();
    for other in [Split::Val, Split::Test] {
        let in_split = |wanted: Split| -> Vec<usize> {
            (0..pictures.len()).filter(|i| split_of(&pictures[*i]) == Some(wanted)).collect()
        };
        let (train, rest) = (in_split(Split::Train), in_split(other));
        if train.len() < FEWEST || rest.len() < FEWEST {
            continue;
        }
        let label = |i: usize| dataset.samples()[pictures[i].index].label;
        let weights = class_weights(dataset.classes().len(), &train, &rest, label);
        let mut features: Vec<FeatureDrift> = (0..FEATURES.len())
            .map(|f| compare(&FEATURES[f], f, pictures, [&train, &rest], &weights))
            .collect();
        let (n, m) = (train.len() as f64, rest.len() as f64);
        let least = MODERATE.max(CRITICAL * ((n + m) / (n * m)).sqrt());
        features.retain(|f| f.statistic >= least);
        features.sort_by(|a, b| b.statistic.total_cmp(&a.statistic));
        let embedding_auc = projected.and_then(|p| domain_auc(p, pictures, &split_of, other));
        let top = features.first().map_or(0.0, |f| f.statistic);
        let auc = embedding_auc.unwrap_or(0.5);
        let strength = if top >= STRONG || auc >= STRONG_DRIFT {
            Strength::Strong
        } else if top > 0.0 || auc >= MODERATE_AUC {
            Strength::Moderate
        } else {
            Strength::None
        };
        let name = format!("train-{}", other.name());
        found.insert(name, Drift { strength, features, embedding_auc });
    }
    found
}

/// A weight for each class and side, so that a different mixture of classes is not drift: classes
/// missing on one side do not count.
fn class_weights(
    classes: usize,
    train: &[usize],
    rest: &[usize],
    label: impl Fn(usize) -> u32,
) -> Vec<[f64; 2]> {
    let mut counts = vec![[0usize; 2]; classes];
    for (side, members) in [train, rest].into_iter().enumerate() {
        for i in members {
            counts[label(*i) as usize][side] += 1;
        }
    }
    let common = counts.iter().filter(|c| c[0] > 0 && c[1] > 0).count();
    let weights = counts.iter().map(|c| {
        if common == 0 {
            // No class in common: only all pictures together can be compared.
            [1.0 / train.len() as f64, 1.0 / rest.len() as f64]
        } else if c[0] > 0 && c[1] > 0 {
            c.map(|n| 1.0 / (n * common) as f64)
        } else {
            [0.0; 2]
        }
    });
    let by_class: Vec<[f64; 2]> = weights.collect();
    let mut by_picture = Vec::new();
    for (side, members) in [train, rest].into_iter().enumerate() {
        for i in members {
            let mut weight = [0.0; 2];
            weight[side] = by_class[label(*i) as usize][side];
            by_picture.push(weight);
        }
    }
    by_picture
}

fn compare(
    feature: &Feature,
    column: usize,
    pictures: &[Scanned],
    sides: [&[usize]; 2],
    weights: &[[f64; 2]],
) -> FeatureDrift {
    let mut values: Vec<(f32, [f64; 2])> = sides
        .into_iter()
        .flatten()
        .zip(weights)
        .map(|(i, weight)| (pictures[*i].features[column], *weight))
        .collect();
    let moment = |power: i32, side: usize| -> f64 {
        values.iter().map(|(v, w)| w[side] * f64::from(*v).powi(power)).sum()
    };
    let mean = [0, 1].map(|side| moment(1, side));
    let variance = [0, 1].map(|side| (moment(2, side) - mean[side].powi(2)).max(0.0));
    let deviation = (0.5 * (variance[0] + variance[1])).sqrt();
    let effect = if deviation > 1e-9 { (mean[1] - mean[0]) / deviation } else { 0.0 };
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = [0.0; 2];
    let mut statistic = 0f64;
    for equal in values.chunk_by(|a, b| a.0 == b.0) {
        for (_, weight) in equal {
            below[0] += weight[0];
            below[1] += weight[1];
        }
        statistic = statistic.max((below[0] - below[1]).abs());
    }
    FeatureDrift {
        feature: feature.name,
        meaning: feature.meaning,
        statistic,
        effect,
        train: mean[0],
        other: mean[1],
        remedy: feature.remedy,
    }
}

/// Distinguishes training pictures from the others by their embeddings, out of fold. Folds are runs
/// of pictures in canonical order, so that the frames of one clip are not on both sides.
fn domain_auc(
    projected: &Projected,
    pictures: &[Scanned],
    split_of: &impl Fn(&Scanned) -> Option<Split>,
    other: Split,
) -> Option<f64> {
    let split = |row: usize| split_of(&pictures[projected.positions[row]]);
    let side = |wanted: Split| -> Vec<usize> {
        (0..projected.rows.len()).filter(|row| split(*row) == Some(wanted)).collect()
    };
    let (train, rest) = (side(Split::Train), side(other));
    let of = |side: Vec<usize>| -> Vec<[f32; PROJECTED]> {
        side.into_iter().map(|row| projected.rows[row]).collect()
    };
    auc(&of(train), &of(rest))
}

/// How well a linear classifier tells other pictures from training pictures by their features: the
/// area under the ROC curve on pictures that it has not seen, 0.5 for not at all, 1 for always,
/// from [`STRONG_DRIFT`] on strong. f32 rows of `width` numbers; frames of one clip follow each
/// other. None for fewer than 20 of either.
///
/// # Panics
/// If a row has another length.
pub fn told_apart(width: usize, train: &[&[f32]], other: &[&[f32]]) -> Option<f64> {
    const FEWEST: usize = 20;
    if train.len().min(other.len()) < FEWEST {
        return None;
    }
    let together = [train, other].concat();
    assert!(together.iter().all(|row| row.len() == width), "rows of {width} numbers");
    let rows = projected(width, &together);
    let (train, other) = rows.split_at(train.len());
    auc(train, other)
}

fn auc(train: &[[f32; PROJECTED]], rest: &[[f32; PROJECTED]]) -> Option<f64> {
    const FOLDS: usize = 5;
    if train.len() < 2 * FOLDS || rest.len() < 2 * FOLDS {
        return None;
    }
    let mut rows = Vec::new();
    let (mut targets, mut weights, mut folds) = (Vec::new(), Vec::new(), Vec::new());
    for (members, target) in [(train, 0.0), (rest, 1.0)] {
        for (k, row) in members.iter().enumerate() {
            rows.push(*row);
            targets.push(target);
            weights.push(0.5 * (train.len() + rest.len()) as f32 / members.len() as f32);
            folds.push(k * FOLDS / members.len());
        }
    }
    let scores = out_of_fold(&rows, &targets, 1, &weights, &folds, FOLDS);
    Some(area_under_curve(&scores[..train.len()], &scores[train.len()..]))
}

/// The probability that a score of the second list is above one of the first; ties count half.
fn area_under_curve(low: &[f32], high: &[f32]) -> f64 {
    let mut all: Vec<(f32, bool)> =
        low.iter().map(|s| (*s, false)).chain(high.iter().map(|s| (*s, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for equal in all.chunk_by(|a, b| a.0 == b.0) {
        let highs = equal.iter().filter(|e| e.1).count() as f64;
        let lows = equal.len() as f64 - highs;
        wins += highs * (below + 0.5 * lows);
        below += lows;
    }
    wins / (low.len() as f64 * high.len() as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_another_kind_are_told_apart_and_others_are_not() {
        use taper_core::random::{Key, Purpose};
        let key = Key::new(0, Purpose::new("test/drift"));
        let row = |set: u32, i: u64, shift: f32| -> Vec<f32> {
            let mut stream = key.stream(set, i);
            let mut number = || stream.next_u32() as f32 / u32::MAX as f32;
            (0..40).map(|at| number() + if at == 7 { shift } else { 0.0 }).collect()
        };
        let set = |number, count, shift| -> Vec<Vec<f32>> {
            (0..count).map(|i| row(number, i, shift)).collect()
        };
        fn rows(set: &[Vec<f32>]) -> Vec<&[f32]> {
            set.iter().map(Vec::as_slice).collect()
        }
        let told = |a: &[Vec<f32>], b: &[Vec<f32>]| told_apart(40, &rows(a), &rows(b));
        let train = set(0, 300, 0.0);
        let (same, other) = (told(&train, &set(1, 60, 0.0)), told(&train, &set(2, 60, 2.0)));
        assert!(same.unwrap() < 0.65, "{same:?}");
        assert!(other.unwrap() > STRONG_DRIFT, "{other:?}");
        assert_eq!(told(&train, &set(3, 19, 2.0)), None);
    }

    #[test]
    fn the_area_under_the_curve_is_a_probability() {
        assert_eq!(area_under_curve(&[0.0, 1.0], &[2.0, 3.0]), 1.0);
        assert_eq!(area_under_curve(&[2.0, 3.0], &[0.0, 1.0]), 0.0);
        assert_eq!(area_under_curve(&[1.0, 1.0], &[1.0]), 0.5);
        // scikit-learn 1.7: roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
        assert_eq!(area_under_curve(&[0.1, 0.4], &[0.35, 0.8]), 0.75);
    }
}
