use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeSeq};

use crate::Calibration;

/// All figures of one pass over a data set: the answer of `taper evaluate --json`.
///
/// Where samples have weights other than 1, "samples" means summed weights, except in `n` and
/// `not_finite`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of samples.
    pub n: u64,
    /// Mean cross-entropy, in nats. NaN, written as `null`, if any output was not finite.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Mean Brier score: Σ_c (p_c − 1[c is the label])², 0 (perfect) to 2, over the samples with
    /// finite outputs ([`brier_score`](crate::brier_score)). 0 in answers of earlier programs.
    #[serde(default)]
    pub brier: f64,
    /// Share of samples whose largest output is at their label, 0…1.
    pub accuracy: f64,
    /// Share of samples whose label is among the k largest outputs, if it was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<TopK>,
    /// Mean recall of the classes that have samples, 0…1
    /// (`sklearn.metrics.balanced_accuracy_score`).
    pub balanced_accuracy: f64,
    /// Mean F1 of the classes that occur as truth or as prediction, 0…1
    /// (`sklearn.metrics.f1_score(average="macro", zero_division=0)`).
    pub macro_f1: f64,
    /// Number of samples with NaN or infinite outputs. They have no prediction, are counted as
    /// wrong, and are missing from `confusion`.
    pub not_finite: u64,
    /// The most frequent mistake, if there is one; among equally frequent ones, the first by true,
    /// then by predicted label.
    pub most_confused: Option<ConfusedPair>,
    /// How well confidence matches accuracy.
    pub calibration: Calibration,
    /// The classes in label order.
    pub per_class: Vec<ClassReport>,
    /// `confusion[true][predicted]`: number of samples (`sklearn.metrics.confusion_matrix`).
    #[serde(serialize_with = "whole_rows")]
    pub confusion: Vec<Vec<f64>>,
}

/// The figures of one class. A share whose denominator is 0 is 0 (scikit-learn's
/// `zero_division=0`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// The class's name.
    pub label: String,
    /// Of the samples predicted as this class, the share that belong to it, 0…1.
    pub precision: f64,
    /// Of the samples of this class, the share that were recognised, 0…1.
    pub recall: f64,
    /// Harmonic mean of precision and recall, 0…1.
    pub f1: f64,
    /// Number of samples of this class.
    #[serde(serialize_with = "whole")]
    pub support: f64,
}

/// The most frequent mistake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusedPair {
    /// The true class.
    pub truth: String,
    /// The class that it was taken for.
    pub predicted: String,
    /// Number of samples.
    #[serde(serialize_with = "whole")]
    pub count: f64,
    /// The same as a share of the true class's samples, 0…1.
    pub share: f64,
}

/// Accuracy within the k most probable classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    /// How many guesses count.
    pub k: usize,
    /// Share of samples whose label is among them, 0…1.
    pub accuracy: f64,
}

/// Sums of ones are counts, and a reader expects `124`, not `124.0`.
fn whole<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Whole(*value).serialize(serializer)
}

fn whole_rows<S: Serializer>(rows: &[Vec<f64>], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(rows.len()))?;
    for row in rows {
        sequence.serialize_element(&row.iter().copied().map(Whole).collect::<Vec<_>>())?;
    }
    sequence.end()
}

struct Whole(f64);

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT: f64 = (1u64 << 53) as f64;
        if self.0.fract() == 0.0 && (0.0..EXACT).contains(&self.0) {
            serializer.serialize_u64(self.0 as u64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
