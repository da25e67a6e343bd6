#![doc = include_str!("../README.md")]

mod device;
mod error;
mod layers;
mod loss;
mod network;
mod optimizer;
mod vision_transformer;

pub use device::{DeviceChoice, open_device};
pub use error::{Error, Result};
pub use loss::cross_entropy;
pub use network::{NamedParameter, Network, Pass};
pub use optimizer::{Adam, AdamConfig, CheckedAdamConfig, EpsilonMode};
