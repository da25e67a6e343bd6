#![doc = include_str!("../README.md")]

mod builder;
mod error;
mod layers;
mod lower;
mod network;
mod options;
mod proto;

pub use error::{Error, Result};
pub use network::{Head, Network};
pub use options::{CheckedOptions, InputForm, OnnxOptions, OutputForm};
