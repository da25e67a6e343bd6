#![doc = include_str!("../README.md")]

mod error;
mod fields;
mod files;
mod objective;
mod search;
mod settings;
mod tune;
mod words;

pub use error::{Error, Result};
pub use fields::{default_space, with_fields};
pub use search::{
    Gain, ModelChoice, Preset, SearchEnd, SearchReport, SearchSettings, Searched, Step, Tried,
    is_search, resume_search, search,
};
pub use settings::{MonitorChoice, PruningChoice, SamplerChoice, StudySettings};
pub use tune::{BestTrial, Ended, TrialCounts, Tuned, create, is_study, resume, summary, tune};
