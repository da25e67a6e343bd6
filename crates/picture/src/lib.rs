#![doc = include_str!("../README.md")]

mod bilinear;
mod error;
mod fill;
mod homography;
mod resizer;
mod warper;

pub use error::{Error, Result};
pub use fill::Fill;
pub use homography::Homography;
pub use resizer::Resizer;
pub use warper::{Quality, Warper};
