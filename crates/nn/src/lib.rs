#![doc = include_str!("../README.md")]

mod device;
mod error;
mod frozen;
mod layers;
mod loss;
mod network;
mod optimizer;

pub use device::{DeviceChoice, open_device};
pub use error::{Error, Result};
pub use frozen::{FrozenNetwork, FrozenType};
pub use loss::{cross_entropy, weighted_cross_entropy};
pub use network::{NamedParameter, Network, Pass};
pub use optimizer::{Average, Gradients, Optimizer};
