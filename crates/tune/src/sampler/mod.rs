mod grid;
mod random;
mod tpe;

use std::collections::BTreeMap;

pub use grid::{Grid, GridConfig};
pub use random::Random;
use taper_core::{Direction, random::Stream};
pub use tpe::{CheckedTpe, Tpe, TpeConfig};

use crate::{Distribution, Result, Space, Trial};

/// What a sampler knows about a study.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Whether smaller or larger values are better.
    pub direction: Direction,
    /// All trials in the order of their numbers. The one to sample for may be among them.
    pub trials: &'a [Trial],
}

/// What a sampler gives for a trial.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draw {
    /// The internal values by parameter: the number itself, or the index of the choice.
    pub values: BTreeMap<String, f64>,
    /// What it wants to note as the trial's system attributes.
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

/// Chooses the parameters of the next trial.
///
/// It has no state but its settings: what it gives depends on these, on the trials so far and on
/// the number of the trial, so that a study can be continued by any process.
pub trait Sampler: Send {
    /// Values for all parameters of the space, for the trial of this number.
    ///
    /// # Errors
    /// If there is nothing left to try.
    fn sample(&self, history: History<'_>, space: &Space, number: usize) -> Result<Draw>;
}

/// Uniform in (0, 1), 52 random bits.
pub(crate) fn uniform(stream: &mut Stream) -> f64 {
    ((stream.next_u64() >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

/// An internal value from [`uniform`], as `_SearchSpaceTransform` and `RandomSampler` of Optuna
/// draw it: values with a step, and whole numbers, have the same share each, or on a logarithmic
/// scale that of the interval around them.
pub(crate) fn spread(distribution: &Distribution, u: f64) -> f64 {
    let between = |low: f64, high: f64| low + u * (high - low);
    match distribution {
        Distribution::Float { low, high, log: true, .. } => {
            between(low.ln(), high.ln()).exp().clamp(*low, *high)
        }
        Distribution::Float { low, high, step: None, .. } => between(*low, *high),
        Distribution::Float { low, high, step: Some(step), .. } => {
            let value = between(low - step / 2.0, high + step / 2.0);
            (low + ((value - low) / step).round_ties_even() * step).clamp(*low, *high)
        }
        Distribution::Int { low, high, log, step } => {
            let (low, high, step) = (*low as f64, *high as f64, *step as f64);
            let half = step / 2.0;
            let value = if *log {
                between((low - half).ln(), (high + half).ln()).exp()
            } else {
                between(low - half, high + half)
            };
            (low + ((value - low) / step).round() * step).clamp(low, high)
        }
        Distribution::Categorical { choices } => (u * choices.len() as f64).floor(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_share() {
        let steps = Distribution::Float { low: 0.0, high: 0.5, log: false, step: Some(0.25) };
        let log = Distribution::Int { low: 1, high: 4, log: true, step: 1 };
        let choice = Distribution::Categorical { choices: vec![1.into(), 2.into()] };
        let n = 30_000;
        let share = |d: &Distribution, value: f64| {
            let hits = (0..n).filter(|i| spread(d, (f64::from(*i) + 0.5) / f64::from(n)) == value);
            hits.count() as f64 / f64::from(n)
        };
        assert!((share(&steps, 0.25) - 1.0 / 3.0).abs() < 1e-3);
        assert!((share(&steps, 0.5) - 1.0 / 3.0).abs() < 1e-3);
        assert!((share(&log, 2.0) - (2.5f64 / 1.5).ln() / 9f64.ln()).abs() < 1e-3);
        assert!((share(&choice, 1.0) - 0.5).abs() < 1e-3);
        let rate = Distribution::Float { low: 1e-4, high: 1.0, log: true, step: None };
        assert!((spread(&rate, 0.5) - 1e-2).abs() < 1e-12);
    }
}
