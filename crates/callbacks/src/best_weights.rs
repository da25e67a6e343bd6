use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_core::{Mode, Monitor, float};

use crate::{
    Action, Callback, Event, Result,
    callback::{check_reported, load, monitored, save},
    early_stopping::checked_monitor,
};

const NAME: &str = "best weights";

/// Options of [`BestWeights`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BestWeightsConfig {
    /// The value that is watched. Default `val_loss`.
    pub monitor: String,
    /// Which way is better. Default `auto`.
    pub mode: Mode,
    /// Epochs before this one, counted from 0, are ignored. Default 0, any number.
    pub start_from_epoch: u64,
}

impl Default for BestWeightsConfig {
    fn default() -> Self {
        Self { monitor: "val_loss".into(), mode: Mode::Auto, start_from_epoch: 0 }
    }
}

impl BestWeightsConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Monitor`] if the monitor's direction is not known.
    pub fn check(self) -> Result<CheckedBestWeights> {
        let monitor = checked_monitor(NAME, &self.monitor, self.mode, 0.0)?;
        Ok(CheckedBestWeights { monitor, start_from_epoch: self.start_from_epoch })
    }
}

/// A [`BestWeightsConfig`] with all fields in range.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedBestWeights {
    monitor: Monitor,
    start_from_epoch: u64,
}

/// Keeps the weights of the epoch with the best monitored value and restores them when training
/// ends, whatever ended it.
///
/// Any strict improvement counts, however small: what Keras's
/// `ModelCheckpoint(save_best_only=True)` does with a file.
#[derive(Debug, Clone)]
pub struct BestWeights {
    checked: CheckedBestWeights,
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    #[serde(with = "float::option")]
    best: Option<f64>,
    best_epoch: Option<u64>,
}

impl BestWeights {
    /// Takes checked options.
    pub fn new(checked: CheckedBestWeights) -> Self {
        Self { checked, state: State::default() }
    }

    /// The best monitored value so far.
    pub fn best(&self) -> Option<f64> {
        self.state.best
    }

    /// The epoch of the best monitored value so far, counted from 0.
    pub fn best_epoch(&self) -> Option<u64> {
        self.state.best_epoch
    }
}

impl Callback for BestWeights {
    fn name(&self) -> &str {
        NAME
    }

    fn follows_batches(&self) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event<'_>, actions: &mut Vec<Action>) -> Result<()> {
        let CheckedBestWeights { monitor, start_from_epoch } = &self.checked;
        match *event {
            Event::TrainBegin { resumed, reported, .. } => {
                check_reported(NAME, monitor, reported)?;
                if !resumed {
                    self.state = State::default();
                }
            }
            Event::EpochEnd { epoch, logs, .. } => {
                let current = monitored(NAME, monitor, logs)?;
                if epoch >= *start_from_epoch && monitor.improves(current, self.state.best) {
                    self.state = State { best: Some(current), best_epoch: Some(epoch) };
                    actions.push(Action::KeepWeights { epoch });
                }
            }
            Event::TrainEnd => {
                if let Some(epoch) = self.state.best_epoch {
                    actions.push(Action::RestoreWeights { epoch });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn state(&self) -> Result<Value> {
        save(&self.state)
    }

    fn restore(&mut self, state: Value) -> Result<()> {
        self.state = load(NAME, state)?;
        Ok(())
    }
}
