#![doc = include_str!("../README.md")]

mod artefact;
mod augment_sheet;
mod backbone;
mod classifier;
mod error;
mod features;
mod file;
mod head;
mod recipe;
mod run;
mod run_folder;
mod session;
mod source;
mod trainer;
mod views;

pub use artefact::Artefact;
pub use augment_sheet::{AugmentAnswer, augment_sheet};
pub use backbone::Backbone;
pub use classifier::{Classifier, Prediction};
pub use error::{Error, Result};
pub use features::{Features, extract};
pub use head::HeadChoice;
pub use recipe::{CheckedRecipe, FitChoice, Recipe};
pub use run::{Answer, Counted, HeadCount, Outcome, train};
pub use session::{EpochReport, Progress, Session};
pub use source::{KNOWN_DATASETS, KnownDataset, SyntheticSource, open_data};
pub use trainer::{HeadTraining, Trained, evaluate_head, train_head};
pub use views::Views;
