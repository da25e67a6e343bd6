#![doc = include_str!("../README.md")]

mod affine;
mod augmenter;
mod error;
mod policy;

pub use affine::{Affine, Fill};
pub use augmenter::{Augmenter, Change};
pub use error::{Error, Result};
pub use policy::{CheckedFactors, Factors, Policy};
