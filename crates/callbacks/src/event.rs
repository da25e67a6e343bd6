use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// What happens in training, passed to every callback in order.
///
/// Epochs and steps count from 0. A step is one update of the optimizer, counted over the whole
/// training.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Before the first step. Callbacks check here whether what they monitor will be reported.
    TrainBegin {
        /// The first epoch: 0, or the one where training is resumed or continued.
        first_epoch: u64,
        /// Whether state was restored: `true` keeps it, `false` starts again.
        resumed: bool,
        /// The names that [`Event::EpochEnd`] will report.
        reported: &'a [&'a str],
    },
    /// An epoch begins, or continues after a resumption inside it.
    EpochBegin {
        /// The epoch.
        epoch: u64,
    },
    /// The optimizer has made a step.
    BatchEnd {
        /// The epoch.
        epoch: u64,
        /// The step, counted from 0 over all epochs.
        step: u64,
        /// Mean loss of the batch.
        loss: f64,
        /// The rate that the step was made with.
        learning_rate: f64,
    },
    /// An epoch and its validation are over.
    EpochEnd {
        /// The epoch.
        epoch: u64,
        /// The last step of the epoch, counted from 0 over all epochs.
        step: u64,
        /// The optimizer's current rate.
        learning_rate: f64,
        /// Its figures by name, such as `val_loss`.
        logs: &'a Logs,
    },
    /// No more steps, whatever the cause.
    TrainEnd,
}

/// What a callback asks of the trainer, which alone changes anything.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// End training after this event.
    Stop {
        /// Why.
        reason: StopReason,
    },
    /// Copy the current weights (trainable ones and running statistics) and keep them instead of
    /// any copy that the same callback asked for earlier.
    KeepWeights {
        /// The epoch that they belong to.
        epoch: u64,
    },
    /// Restore the copy that this callback asked to keep.
    RestoreWeights {
        /// The epoch that it belongs to.
        epoch: u64,
    },
    /// Set the optimizer's base rate.
    SetLearningRate {
        /// The new rate, above 0.
        value: f64,
    },
    /// Write a checkpoint: completely or not at all, and before the next action is carried out.
    SaveCheckpoint {
        /// What it is called.
        id: CheckpointId,
        /// Whether it is the best so far.
        best: bool,
    },
    /// Remove a checkpoint; one that is gone already is not an error.
    DeleteCheckpoint {
        /// What it is called.
        id: CheckpointId,
    },
}

/// The moment at which a checkpoint was taken: after this step of this epoch, both counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointId {
    /// The epoch.
    pub epoch: u64,
    /// The step, over all epochs.
    pub step: u64,
}

impl fmt::Display for CheckpointId {
    /// Names that sort in order of time: `epoch-0003-step-00000159`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch-{:04}-step-{:08}", self.epoch, self.step)
    }
}

/// Why training ended before its last epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum StopReason {
    /// The monitored value stopped improving.
    EarlyStopping {
        /// The monitored value's name.
        monitor: String,
        /// How many epochs it had to improve.
        patience: u64,
        /// The last epoch.
        epoch: u64,
        /// The best value, if any was not NaN.
        #[serde(with = "taper_core::float::option")]
        best: Option<f64>,
        /// Its epoch.
        best_epoch: Option<u64>,
    },
    /// The loss of a batch was NaN or infinite.
    NotFinite {
        /// The epoch.
        epoch: u64,
        /// The step.
        step: u64,
        /// The loss.
        #[serde(with = "taper_core::float")]
        loss: f64,
    },
    /// It was requested, e.g. by a signal.
    Interrupted,
    /// A callback of the user's.
    Other {
        /// In the callback's words.
        reason: String,
    },
}

impl StopReason {
    /// The word for it in machine-readable answers: `early`, `nan` or `interrupted`.
    pub fn keyword(&self) -> &'static str {
        match self {
            StopReason::EarlyStopping { .. } | StopReason::Other { .. } => "early",
            StopReason::NotFinite { .. } => "nan",
            StopReason::Interrupted => "interrupted",
        }
    }
}

/// In words for people, who count epochs and steps from 1.
///
/// ```
/// use taper_callbacks::StopReason;
/// let said = StopReason::NotFinite { epoch: 0, step: 4, loss: f64::NAN }.to_string();
/// assert!(said.starts_with("stopped in epoch 1: the loss of step 5 is NaN"), "{said}");
/// ```
impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |epoch: &u64| epoch.saturating_add(1);
        match self {
            StopReason::EarlyStopping { monitor, patience, epoch, best, best_epoch } => {
                let s = if *patience == 1 { "" } else { "s" };
                match (best, best_epoch) {
                    (Some(best), Some(best_epoch)) => write!(
                        f,
                        "stopped after epoch {}: {monitor} has not improved on {best:.4} of epoch {} \
                         (patience: {patience} epoch{s})",
                        counted(epoch),
                        counted(best_epoch)
                    ),
                    _ => write!(
                        f,
                        "stopped after epoch {}: {monitor} was never a number",
                        counted(epoch)
                    ),
                }
            }
            StopReason::NotFinite { epoch, step, loss } => write!(
                f,
                "stopped in epoch {}: the loss of step {step} is {loss}: try a lower learning rate",
                counted(epoch),
                step = counted(step)
            ),
            StopReason::Interrupted => f.write_str("interrupted"),
            StopReason::Other { reason } => f.write_str(reason),
        }
    }
}

/// The figures of an epoch by name. Kept and written in alphabetical order.
///
/// ```
/// use taper_callbacks::Logs;
/// let logs: Logs = [("val_loss", 0.41), ("loss", 0.38)].into_iter().collect();
/// assert_eq!(logs.get("val_loss"), Some(0.41));
/// assert_eq!(logs.iter().next(), Some(("loss", 0.38)));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logs(BTreeMap<String, f64>);

impl Logs {
    /// No figures yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one figure.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.0.insert(name.into(), value);
    }

    /// One figure, if it is there.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// All figures in alphabetical order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// All names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<N: Into<String>> FromIterator<(N, f64)> for Logs {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(figures: I) -> Self {
        Self(figures.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}
