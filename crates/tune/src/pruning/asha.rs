use serde::{Deserialize, Serialize};
use taper_core::{Direction, OutOfRange};

use crate::{Result, Trial, TrialState, sampler::History, trial::key};

/// Settings of asynchronous successive halving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AshaConfig {
    /// The step at which the first rung ends, the grace. Default 1, at least 1.
    pub min_resource: u64,
    /// η: of the trials of a rung one in η is promoted, and the next rung ends at η times the
    /// step. Default 3, at least 2.
    pub reduction: u64,
    /// The step at which a trial is complete, usually the number of epochs. Default 27, at least
    /// `min_resource`.
    pub max_resource: u64,
}

impl Default for AshaConfig {
    fn default() -> Self {
        Self { min_resource: 1, reduction: 3, max_resource: 27 }
    }
}

impl AshaConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedAsha> {
        let within = |field: &'static str, value: u64, good: bool, remedy: &'static str| {
            if good { Ok(()) } else { Err(OutOfRange::new(field, value, remedy)) }
        };
        within("min_resource", self.min_resource, self.min_resource > 0, "use 1 or more")?;
        within("reduction", self.reduction, self.reduction > 1, "use 2 or more, e.g. 3")?;
        let good = (self.min_resource..=i64::MAX as u64).contains(&self.max_resource);
        within("max_resource", self.max_resource, good, "use at least `min_resource`")?;
        Ok(CheckedAsha(self))
    }
}

/// An [`AshaConfig`] with all fields in range: the scheduler.
///
/// Rung k ends at step `min_resource`·ηᵏ; at its end a trial pauses, unless it is among the best
/// ⌊n/η⌋ of the n trials that have ended the rung so far. A paused trial goes on from its
/// checkpoint as soon as it is among them. So no step is computed twice, and a trial that came too
/// early to be compared has its chance later. The last rung ends at `max_resource`.
///
/// Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: *A System for Massively
/// Parallel Hyperparameter Tuning*, MLSys 2020, algorithm 2. Values at the ends of rungs are noted
/// where Optuna's `SuccessiveHalvingPruner` looks for them, so that it goes on with the same rungs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedAsha(AshaConfig);

impl CheckedAsha {
    /// The step at which a rung ends, counted from 0.
    pub fn budget(&self, rung: usize) -> i64 {
        let power = u32::try_from(rung).ok().and_then(|rung| self.0.reduction.checked_pow(rung));
        let budget = power.and_then(|power| self.0.min_resource.checked_mul(power));
        budget.unwrap_or(u64::MAX).min(self.0.max_resource) as i64
    }

    /// Whether a rung is the last one, at the end of which trials are complete.
    pub fn is_last(&self, rung: usize) -> bool {
        self.budget(rung) == self.0.max_resource as i64
    }

    /// Whether a trial with this value at the end of a rung may go on.
    pub(crate) fn promotes(
        &self,
        history: History<'_>,
        number: usize,
        rung: usize,
        value: f64,
    ) -> bool {
        let others = history.trials.iter().filter(|trial| trial.number != number);
        let values = others.filter_map(|trial| Some((trial.rung(rung)?, trial.number)));
        let mut all: Vec<(f64, usize)> = values.chain([(value, number)]).collect();
        self.best(&mut all, history.direction).contains(&(value, number))
    }

    /// The best ⌊n/η⌋ of the values of a rung, NaN never among them.
    fn best<'a>(&self, all: &'a mut [(f64, usize)], direction: Direction) -> &'a [(f64, usize)] {
        sort(all, direction);
        let count = (all.len() as u64 / self.0.reduction) as usize;
        let numbers = all.iter().take_while(|(value, _)| !value.is_nan()).count();
        &all[..count.min(numbers)]
    }

    /// The paused trial to go on with, if one is among the best of its rung: of the highest rung,
    /// the best.
    pub(crate) fn promotable(&self, history: History<'_>) -> Option<usize> {
        let highest = history.trials.iter().map(Trial::rungs).max().unwrap_or(0);
        (0..highest).rev().find_map(|rung| {
            let values = history.trials.iter().filter_map(|t| Some((t.rung(rung)?, t.number)));
            let mut all: Vec<_> = values.collect();
            let best = self.best(&mut all, history.direction);
            let waits = |number: usize| is_paused_at(&history.trials[number], rung);
            best.iter().map(|(_, number)| *number).find(|number| waits(*number))
        })
    }

    /// The paused trial to go on with when no new ones will come, so that at least one completes:
    /// the best of the highest rung.
    pub(crate) fn remaining(&self, history: History<'_>) -> Option<usize> {
        let ends =
            |trial: &Trial| matches!(trial.state, TrialState::Complete | TrialState::Running);
        if history.trials.iter().any(ends) {
            return None;
        }
        let highest = history.trials.iter().filter(|t| t.is_paused()).map(Trial::rungs).max()?;
        let rung = highest.checked_sub(1)?;
        let paused = history.trials.iter().filter(|trial| is_paused_at(trial, rung));
        let mut all: Vec<_> = paused.filter_map(|t| Some((t.rung(rung)?, t.number))).collect();
        sort(&mut all, history.direction);
        all.first().map(|(_, number)| *number)
    }
}

/// The best first, NaN last; of equal ones the earlier trial.
fn sort(all: &mut [(f64, usize)], direction: Direction) {
    let signed = |value: f64| match direction {
        _ if value.is_nan() => f64::NAN,
        Direction::Min => value,
        Direction::Max => -value,
    };
    all.sort_by(|a, b| signed(a.0).total_cmp(&signed(b.0)).then(a.1.cmp(&b.1)));
}

/// Whether it waits at the end of just this rung.
fn is_paused_at(trial: &Trial, rung: usize) -> bool {
    trial.is_paused() && trial.rungs() == rung + 1
}

/// The rung that a trial is in, or was promoted to.
pub(crate) fn current_rung(trial: &Trial) -> usize {
    trial.system_attributes.get(key::CURRENT).and_then(|r| r.as_u64()).unwrap_or(0) as usize
}
