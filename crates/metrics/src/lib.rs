#![doc = include_str!("../README.md")]

mod calibration;
mod error;
mod evaluation;
mod mean;
mod metrics;
mod options;
mod softmax;

pub use calibration::{Calibration, CalibrationBin};
pub use error::{Error, Result};
pub use evaluation::{ClassReport, ConfusedPair, Evaluation, TopK};
pub use mean::Mean;
pub use metrics::{Metrics, Outputs};
pub use options::{CheckedMetricsOptions, MetricsOptions};
pub use softmax::{log_softmax, softmax};
