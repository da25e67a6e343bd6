#![doc = include_str!("../README.md")]

#[cfg(feature = "torch")]
mod checkpoint;
mod contents;
mod error;
mod file;
mod half;
#[cfg(feature = "torch")]
mod pickle;
mod safetensors;
mod shards;
mod writer;

pub use contents::ElementType;
pub use error::{Error, Result};
pub use file::WeightFile;
pub use half::rounded_to_f16;
pub use writer::TensorWriter;
