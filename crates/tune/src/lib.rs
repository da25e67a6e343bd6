#![doc = include_str!("../README.md")]

mod analysis;
mod distribution;
mod error;
mod importance;
mod journal;
mod owner;
mod parzen;
#[cfg(feature = "plot")]
mod plot;
mod pruning;
mod python;
mod sampler;
mod space;
mod study;
mod time;
mod trial;
mod value;

pub use analysis::{Progress, Slice, Table};
pub use distribution::Distribution;
pub use error::{Error, Result};
pub use importance::{CheckedImportance, Importance, ImportanceConfig};
pub use journal::LockKind;
pub use parzen::ParzenEstimator;
#[cfg(feature = "plot")]
pub use plot::plot_importance;
pub use pruning::{AshaConfig, CheckedAsha, CheckedMedian, MedianConfig, Pruning};
pub use sampler::{CheckedTpe, Draw, Grid, GridConfig, History, Random, Sampler, Tpe, TpeConfig};
pub use space::Space;
pub use study::{ActiveTrial, BoxError, Outcome, Study};
pub use taper_core::Direction;
#[cfg(feature = "plot")]
pub use taper_plot::Picture;
pub use trial::{Parameter, Trial, TrialState};
pub use value::Value;
