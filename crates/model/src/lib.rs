#![doc = include_str!("../README.md")]

mod activation_map;
mod artefact;
mod backbone;
mod calibration;
mod classifier;
mod error;
mod familiarity;

pub use activation_map::{ActivationMap, Explanation};
pub use artefact::{Artefact, ArtefactWeights, Figure, Figures, FineTuning, Origin};
pub use backbone::{OpenOptions, PlanBackbone};
pub use calibration::{Calibration, CalibrationChange, ConformalSets, TemperatureLimit, score};
pub use classifier::{Classifier, Input, Prediction};
pub use error::{Error, Result};
pub use familiarity::{Familiarity, at_length_1};
