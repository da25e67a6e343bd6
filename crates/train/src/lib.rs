#![doc = include_str!("../README.md")]

mod batches;
mod checkpoint;
mod error;
mod find_rate;
mod head_learner;
mod learner;
mod progress;
mod sampling;
mod settings;
mod table;
mod trainer;

pub use batches::{Batches, batch_ranges};
pub use checkpoint::CheckpointFolder;
pub use error::{Error, Result};
pub use head_learner::{HeadLearner, evaluate_rows, measure_head, part_key, train_head};
pub use learner::{Learner, State, StepContext, StepOutcome};
pub use progress::{EpochReport, Progress, Watch};
pub use sampling::Sampling;
pub use settings::{CheckedTraining, Training};
pub use table::{RowBatch, RowBatches, Table};
pub use trainer::{Trained, Trainer};
