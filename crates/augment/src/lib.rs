#![doc = include_str!("../README.md")]

mod adjust;
mod augmenter;
mod auto;
mod change;
mod colour;
mod error;
mod factors;
mod filter;
mod geometry;
mod mix;
mod noise;
mod policy;

pub use adjust::Adjustment;
pub use augmenter::{Augmenter, VERSION};
pub use change::Change;
pub use error::{Error, Result};
pub use factors::{CheckedFactors, Factors};
pub use geometry::{CropBox, Geometry};
pub use mix::{Mix, Mixed, Mixer, one_hot};
pub use policy::Policy;
pub use taper_picture::{Fill, Homography, Quality, Warper};
