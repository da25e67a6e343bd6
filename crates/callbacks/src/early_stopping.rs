use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_core::{Mode, Monitor, float};

use crate::{
    Action, Callback, Error, Event, Result, StopReason,
    callback::{check_reported, load, monitored, save},
};

const NAME: &str = "early stopping";

/// Options of [`EarlyStopping`]. Names, meanings and defaults are those of Keras 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStoppingConfig {
    /// The value that is watched. Default `val_loss`.
    pub monitor: String,
    /// By how much a value must be better to count as improved, in its own unit; its sign is
    /// ignored. Default 0, finite.
    pub min_delta: f64,
    /// How many epochs without improvement end training. Default 0: the first one, except the very
    /// first epoch. Any number.
    pub patience: u64,
    /// Which way is better. Default `auto`.
    pub mode: Mode,
    /// A value that must be beaten before the counter is reset, in the monitored value's unit.
    /// Default none, any number but NaN.
    pub baseline: Option<f64>,
    /// Whether the weights of the best monitored epoch are restored when training ends, whatever
    /// ended it. Default `false`.
    pub restore_best_weights: bool,
    /// Epochs before this one, counted from 0, are ignored. Default 0, any number.
    pub start_from_epoch: u64,
}

impl Default for EarlyStoppingConfig {
    fn default() -> Self {
        Self {
            monitor: "val_loss".into(),
            min_delta: 0.0,
            patience: 0,
            mode: Mode::Auto,
            baseline: None,
            restore_best_weights: false,
            start_from_epoch: 0,
        }
    }
}

impl EarlyStoppingConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Monitor`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedEarlyStopping> {
        let monitor = checked_monitor(NAME, &self.monitor, self.mode, self.min_delta)?;
        if self.baseline.is_some_and(f64::is_nan) {
            return Err(Error::setting(NAME, "baseline", "NaN", "use a number, or leave it out"));
        }
        Ok(CheckedEarlyStopping { config: self, monitor })
    }
}

pub(crate) fn checked_monitor(
    callback: &'static str,
    name: &str,
    mode: Mode,
    min_delta: f64,
) -> Result<Monitor> {
    if !min_delta.is_finite() {
        return Err(Error::setting(callback, "min_delta", min_delta, "use a finite number"));
    }
    Monitor::new(name, mode, min_delta).map_err(|source| Error::Monitor { callback, source })
}

/// An [`EarlyStoppingConfig`] with all fields in range.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedEarlyStopping {
    config: EarlyStoppingConfig,
    monitor: Monitor,
}

/// Ends training when the monitored value has stopped improving.
///
/// Follows `keras/src/callbacks/early_stopping.py` (Keras 3), with one difference: a NaN never
/// becomes the best value. (In Keras a NaN in the first monitored epoch does, and nothing can beat
/// it afterwards.)
#[derive(Debug, Clone)]
pub struct EarlyStopping {
    checked: CheckedEarlyStopping,
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    wait: u64,
    #[serde(with = "float::option")]
    best: Option<f64>,
    best_epoch: Option<u64>,
}

impl EarlyStopping {
    /// Takes checked options.
    pub fn new(checked: CheckedEarlyStopping) -> Self {
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

    /// How many monitored epochs in a row have not improved.
    pub fn wait(&self) -> u64 {
        self.state.wait
    }
}

impl Callback for EarlyStopping {
    fn name(&self) -> &str {
        NAME
    }

    fn follows_batches(&self) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event<'_>, actions: &mut Vec<Action>) -> Result<()> {
        let CheckedEarlyStopping { config, monitor } = &self.checked;
        let state = &mut self.state;
        match *event {
            Event::TrainBegin { resumed, reported, .. } => {
                check_reported(NAME, monitor, reported)?;
                if !resumed {
                    *state = State::default();
                }
            }
            Event::EpochEnd { epoch, logs, .. } => {
                let current = monitored(NAME, monitor, logs)?;
                if epoch < config.start_from_epoch {
                    return Ok(());
                }
                state.wait += 1;
                if monitor.improves(current, state.best) {
                    state.best = Some(current);
                    state.best_epoch = Some(epoch);
                    if config.restore_best_weights {
                        actions.push(Action::KeepWeights { epoch });
                    }
                    if config.baseline.is_none() || monitor.improves(current, config.baseline) {
                        state.wait = 0;
                    }
                } else if state.wait >= config.patience && epoch > 0 {
                    let reason = StopReason::EarlyStopping {
                        monitor: config.monitor.clone(),
                        patience: config.patience,
                        epoch,
                        best: state.best,
                        best_epoch: state.best_epoch,
                    };
                    actions.push(Action::Stop { reason });
                }
            }
            Event::TrainEnd => {
                if config.restore_best_weights
                    && let Some(epoch) = state.best_epoch
                {
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
