use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use crate::{Distribution, Space, Value, python};

/// Keys of a trial's system attributes.
pub(crate) mod key {
    /// Parameters that a waiting trial must have, as Optuna's `enqueue_trial` writes them.
    pub(crate) const FIXED: &str = "fixed_params";
    /// What Optuna's TPE has drawn for a running trial, in pieces of JSON with a number each.
    pub(crate) const RELATIVE: &str = "tpe:relative_params:";
    /// The value at the end of a rung, with its number; as Optuna's `SuccessiveHalvingPruner`.
    pub(crate) const RUNG: &str = "completed_rung_";
    /// The rung that ASHA lets a trial run to.
    pub(crate) const CURRENT: &str = "taper:rung";
    /// Why a trial waits: [`PAUSED`], [`INTERRUPTED`] or null.
    pub(crate) const WAITS: &str = "taper:waits";
    /// Which process runs the trial.
    pub(crate) const OWNER: &str = "taper:owner";
    /// At the end of a rung.
    pub(crate) const PAUSED: &str = "paused";
    /// Its process ended.
    pub(crate) const INTERRUPTED: &str = "interrupted";
}

/// How far a trial is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrialState {
    /// A process is at it, or was until it ended.
    Running,
    /// It has a value.
    Complete,
    /// It was stopped early.
    Pruned,
    /// It has no value: the objective failed, or returned NaN.
    Failed,
    /// It is to be run, or continued.
    Waiting,
}

impl TrialState {
    /// Optuna's number for it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Complete => 1,
            Self::Pruned => 2,
            Self::Failed => 3,
            Self::Waiting => 4,
        }
    }

    pub(crate) fn from_code(code: u64) -> Option<Self> {
        [Self::Running, Self::Complete, Self::Pruned, Self::Failed, Self::Waiting]
            .into_iter()
            .find(|state| u64::from(state.code()) == code)
    }

    /// Whether nothing of the trial can change any more.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned | Self::Failed)
    }

    /// The word for it in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Pruned => "pruned",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
        }
    }
}

impl fmt::Display for TrialState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The value of a parameter in a trial, and what it was drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The values that it could have had.
    pub distribution: Distribution,
    /// The number that stands for the value: itself, or the index of the choice.
    pub internal: f64,
}

impl Parameter {
    /// The value, as the objective sees it.
    pub fn value(&self) -> Value {
        self.distribution.to_external(self.internal).unwrap_or(Value::Null)
    }
}

/// One evaluation of the objective, as the journal has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    pub(crate) id: u64,
    /// Its number in the study, from 0.
    pub number: usize,
    /// How far it is.
    pub state: TrialState,
    /// The values of the objectives: one for each direction of the study, or none yet. Of a pruned
    /// trial, the last intermediate value.
    pub values: Option<Vec<f64>>,
    /// The parameters by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// The intermediate values by step. Steps are the objective's, usually epochs from 1.
    pub steps: BTreeMap<i64, f64>,
    /// What users noted.
    pub user_attributes: serde_json::Map<String, serde_json::Value>,
    /// What samplers and pruners noted.
    pub system_attributes: serde_json::Map<String, serde_json::Value>,
    /// When it began, or last went on.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub completed: Option<SystemTime>,
}

impl Trial {
    /// A trial without anything but its number and state, for the histories of one's own tests.
    pub fn new(number: usize, state: TrialState) -> Self {
        Self {
            id: number as u64,
            number,
            state,
            values: None,
            parameters: BTreeMap::new(),
            steps: BTreeMap::new(),
            user_attributes: serde_json::Map::new(),
            system_attributes: serde_json::Map::new(),
            started: None,
            completed: None,
        }
    }

    /// The value of the only objective, if it has one.
    pub fn value(&self) -> Option<f64> {
        self.values.as_ref().and_then(|values| values.first().copied())
    }

    /// The value of a parameter, if it has one of this name.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.parameters.get(name).map(Parameter::value)
    }

    /// The last step with an intermediate value, and this value.
    pub fn last_step(&self) -> Option<(i64, f64)> {
        self.steps.last_key_value().map(|(step, value)| (*step, *value))
    }

    /// From when it last went on to its end, if it has ended.
    pub fn duration(&self) -> Option<Duration> {
        self.completed?.duration_since(self.started?).ok()
    }

    /// Whether it waits at the end of a rung, to be promoted or pruned.
    pub fn is_paused(&self) -> bool {
        self.state == TrialState::Waiting
            && self.system_attributes.get(key::WAITS).is_some_and(|waits| waits == key::PAUSED)
    }

    /// Its value at the end of a rung, if it came so far.
    pub(crate) fn rung(&self, rung: usize) -> Option<f64> {
        self.system_attributes.get(&format!("{}{rung}", key::RUNG)).and_then(python::number)
    }

    /// How many rungs it has completed.
    pub(crate) fn rungs(&self) -> usize {
        (0..).find(|rung| self.rung(*rung).is_none()).unwrap_or(0)
    }

    /// The internal values of the parameters as far as they are known: while it runs, Optuna's TPE
    /// notes what the objective has not asked for yet. None if one is missing.
    pub(crate) fn row(&self, space: &[(&str, &Distribution)]) -> Option<Vec<f64>> {
        let drawn = if self.state.is_finished() { None } else { self.relative() };
        let internal = |name: &str, distribution: &Distribution| match self.parameters.get(name) {
            // A choice may have another index in the space of today.
            Some(p) if p.distribution == *distribution => Some(p.internal),
            Some(parameter) => distribution.to_internal(&parameter.value()),
            None => {
                let value = drawn.as_ref()?.get(name)?.clone();
                distribution.to_internal(&serde_json::from_value(value).ok()?)
            }
        };
        space.iter().map(|(name, distribution)| internal(name, distribution)).collect()
    }

    /// `TPESampler._get_params`: pieces that are not whole yet count as none.
    fn relative(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        let mut text = String::new();
        for i in 0.. {
            match self.system_attributes.get(&format!("{}{i}", key::RELATIVE)) {
                Some(piece) => text.push_str(piece.as_str().unwrap_or("")),
                None => break,
            }
        }
        match python::from_json(&text) {
            Ok(serde_json::Value::Object(drawn)) => Some(drawn),
            _ => None,
        }
    }

    /// Values for parameters of the space that the trial must have.
    pub(crate) fn fixed(&self, space: &Space) -> BTreeMap<String, f64> {
        let queued = self.system_attributes.get(key::FIXED).and_then(|fixed| fixed.as_object());
        let mut fixed = BTreeMap::new();
        for (name, distribution) in space.iter() {
            let value = match self.parameters.get(name) {
                Some(parameter) => Some(parameter.value()),
                None => queued
                    .and_then(|queued| queued.get(name))
                    .and_then(|value| serde_json::from_value(value.clone()).ok()),
            };
            let internal = value.and_then(|value| distribution.to_internal(&value));
            if let Some(internal) = internal.filter(|i| distribution.contains(*i)) {
                fixed.insert(name.to_owned(), internal);
            }
        }
        fixed
    }
}
