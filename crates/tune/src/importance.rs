use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};
use taper_core::{Direction, OutOfRange};

use crate::{Distribution, History, ParzenEstimator, Result, Trial, TrialState, parzen::Kernels};

/// Settings of the importance of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportanceConfig {
    /// What counts as good: this share of the trials, the best ones. Default 0.1, in (0, 1) and
    /// below `region`.
    pub target: f64,
    /// Among which trials: this share, the best ones. Default 1, above `target` and at most 1.
    pub region: f64,
}

impl Default for ImportanceConfig {
    fn default() -> Self {
        Self { target: 0.1, region: 1.0 }
    }
}

/// An [`ImportanceConfig`] with all fields in range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckedImportance(ImportanceConfig);

impl ImportanceConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] names the first field that is out of range.
    pub fn check(self) -> Result<CheckedImportance> {
        let good = self.region > 0.0 && self.region <= 1.0;
        let refuse = |field: &'static str, value: f64, remedy: &'static str| {
            Err(OutOfRange::new(field, value, remedy).into())
        };
        if !good {
            return refuse("region", self.region, "use a share above 0, at most 1");
        }
        if !(self.target > 0.0 && self.target < self.region) {
            return refuse("target", self.target, "use a share above 0 and below `region`");
        }
        Ok(CheckedImportance(self))
    }
}

/// How much each parameter matters for a trial to be among the best.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    /// The parameter.
    pub name: String,
    /// The Pearson divergence between the parameter's values in the best trials and in all: at
    /// least 0, in no unit.
    pub divergence: f64,
    /// The divergence as a share of the sum over all parameters; equal shares if all are 0.
    pub share: f64,
}

impl CheckedImportance {
    /// The importance of every parameter of complete trials, the most important first: PED-ANOVA.
    /// Trials with values that are not finite do not count; with fewer than two, all importances
    /// are 0.
    ///
    /// Watanabe, Bansal, Hutter: *PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    /// Arbitrary Subspaces*, IJCAI 2023; parameters that not all trials have as in arXiv
    /// 2601.20800; as Optuna 5's `PedAnovaImportanceEvaluator`
    /// (`optuna/importance/_ped_anova/evaluator.py`).
    pub fn of(&self, history: History<'_>) -> Vec<Importance> {
        let complete = history.trials.iter().filter(|t| t.state == TrialState::Complete);
        let mut names: Vec<&str> = complete
            .clone()
            .flat_map(|trial| trial.parameters.keys().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        let finite = |trial: &&Trial| trial.value().is_some_and(f64::is_finite);
        let trials: Vec<&Trial> = complete.filter(finite).collect();
        let target = best(&trials, self.0.target, history.direction);
        let region = best(&trials, self.0.region, history.direction);
        let mut all: Vec<Importance> = names
            .iter()
            .map(|name| Importance {
                name: (*name).to_owned(),
                divergence: if trials.len() < 2 { 0.0 } else { divergence(name, &target, &region) },
                share: 0.0,
            })
            .collect();
        let sum: f64 = all.iter().map(|importance| importance.divergence).sum();
        let count = all.len() as f64;
        for importance in &mut all {
            importance.share = if sum == 0.0 { 1.0 / count } else { importance.divergence / sum };
        }
        all.sort_by(|a, b| b.divergence.total_cmp(&a.divergence));
        all
    }
}

/// The best share of the trials, and all that are as good as the last of them.
fn best<'a>(trials: &[&'a Trial], share: f64, direction: Direction) -> Vec<&'a Trial> {
    let loss = |trial: &Trial| {
        let value = trial.value().unwrap_or(f64::INFINITY);
        if direction == Direction::Min { value } else { -value }
    };
    let mut losses: Vec<f64> = trials.iter().map(|trial| loss(trial)).collect();
    losses.sort_by(f64::total_cmp);
    let count = (share * losses.len() as f64).ceil() as usize;
    let Some(last) = count.checked_sub(1).and_then(|last| losses.get(last)) else {
        return Vec::new();
    };
    trials.iter().copied().filter(|trial| loss(trial) <= *last).collect()
}

/// The importance of a parameter, over all that it was drawn from.
fn divergence(name: &str, target: &[&Trial], region: &[&Trial]) -> f64 {
    let of = |trial: &Trial| trial.parameters.get(name).map(|p| p.distribution.clone());
    let mut regimes: Vec<Distribution> = Vec::new();
    for distribution in region.iter().filter_map(|trial| of(trial)) {
        if !regimes.contains(&distribution) {
            regimes.push(distribution);
        }
    }
    let share = target.len() as f64 / region.len() as f64;
    let importance =
        regimes.iter().filter(|distribution| !distribution.is_single()).map(|regime| {
            let within = |trials: &[&Trial]| -> Vec<f64> {
                let parameters = trials.iter().filter_map(|trial| trial.parameters.get(name));
                parameters.filter(|p| p.distribution == *regime).map(|p| p.internal).collect()
            };
            let (good, all) = (within(target), within(region));
            // Fewer than two trials say nothing.
            if good.is_empty() || all.len() < 2 {
                return 0.0;
            }
            let good_share = good.len() as f64 / target.len() as f64;
            let all_share = all.len() as f64 / region.len() as f64;
            good_share * good_share / all_share
                * pearson(&density(regime, &good), &density(regime, &all))
        });
    importance.sum::<f64>() * share * share
}

/// Σ q (p/q − 1)².
fn pearson(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| q * (p / q - 1.0) * (p / q - 1.0)).sum()
}

/// The density of values over a grid of at most 50 points, or over choices.
fn density(distribution: &Distribution, values: &[f64]) -> Vec<f64> {
    let counts = counts(distribution, values);
    let seen: Vec<(f64, f64)> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(place, count)| (place as f64, f64::from(*count)))
        .collect();
    let kernels = match distribution {
        Distribution::Categorical { choices } => {
            let places: Vec<f64> = seen.iter().map(|(place, _)| *place).collect();
            Kernels::choices(&places, choices.len())
        }
        _ => {
            let width = bandwidth(&seen);
            let mut kernels: Vec<_> = seen.iter().map(|(place, _)| (*place, width)).collect();
            kernels.push((0.5 * (counts.len() as f64 - 1.0), counts.len() as f64));
            Kernels::over_grid(kernels, counts.len())
        }
    };
    let weights = seen.iter().map(|(_, count)| *count).chain([1.0]).collect();
    let estimator = ParzenEstimator::from_kernels(weights, vec![kernels]);
    (0..counts.len()).map(|i| estimator.log_density(&[i as f64]).exp() + 1e-12).collect()
}

/// How many values are nearest to each point of the grid (`_count_numerical_param_in_grid`).
fn counts(distribution: &Distribution, values: &[f64]) -> Vec<u32> {
    const MOST: usize = 50;
    let (low, high, log, count) = match distribution {
        Distribution::Categorical { choices } => {
            let mut counts = vec![0; choices.len()];
            values.iter().for_each(|value| counts[*value as usize] += 1);
            return counts;
        }
        Distribution::Float { low, high, log, step } => {
            let count = step.map_or(MOST, |step| ((high - low) / step).round() as usize + 1);
            (*low, *high, *log, count)
        }
        Distribution::Int { low, high, log, step } => {
            let (low, high) = (*low as f64, *high as f64);
            let count = if *log {
                ((high - low + 1.0).ln() / LN_2).ceil() as usize + 1
            } else {
                ((high - low) / *step as f64).round() as usize + 1
            };
            (low, high, *log, count)
        }
    };
    let scaled = |value: f64| if log { value.ln() } else { value };
    let mut counts = vec![0; count.min(MOST)];
    let last = counts.len() - 1;
    let distance = (scaled(high) - scaled(low)) / last as f64;
    for value in values {
        // Half-way between two points, the lower one.
        let place = ((scaled(*value) - scaled(low)) / distance - 0.5).ceil();
        counts[place.clamp(0.0, last as f64) as usize] += 1;
    }
    counts
}

/// Scott's rule from points and how often each occurs (`ScottParzenEstimator`).
fn bandwidth(seen: &[(f64, f64)]) -> f64 {
    let sum: f64 = seen.iter().map(|(_, count)| count).sum();
    let mean = seen.iter().map(|(place, count)| place * count).sum::<f64>() / sum;
    let squares = seen.iter().map(|(place, count)| (place - mean) * (place - mean) * count);
    let deviation = (squares.sum::<f64>() / (sum - 1.0).max(1.0)).sqrt();
    let mut total = 0.0;
    let cumulated: Vec<f64> = seen
        .iter()
        .map(|(_, count)| {
            total += count;
            total
        })
        .collect();
    let lower = cumulated.partition_point(|c| *c < (sum / 4.0).floor());
    let upper = cumulated.partition_point(|c| *c <= (sum * 3.0 / 4.0).floor()).min(seen.len() - 1);
    let range = seen[upper].0 - seen[lower].0;
    (1.059 * (range / 1.34).min(deviation) * sum.powf(-0.2)).max(0.5 / 1.64)
}
