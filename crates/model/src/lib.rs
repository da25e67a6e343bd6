#![doc = include_str!("../README.md")]

mod artefact;
mod backbone;
mod classifier;
mod error;

pub use artefact::{Artefact, ArtefactWeights, Figure, Figures, FineTuning, Origin};
pub use backbone::{OpenOptions, PlanBackbone};
pub use classifier::{Classifier, Input, Prediction};
pub use error::{Error, Result};
