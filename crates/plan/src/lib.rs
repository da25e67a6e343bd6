#![doc = include_str!("../README.md")]

mod arena;
mod error;
mod lower;
mod options;
mod plan;
mod rows;

pub use error::{PlanError, Result};
pub use options::{Output, PlanOptions};
pub use plan::{FrozenPlan, PlanLayer, Workspace};
pub use taper_core::Precision;
pub use taper_kernels::{KernelClass, Kernels};
