use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use taper_core::{
    Direction, OutOfRange,
    random::{Key, Purpose, Stream},
};

use super::{Draw, History, Sampler, spread, uniform};
use crate::{Distribution, ParzenEstimator, Result, Space, Trial, TrialState};

const PURPOSE: Purpose = Purpose::new("tune/tpe");

/// Settings of [`Tpe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TpeConfig {
    /// How many trials must have ended before the densities are used; until then, parameters are
    /// drawn at random. Default 10, any number.
    pub startup_trials: usize,
    /// How many candidates are drawn, of which the most promising one is taken. Default 24, at
    /// least 1.
    pub candidates: usize,
    /// Seed of the random streams. Default 0.
    pub seed: u64,
}

impl Default for TpeConfig {
    fn default() -> Self {
        Self { startup_trials: 10, candidates: 24, seed: 0 }
    }
}

impl TpeConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedTpe> {
        if self.candidates == 0 {
            return Err(OutOfRange::new("candidates", 0, "use 1 or more, e.g. 24").into());
        }
        Ok(CheckedTpe(self))
    }
}

/// A [`TpeConfig`] with all fields in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedTpe(TpeConfig);

/// The tree-structured Parzen estimator: `TPESampler(multivariate=True, constant_liar=True)` of
/// Optuna 5, with other random numbers.
///
/// Trials are divided into good ones, min(⌈0.1 n⌉, 25) of the n that ended, and others. Of
/// candidates drawn from the density of the good ones, the one is taken at which this density is
/// largest in relation to that of the others. Pruned trials come after complete ones, by how far
/// they came; running ones count as not good, so that processes beside each other do not try the
/// same. Trials that ASHA has paused count as pruned.
///
/// Bergstra, Bardenet, Bengio, Kégl: *Algorithms for Hyper-Parameter Optimization*, NeurIPS 2011;
/// the components are those described in Watanabe, arXiv 2304.11127.
#[derive(Debug, Clone, Copy)]
pub struct Tpe {
    config: TpeConfig,
    key: Key,
}

impl Tpe {
    /// With these settings.
    pub fn new(CheckedTpe(config): CheckedTpe) -> Self {
        Self { config, key: Key::new(config.seed, PURPOSE) }
    }

    /// The numbers of the good trials and of the others, each ascending, without the trial of
    /// this number (`_split_trials`).
    pub fn split(history: History<'_>, number: Option<usize>) -> (Vec<usize>, Vec<usize>) {
        let mut complete = Vec::new();
        let mut pruned = Vec::new();
        let mut above = Vec::new();
        for trial in history.trials.iter().filter(|trial| Some(trial.number) != number) {
            match trial.state {
                TrialState::Complete => complete.push(trial),
                TrialState::Pruned => pruned.push(trial),
                TrialState::Waiting if trial.is_paused() => pruned.push(trial),
                TrialState::Running => above.push(trial.number),
                TrialState::Failed | TrialState::Waiting => {}
            }
        }
        let ended = complete.len() + pruned.len();
        let good = ended.div_ceil(10).min(25);
        let signed = |value: f64| if history.direction == Direction::Min { value } else { -value };
        let value = |trial: &Trial| signed(trial.value().unwrap_or(f64::NAN));
        complete.sort_by(|a, b| ordered(value(a), value(b)));
        pruned.sort_by(|a, b| {
            let score = |trial: &Trial| match trial.last_step() {
                Some((step, value)) if value.is_nan() => (-step, f64::INFINITY),
                Some((step, value)) => (-step, signed(value)),
                None => (1, 0.0),
            };
            let (a, b) = (score(a), score(b));
            a.0.cmp(&b.0).then(ordered(a.1, b.1))
        });
        let of_complete = good.min(complete.len());
        let of_pruned = (good - of_complete).min(pruned.len());
        above.extend(complete.split_off(of_complete).iter().map(|trial| trial.number));
        above.extend(pruned.split_off(of_pruned).iter().map(|trial| trial.number));
        let mut below: Vec<usize> = complete.iter().chain(&pruned).map(|t| t.number).collect();
        below.sort_unstable();
        above.sort_unstable();
        (below, above)
    }

    /// The densities of the good trials and of the others over some parameters; trials that lack
    /// one of them do not count.
    pub fn densities(
        history: History<'_>,
        space: &[(&str, &Distribution)],
        number: Option<usize>,
    ) -> (ParzenEstimator, ParzenEstimator) {
        let distributions: Vec<&Distribution> = space.iter().map(|(_, d)| *d).collect();
        let estimator = |numbers: Vec<usize>| {
            let trials = numbers.iter().filter_map(|number| history.trials.get(*number));
            let rows: Vec<Vec<f64>> = trials.filter_map(|trial| trial.row(space)).collect();
            ParzenEstimator::new(&distributions, &rows)
        };
        let (below, above) = Self::split(history, number);
        (estimator(below), estimator(above))
    }

    /// The most promising of the candidates.
    fn best_candidate(
        &self,
        history: History<'_>,
        space: &[(&str, &Distribution)],
        number: usize,
        stream: &mut Stream,
    ) -> Vec<f64> {
        let (below, above) = Self::densities(history, space, Some(number));
        let mut best = (f64::NEG_INFINITY, Vec::new());
        for _ in 0..self.config.candidates {
            let candidate = below.sample(stream);
            let gain = below.log_density(&candidate) - above.log_density(&candidate);
            if gain > best.0 || best.1.is_empty() {
                best = (gain, candidate);
            }
        }
        best.1
    }
}

/// By value, equal ones staying in their order.
fn ordered(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

impl Sampler for Tpe {
    fn sample(&self, history: History<'_>, space: &Space, number: usize) -> Result<Draw> {
        let ended = || {
            let ended = |trial: &&Trial| {
                matches!(trial.state, TrialState::Complete | TrialState::Pruned)
                    || trial.is_paused()
            };
            history.trials.iter().filter(ended).filter(move |trial| trial.number != number)
        };
        let startup = ended().count() < self.config.startup_trials;
        let mut together = Vec::new();
        let mut draw = Draw::default();
        for (name, distribution) in space.iter().filter(|(_, d)| !d.is_single()) {
            // What all trials had, and still can have, is drawn together.
            let same = |trial: &Trial| {
                trial.parameters.get(name).is_some_and(|p| p.distribution == *distribution)
            };
            if !startup && ended().all(same) {
                together.push((name, distribution));
            }
        }
        if !together.is_empty() {
            let mut stream = self.key.part("together").stream(0, number as u64);
            let values = self.best_candidate(history, &together, number, &mut stream);
            draw.values.extend(together.iter().map(|(name, _)| (*name).to_owned()).zip(values));
        }
        for (name, distribution) in space.iter() {
            if draw.values.contains_key(name) {
                continue;
            }
            let mut stream = self.key.part("alone").part(name).stream(0, number as u64);
            let value = if startup || distribution.is_single() {
                spread(distribution, uniform(&mut stream))
            } else {
                self.best_candidate(history, &[(name, distribution)], number, &mut stream)[0]
            };
            draw.values.insert(name.to_owned(), value);
        }
        Ok(draw)
    }
}
