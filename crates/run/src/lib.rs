#![doc = include_str!("../README.md")]

mod artefact;
mod augment_sheet;
mod backbone;
mod classifier;
mod cross_validation;
mod embed;
mod error;
mod features;
mod file;
mod find_rate;
mod head;
#[cfg(feature = "download")]
mod hub_data;
mod inspect;
mod mixing;
mod prepare;
mod recipe;
mod run;
mod run_folder;

mod source;

mod views;

pub use artefact::Artefact;
pub use augment_sheet::{AugmentAnswer, augment_sheet};
pub use backbone::{Backbone, Pending};
pub use classifier::{Classifier, Prediction};
pub use cross_validation::{CrossValidation, Spread, cross_validate};
pub use embed::{EmbedAnswer, Through, embed};
pub use error::{Error, Result};
pub use features::{Features, NamedViews, extract};
pub use find_rate::{FoundRate, find_rate};
pub use head::HeadChoice;
pub use inspect::{EmbedWith, inspect};
pub use mixing::{MixChoice, Mixing};
pub use recipe::{
    CheckedRecipe, CheckpointSettings, FitChoice, LearningRate, LrFinderSettings, Recipe,
};
pub use run::{Answer, Counted, HeadCount, Outcome, Resumed, resume, train};
pub use sampling::SamplingChoice;
pub use session::{EpochReport, Progress, Session};
pub use source::{KNOWN_DATASETS, KnownDataset, SyntheticSource, open_data, open_data_with};
pub use training::{
    CheckedHeadTraining, CheckpointFolder, HeadModel, HeadTrainer, HeadTraining, Trained,
    evaluate_head, train_head,
};
pub use views::Views;
