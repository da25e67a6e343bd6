#![doc = include_str!("../README.md")]

mod boundary;
mod directions;
mod error;
mod grad_cam;
#[cfg(feature = "network")]
mod groups;
mod head;
mod layer;
#[cfg(feature = "network")]
mod network;
#[cfg(feature = "network")]
mod suffix;

pub use boundary::{Boundary, Unfreeze};
pub use error::{Error, Result};
pub use grad_cam::GradCam;
#[cfg(feature = "network")]
pub use groups::{layer_decay, layer_groups};
pub use head::Head;
#[cfg(feature = "network")]
pub use network::Network;
#[cfg(feature = "network")]
pub use suffix::{BatchNormMode, Suffix, SuffixOptions};
