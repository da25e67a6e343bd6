#![doc = include_str!("../README.md")]

mod confusion;
mod curves;
mod error;
pub mod page;
mod reliability;

pub use confusion::{confusion, thousands};
pub use curves::{Curves, EpochFigures, Kept};
pub use error::{Error, Result};
pub use reliability::reliability;
pub use taper_plot::Picture;
