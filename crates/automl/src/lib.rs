#![doc = include_str!("../README.md")]

mod error;
mod fields;
mod files;
mod objective;
mod settings;
mod tune;

pub use error::{Error, Result};
pub use fields::{default_space, with_fields};
pub use settings::{MonitorChoice, PruningChoice, SamplerChoice, StudySettings};
pub use tune::{BestTrial, Ended, TrialCounts, Tuned, resume, tune};
