#![doc = include_str!("../README.md")]

mod batches;
mod blend;
mod checkpoint;
mod error;
mod find_rate;
mod head_learner;
mod learner;
mod logistic_head;
mod network_learner;
mod progress;
mod rows;
mod sampling;
mod settings;
mod table;
mod trainer;

pub use batches::{Batches, batch_ranges};
pub use blend::{Blend, Tried, on_the_way};
pub use checkpoint::CheckpointFolder;
pub use error::{Error, Result};
pub use head_learner::{
    HeadLearner, evaluate_rows, head_logits, measure_head, part_key, train_head,
};
pub use learner::{Learner, State, StepContext, StepOutcome};
pub use logistic_head::{LogisticFigures, solve_head};
pub use network_learner::{NetworkLearner, TrainedPart};
pub use progress::{EpochReport, Progress, Watch};
pub use rows::{RowBatch, RowBatches, Rows};
pub use sampling::Sampling;
pub use settings::{CheckedTraining, Training};
pub use table::Table;
pub use trainer::{Trained, Trainer};
