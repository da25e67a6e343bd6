#![doc = include_str!("../README.md")]

mod confusion;
mod curves;
mod error;

pub use confusion::confusion;
pub use curves::{Curves, EpochFigures, Kept};
pub use error::{Error, Result};
pub use taper_plot::Picture;
