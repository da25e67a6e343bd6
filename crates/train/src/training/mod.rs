//! Training of a head on features.

mod checkpoint;
mod engine;
mod find_rate;
mod head_model;
mod settings;
mod trainer;

pub use checkpoint::CheckpointFolder;
pub use head_model::HeadModel;
pub use settings::{CheckedHeadTraining, HeadTraining};
pub use trainer::{HeadTrainer, Trained, evaluate_head, train_head};
