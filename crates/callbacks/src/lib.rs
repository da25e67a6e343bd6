#![doc = include_str!("../README.md")]

mod best_weights;
mod callback;
mod early_stopping;
mod error;
mod event;
mod history;
mod model_checkpoint;
mod reduce_lr_on_plateau;
mod tensorboard;
mod terminate_on_nan;
mod top_weights;

pub use best_weights::{BestWeights, BestWeightsConfig, CheckedBestWeights};
pub use callback::{Callback, Callbacks, FromFn, Request, from_fn};
pub use early_stopping::{CheckedEarlyStopping, EarlyStopping, EarlyStoppingConfig};
pub use error::{Error, Result};
pub use event::{Action, CheckpointId, Event, Logs, StopReason};
pub use history::{CsvHistory, JsonlHistory, LineEnding, python_float};
pub use model_checkpoint::{CheckedModelCheckpoint, Every, ModelCheckpoint, ModelCheckpointConfig};
pub use reduce_lr_on_plateau::{
    CheckedReduceLrOnPlateau, ReduceLrOnPlateau, ReduceLrOnPlateauConfig,
};
pub use taper_core::{Direction, Mode, Monitor};
pub use tensorboard::TensorBoard;
pub use terminate_on_nan::TerminateOnNan;
pub use top_weights::TopWeights;
