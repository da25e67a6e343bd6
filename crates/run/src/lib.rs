#![doc = include_str!("../README.md")]

mod answer;
mod augment_sheet;
mod cross_validation;
mod embed;
mod error;
mod evaluate;
mod features;
mod file;
mod find_rate;
mod head_choice;
#[cfg(feature = "download")]
mod hub_data;
mod inspect;
mod mixing;
mod place;
mod precision;
mod prepare;
mod recipe;
mod recipe_check;
mod run;
mod run_folder;
mod session;
mod source;
mod views;

pub use answer::{Answer, Counted, HeadCount, Outcome, Resumed};
pub use augment_sheet::{AugmentAnswer, augment_sheet};
pub use cross_validation::{CrossValidation, Spread, cross_validate};
pub use embed::{EmbedAnswer, Through, WITH_CANDLE, embed};
pub use error::{Error, Result};
pub use evaluate::{evaluate, open_classifier, pretrained_classifier};
pub use features::{Features, NamedViews, extract};
pub use find_rate::{FoundRate, find_rate};
pub use head_choice::HeadChoice;
pub use inspect::{EmbedWith, inspect};
pub use mixing::{MixChoice, Mixing};
pub use precision::PrecisionChoice;
pub use recipe::{CheckpointSettings, FitChoice, LearningRate, LrFinderSettings, Recipe};
pub use recipe_check::CheckedRecipe;
pub use run::{OwnCallbacks, resume, resume_with, train, train_with};
pub use session::Session;
pub use source::{
    KNOWN_DATASETS, KnownDataset, SyntheticSource, open_data, open_data_with, remarks_of,
};
pub use views::Views;
