#![doc = include_str!("../README.md")]

mod config;
mod curve;
mod error;
mod find;
#[cfg(feature = "plot")]
mod plot;
pub mod suggest;

pub use config::{CheckedRangeTest, Method, RangeTestConfig};
pub use curve::Curve;
pub use error::{Error, Result, StepError};
pub use find::{RangeTestResult, Spread, Suggestions, Trainee, find};
#[cfg(feature = "plot")]
pub use taper_plot::Picture;
