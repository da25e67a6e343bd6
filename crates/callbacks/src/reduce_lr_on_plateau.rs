use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_core::{Mode, Monitor, float};

use crate::{
    Action, Callback, Error, Event, Result,
    callback::{check_reported, load, monitored, save},
    early_stopping::checked_monitor,
};

const NAME: &str = "reduce on plateau";

/// Options of [`ReduceLrOnPlateau`]. Names, meanings and defaults are those of Keras 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReduceLrOnPlateauConfig {
    /// The value that is watched. Default `val_loss`.
    pub monitor: String,
    /// What the rate is multiplied by. Default 0.1, in (0, 1).
    pub factor: f64,
    /// After how many epochs without improvement the rate is reduced; 0 acts as 1. Default 10, any
    /// number.
    pub patience: u64,
    /// Which way is better. Default `auto`.
    pub mode: Mode,
    /// By how much a value must be better to count as improved, in its own unit; its sign is
    /// ignored. Default 1e-4, finite.
    pub min_delta: f64,
    /// For how many epochs after a reduction nothing is counted. Default 0, any number.
    pub cooldown: u64,
    /// The rate is never reduced below this. Default 0, at least 0.
    pub min_lr: f64,
}

impl Default for ReduceLrOnPlateauConfig {
    fn default() -> Self {
        Self {
            monitor: "val_loss".into(),
            factor: 0.1,
            patience: 10,
            mode: Mode::Auto,
            min_delta: 1e-4,
            cooldown: 0,
            min_lr: 0.0,
        }
    }
}

impl ReduceLrOnPlateauConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Monitor`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedReduceLrOnPlateau> {
        let fail = |field, value: f64, remedy| Err(Error::setting(NAME, field, value, remedy));
        let monitor = checked_monitor(NAME, &self.monitor, self.mode, self.min_delta)?;
        if !(self.factor > 0.0 && self.factor < 1.0) {
            return fail("factor", self.factor, "use a number between 0 and 1, both excluded");
        }
        if !(self.min_lr >= 0.0 && self.min_lr.is_finite()) {
            return fail("min_lr", self.min_lr, "use a finite number of at least 0");
        }
        Ok(CheckedReduceLrOnPlateau { config: self, monitor })
    }
}

/// A [`ReduceLrOnPlateauConfig`] with all fields in range.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedReduceLrOnPlateau {
    config: ReduceLrOnPlateauConfig,
    monitor: Monitor,
}

/// Lowers the learning rate when the monitored value has stopped improving.
///
/// It works on the rate that [`Event::EpochEnd`] reports, so it belongs to a constant schedule.
/// Follows `keras/src/callbacks/reduce_lr_on_plateau.py` (Keras 3), except that a NaN never becomes
/// the best value.
#[derive(Debug, Clone)]
pub struct ReduceLrOnPlateau {
    checked: CheckedReduceLrOnPlateau,
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    wait: u64,
    cooldown: u64,
    #[serde(with = "float::option")]
    best: Option<f64>,
}

impl ReduceLrOnPlateau {
    /// Takes checked options.
    pub fn new(checked: CheckedReduceLrOnPlateau) -> Self {
        Self { checked, state: State::default() }
    }

    /// How many epochs have not improved since the last improvement or reduction.
    pub fn wait(&self) -> u64 {
        self.state.wait
    }

    /// How many epochs of cool-down are left.
    pub fn cooldown(&self) -> u64 {
        self.state.cooldown
    }
}

impl Callback for ReduceLrOnPlateau {
    fn name(&self) -> &str {
        NAME
    }

    fn follows_batches(&self) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event<'_>, actions: &mut Vec<Action>) -> Result<()> {
        let CheckedReduceLrOnPlateau { config, monitor } = &self.checked;
        let state = &mut self.state;
        match *event {
            Event::TrainBegin { resumed, reported, .. } => {
                check_reported(NAME, monitor, reported)?;
                if !resumed {
                    *state = State::default();
                }
            }
            Event::EpochEnd { learning_rate, logs, .. } => {
                let current = monitored(NAME, monitor, logs)?;
                if state.cooldown > 0 {
                    state.cooldown -= 1;
                    state.wait = 0;
                }
                if monitor.improves(current, state.best) {
                    state.best = Some(current);
                    state.wait = 0;
                } else if state.cooldown == 0 {
                    state.wait += 1;
                    if state.wait >= config.patience && learning_rate > config.min_lr {
                        let value = (learning_rate * config.factor).max(config.min_lr);
                        actions.push(Action::SetLearningRate { value });
                        state.cooldown = config.cooldown;
                        state.wait = 0;
                    }
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
