#![doc = include_str!("../README.md")]

mod error;
pub mod imagenet;
mod naming;
mod pins;
mod place;
mod registry;
mod resolve;
mod text;

pub use error::{Error, Result};
pub use place::Place;
pub use registry::{DEFAULT_MODEL, ModelSpec, find, models};
pub use resolve::{LoadedWeights, WeightsChoice, named_as, resolve, resolve_part, resolve_with};
pub use text::{TextWeights, resolve_text, text_weights, tokenizer};
