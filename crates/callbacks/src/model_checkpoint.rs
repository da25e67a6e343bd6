use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_core::{Mode, Monitor, float};

use crate::{
    Action, Callback, CheckpointId, Error, Event, Result,
    callback::{check_reported, load, monitored, save},
    early_stopping::checked_monitor,
};

const NAME: &str = "checkpoints";

/// How often something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// At the end of every n-th epoch.
    Epochs(u64),
    /// After every n-th step, counted over all epochs.
    Steps(u64),
}

/// Options of [`ModelCheckpoint`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelCheckpointConfig {
    /// When a checkpoint is saved. Default every epoch (`{ epochs = 1 }`), at least 1.
    pub every: Every,
    /// Save only epochs that improve the monitored value; then `every` must count epochs. Default
    /// `false`.
    pub only_improved: bool,
    /// How many of the last checkpoints are kept. Default 1, at least 1; none keeps all.
    pub keep_last: Option<usize>,
    /// Save the best epoch as well, whenever it comes, and keep it whatever its age. Default
    /// `true`.
    pub keep_best: bool,
    /// The value that decides what is best. Default `val_loss`; ignored if neither `keep_best` nor
    /// `only_improved` is set.
    pub monitor: String,
    /// Which way is better. Default `auto`.
    pub mode: Mode,
}

impl Default for ModelCheckpointConfig {
    fn default() -> Self {
        Self {
            every: Every::Epochs(1),
            only_improved: false,
            keep_last: Some(1),
            keep_best: true,
            monitor: "val_loss".into(),
            mode: Mode::Auto,
        }
    }
}

impl ModelCheckpointConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Monitor`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedModelCheckpoint> {
        let fail = |field, value: String, remedy| Err(Error::setting(NAME, field, value, remedy));
        if let Every::Epochs(0) | Every::Steps(0) = self.every {
            return fail("every", "0".into(), "use at least 1");
        }
        if self.keep_last == Some(0) {
            return fail("keep_last", "0".into(), "use at least 1, or leave it out to keep all");
        }
        if self.only_improved && matches!(self.every, Every::Steps(_)) {
            return fail(
                "only_improved",
                "true".into(),
                "use every = { epochs = N }: no value is monitored between epochs",
            );
        }
        let monitor = (self.keep_best || self.only_improved)
            .then(|| checked_monitor(NAME, &self.monitor, self.mode, 0.0))
            .transpose()?;
        Ok(CheckedModelCheckpoint { config: self, monitor })
    }
}

/// A [`ModelCheckpointConfig`] with all fields in range.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedModelCheckpoint {
    config: ModelCheckpointConfig,
    monitor: Option<Monitor>,
}

/// Decides when a checkpoint is saved and which old ones are deleted.
///
/// What counts as improved follows `keras/src/callbacks/model_checkpoint.py` (Keras 3), with
/// min_delta 0; that strategies are pure and only return actions follows burn-train's
/// `checkpoint/strategy`.
#[derive(Debug, Clone)]
pub struct ModelCheckpoint {
    checked: CheckedModelCheckpoint,
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    #[serde(with = "float::option")]
    best: Option<f64>,
    best_id: Option<CheckpointId>,
    /// In order of time.
    kept: Vec<CheckpointId>,
    /// Deleted at the last save. The deletion is requested again on resumption, as the trainer may
    /// have died before it.
    deleted: Vec<CheckpointId>,
}

impl ModelCheckpoint {
    /// Takes checked options.
    pub fn new(checked: CheckedModelCheckpoint) -> Self {
        Self { checked, state: State::default() }
    }

    /// The checkpoints that should exist, in order of time.
    pub fn kept(&self) -> &[CheckpointId] {
        &self.state.kept
    }

    /// The checkpoint of the best epoch so far.
    pub fn best(&self) -> Option<CheckpointId> {
        self.state.best_id
    }

    fn save(&mut self, id: CheckpointId, best: bool, actions: &mut Vec<Action>) {
        let state = &mut self.state;
        // A step-wise checkpoint of the epoch's last step may have been saved already; the
        // end-of-epoch checkpoint replaces it.
        state.kept.retain(|kept| *kept != id);
        state.kept.push(id);
        if best {
            state.best_id = Some(id);
        }
        actions.push(Action::SaveCheckpoint { id, best });
        state.deleted.clear();
        if let Some(keep) = self.checked.config.keep_last {
            let old = state.kept.len().saturating_sub(keep);
            let protect = if self.checked.config.keep_best { state.best_id } else { None };
            let mut position = 0;
            state.kept.retain(|kept| {
                position += 1;
                let stays = position > old || Some(*kept) == protect;
                if !stays {
                    state.deleted.push(*kept);
                }
                stays
            });
        }
        actions.extend(state.deleted.iter().map(|&id| Action::DeleteCheckpoint { id }));
    }
}

impl Callback for ModelCheckpoint {
    fn name(&self) -> &str {
        NAME
    }

    fn follows_batches(&self) -> bool {
        matches!(self.checked.config.every, Every::Steps(_))
    }

    fn on_event(&mut self, event: &Event<'_>, actions: &mut Vec<Action>) -> Result<()> {
        match *event {
            Event::TrainBegin { resumed, reported, .. } => {
                if let Some(monitor) = &self.checked.monitor {
                    check_reported(NAME, monitor, reported)?;
                }
                if resumed {
                    let again = self.state.deleted.iter();
                    actions.extend(again.map(|&id| Action::DeleteCheckpoint { id }));
                } else {
                    self.state = State::default();
                }
            }
            Event::BatchEnd { epoch, step, .. } => {
                if let Every::Steps(n) = self.checked.config.every
                    && (step + 1) % n == 0
                {
                    self.save(CheckpointId { epoch, step }, false, actions);
                }
            }
            Event::EpochEnd { epoch, step, logs, .. } => {
                let config = &self.checked.config;
                let due = matches!(config.every, Every::Epochs(n) if (epoch + 1) % n == 0);
                let mut improved = false;
                // A value whose checkpoint could not be saved must not become the best value for
                // later ones.
                if let Some(monitor) = &self.checked.monitor
                    && (due || config.keep_best)
                {
                    let current = monitored(NAME, monitor, logs)?;
                    if monitor.improves(current, self.state.best) {
                        self.state.best = Some(current);
                        improved = true;
                    }
                }
                if improved || (due && !config.only_improved) {
                    self.save(CheckpointId { epoch, step }, improved, actions);
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
