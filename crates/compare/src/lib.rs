#![doc = include_str!("../README.md")]

mod compare;
mod error;
mod means;
mod paired;

pub use compare::{Comparison, Differs, Settings, Side, compare};
pub use error::{Error, Result};
pub use means::PairedMeans;
pub use paired::Paired;
