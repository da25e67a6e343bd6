use serde::{Deserialize, Serialize};
use taper_run::Answer;

use super::{Gain, Preset};

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchEnd {
    /// Everything that was worth trying was tried.
    Complete,
    /// There was no time for more.
    Time,
    /// Somebody asked to stop.
    Interrupted,
}

/// A candidate, and how it did in folds of the pictures that may be learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// What it adds to the best one before it.
    pub name: String,
    /// In how many folds it was judged.
    pub folds: usize,
    /// On how many pictures, none of which it was trained on.
    pub pictures: usize,
    /// Accuracy on them.
    pub accuracy: f64,
    /// Mean Brier score on them, 0 (perfect) to 2, with calibrated probabilities.
    pub brier: f64,
    /// How much better it is than the best one before it (a fine-tuning: than the best one without
    /// any), on the pictures that both were judged by; `null` for the first one.
    pub gain: Option<Gain>,
    /// Whether it became the best one.
    pub kept: bool,
    /// Seconds for judging it.
    pub seconds: f64,
}

/// A training on everything that the folder held for a while, or holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What it is, in words.
    pub name: String,
    /// Seconds from the beginning of the search to its end.
    pub at: f64,
    /// Accuracy on its validation pictures, which may be near copies of what it was trained on.
    pub val_accuracy: f64,
    /// Accuracy on test pictures, by which nothing is chosen; `null` if there are none.
    pub test_accuracy: Option<f64>,
    /// Loss on test pictures; `null` if there are none.
    pub test_loss: Option<f64>,
}

/// What a search did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// How much was to be tried.
    pub preset: Preset,
    /// Seconds that it had.
    pub time_limit: f64,
    /// Seconds that it took, all of its parts together.
    pub seconds: f64,
    /// How it ended.
    pub ended: SearchEnd,
    /// Pictures that may be learned from.
    pub pictures: usize,
    /// Groups of near copies among them; as many as pictures if none are alike.
    pub groups: usize,
    /// What was tried, in order.
    pub tried: Vec<Tried>,
    /// The trainings on everything, in order; the folder holds the last one.
    pub steps: Vec<Step>,
    /// What the model is, in words.
    pub chosen: String,
}

/// The answer of `taper train --preset`: that of the training which the folder holds, and what led
/// to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Searched {
    /// The training, whose recipe repeats it.
    #[serde(flatten)]
    pub answer: Answer,
    /// What was tried.
    pub search: SearchReport,
}
