#![doc = include_str!("../README.md")]

mod check;
mod error;
mod file_paths;
mod fine_tune;
mod head_choice;
mod known_data;
mod named;
mod precision_choice;
mod prompt_choice;
mod recipe;

pub use check::CheckedRecipe;
pub use error::{Error, Result};
pub use file_paths::check_present;
pub use fine_tune::{BatchNormChoice, FineTune, Interpolate, MapPrecision, UnfreezeChoice};
pub use head_choice::HeadChoice;
pub use known_data::{KNOWN_DATASETS, KnownDataset};
pub use named::{NAMED_RECIPES, NamedRecipe};
pub use precision_choice::PrecisionChoice;
pub use prompt_choice::PromptChoice;
pub use recipe::{CheckpointSettings, FitChoice, LearningRate, LrFinderSettings, Recipe};
pub use taper_mixing::MixChoice;
