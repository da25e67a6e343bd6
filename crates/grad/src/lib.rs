#![doc = include_str!("../README.md")]

mod average;
mod error;
mod head;
mod init;
mod layer;
mod loss;
mod optimizer;

pub use average::Average;
pub use error::{Error, Result};
pub use head::{Head, HeadParameter};
pub use init::initial_values;
pub use loss::{ClassWeights, Loss, LossConfig, Targets};
pub use optimizer::{
    Algorithm, CheckedOptimizer, EpsilonMode, Optimizer, OptimizerConfig, ParameterGroup, Treatment,
};
