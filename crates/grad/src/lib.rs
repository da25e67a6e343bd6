#![doc = include_str!("../README.md")]

mod error;
mod head;
mod layer;

pub use error::{Error, Result};
pub use head::Head;
