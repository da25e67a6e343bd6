use serde::{Deserialize, Serialize};
use taper_core::{Direction, OutOfRange};

use crate::{Result, Trial, TrialState, sampler::History};

/// Settings of median pruning, Optuna's `MedianPruner` (`optuna/pruners/_percentile.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MedianConfig {
    /// How many trials must be complete before any is pruned. Default 5, any number.
    pub startup_trials: usize,
    /// No trial is pruned before this step. Default 0, at least 0.
    pub warmup_steps: i64,
}

impl Default for MedianConfig {
    fn default() -> Self {
        Self { startup_trials: 5, warmup_steps: 0 }
    }
}

impl MedianConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedMedian> {
        if self.warmup_steps < 0 {
            return Err(OutOfRange::new("warmup_steps", self.warmup_steps, "use 0 or more").into());
        }
        Ok(CheckedMedian(self))
    }
}

/// A [`MedianConfig`] with all fields in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedMedian(MedianConfig);

impl CheckedMedian {
    /// Whether a trial should end: its best value so far is worse than the median of the values
    /// that complete trials had at its last step, or all its values are NaN.
    pub fn prunes(&self, history: History<'_>, trial: &Trial) -> bool {
        let complete = || history.trials.iter().filter(|t| t.state == TrialState::Complete);
        let count = complete().count();
        let Some((step, _)) = trial.last_step() else { return false };
        if count == 0 || count < self.0.startup_trials || step < self.0.warmup_steps {
            return false;
        }
        let better = match history.direction {
            Direction::Min => f64::min,
            Direction::Max => f64::max,
        };
        let own = trial.steps.values().copied().filter(|value| !value.is_nan()).reduce(better);
        let Some(own) = own else { return true };
        let mut others: Vec<f64> = complete()
            .filter_map(|other| other.steps.get(&step).copied())
            .filter(|value| !value.is_nan())
            .collect();
        others.sort_by(f64::total_cmp);
        let Some(last) = others.len().checked_sub(1) else { return false };
        let median = 0.5 * (others[last / 2] + others[last.div_ceil(2)]);
        match history.direction {
            Direction::Min => own > median,
            Direction::Max => own < median,
        }
    }
}
