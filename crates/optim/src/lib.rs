#![doc = include_str!("../README.md")]

mod average;
mod error;
mod init;
mod loss;
mod optimizer;
mod parameters;
mod schedule;
mod schedule_config;

pub use average::Average;
pub use error::{Error, Result};
pub use init::initial_values;
pub use loss::{ClassWeights, Loss, LossConfig, Targets};
pub use optimizer::{
    Algorithm, CheckedOptimizer, EpsilonMode, Optimizer, OptimizerConfig, ParameterGroup, Treatment,
};
pub use parameters::{Parameter, Parameters};
pub use schedule::Schedule;
pub use schedule_config::{ScheduleConfig, Shape, Span, Warmup};
