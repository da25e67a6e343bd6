#![doc = include_str!("../README.md")]

mod error;
pub mod imagenet;
mod naming;
mod pins;
mod place;
mod registry;
mod resolve;

pub use error::{Error, Result};
pub use place::Place;
pub use registry::{DEFAULT_MODEL, ModelSpec, find, models};
pub use resolve::{LoadedWeights, WeightsChoice, resolve, resolve_part, resolve_with};
