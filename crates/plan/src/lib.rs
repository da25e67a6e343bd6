#![doc = include_str!("../README.md")]

mod arena;
mod error;
mod layers;
mod lower;
mod options;
mod plan;
mod rows;
mod threads;

pub use error::{PlanError, Result};
pub use layers::PlanLayer;
pub use options::{Output, PlanOptions};
pub use plan::{FrozenPlan, Tap, Workspace};
pub use taper_core::Precision;
pub use taper_kernels::{KernelClass, Kernels};
