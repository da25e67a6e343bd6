#![doc = include_str!("../README.md")]

mod calibration;
mod error;
mod evaluation;
mod mean;
mod metrics;
mod options;
mod probabilities;
mod scores;
mod sets;
mod softmax;
mod spread;

pub use calibration::{Calibration, CalibrationBin};
pub use error::{Error, Result};
pub use evaluation::{ClassReport, ConfusedPair, Evaluation, TopK};
pub use mean::Mean;
pub use metrics::{Metrics, Outputs};
pub use options::{CheckedMetricsOptions, MetricsOptions};
pub use probabilities::ProbabilityFigures;
pub use scores::{aurc, auroc, brier_score};
pub use sets::SetFigures;
pub use softmax::{log_softmax, log_softmax_at, softmax, softmax_at};
pub use spread::Spread;
