#![doc = include_str!("../README.md")]

mod augmenter;
mod auto;
mod change;
mod effect;
mod error;
mod factors;
mod geometry;
mod mix;
mod policy;
mod transforms;

pub use augmenter::{Augmenter, VERSION};
pub use change::Change;
pub use error::{Error, Result};
pub use factors::CheckedFactors;
pub use geometry::{CropBox, Geometry};
pub use mix::{Mix, Mixed, Mixer, one_hot};
pub use policy::Policy;
pub use taper_picture::{Fill, Homography, Quality, Warper};
pub use transforms::{Adjustment, Factors};
