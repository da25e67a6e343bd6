#![doc = include_str!("../README.md")]

mod backbone;
mod device;
mod error;
mod frozen;
#[cfg(feature = "cuda")]
mod lanes;
mod layers;
mod learner;
mod loss;
mod network;
mod network_learner;
mod optimizer;
mod outcomes;
mod scale;
mod trained;
mod transfer;

pub use backbone::DeviceBackbone;
pub use device::{free_memory, open_device};
pub use error::{Error, Result};
pub use frozen::FrozenNetwork;
pub use learner::DeviceLearner;
pub use loss::{cross_entropy, weighted_cross_entropy};
pub use network::{NamedParameter, Network, Pass};
pub use network_learner::DeviceNetworkLearner;
pub use optimizer::{Average, Gradients, Optimizer};
pub use trained::TrainedNetwork;
pub use transfer::{Readback, Transfers};

/// The device named by `TAPER_TEST_DEVICE`; the CPU if it is not set.
#[cfg(test)]
fn test_device() -> candle_core::Device {
    let choice: taper_core::DeviceChoice = match std::env::var("TAPER_TEST_DEVICE") {
        Ok(name) => name.parse().unwrap(),
        Err(_) => taper_core::DeviceChoice::Cpu,
    };
    open_device(choice).unwrap()
}
