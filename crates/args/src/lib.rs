#![doc = include_str!("../README.md")]

mod command;
mod common_args;
mod data_args;
mod export_args;
mod fine_tune_args;
pub mod flags;
mod list_args;
mod model_args;
mod package_args;
mod recipe_args;
#[cfg(feature = "serve")]
mod serve_args;
mod source_args;
mod time;
mod train_args;

pub use command::{Args, Command, command};
pub use common_args::{CacheArgs, ComputeArgs, ReplyArgs};
pub use data_args::{AugmentArgs, EmbedArgs, InspectArgs, ThroughArg};
pub use export_args::{BatchArg, ExportArgs, FormatArg, InputArg, OutputArg, WeightsArg};
pub use fine_tune_args::FineTuneArgs;
pub use flags::Given;
pub use list_args::{ListArgs, RecipesArgs, SummaryArgs};
pub use model_args::{CompareArgs, EvaluateArgs, InfoArgs, PredictArgs};
pub use package_args::{CompletionsArgs, ManArgs};
pub use recipe_args::{ReadRecipe, RecipeArgs};
#[cfg(feature = "serve")]
pub use serve_args::ServeArgs;
pub use source_args::SourceArgs;
pub use train_args::{LrFindArgs, TrainArgs, TuneArgs};
