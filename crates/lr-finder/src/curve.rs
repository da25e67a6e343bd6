use serde::{Deserialize, Serialize};
use taper_core::float;

use crate::{CheckedRangeTest, Error, Method, Result, Suggestions, suggest};

/// One sweep: rates and losses, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// The seed of the sweep.
    pub seed: u64,
    /// The rate of each step, ascending.
    pub rates: Vec<f64>,
    /// The loss of each step. The last ones may be NaN or infinite.
    #[serde(with = "float::vec")]
    pub losses: Vec<f64>,
    /// The loss, smoothed: an exponential moving average with β, divided by 1 − β^(t+1).
    #[serde(with = "float::vec")]
    pub smoothed: Vec<f64>,
    /// Whether the sweep ended before its last rate because the loss diverged.
    pub diverged: bool,
}

impl Curve {
    /// An empty one.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, rates: vec![], losses: vec![], smoothed: vec![], diverged: false }
    }

    /// How many points there are before the first one whose smoothed loss is not finite.
    pub fn usable(&self) -> usize {
        self.smoothed.iter().position(|l| !l.is_finite()).unwrap_or(self.smoothed.len())
    }

    /// Reads all rates off the smoothed curve. `sma` uses all of it; the others ignore `skip_begin`
    /// and `skip_end` points.
    ///
    /// # Errors
    /// [`Error::TooFewPoints`], or [`Error::NoDescent`] if the smoothed loss does not fall by
    /// `min_descent`, or by no more than noise explains.
    pub fn suggestions(&self, test: &CheckedRangeTest) -> Result<Suggestions> {
        let config = test.config();
        let found = self.usable();
        let needed = test.needed();
        if found < needed {
            return Err(Error::TooFewPoints { found, needed, diverged: self.diverged });
        }
        let (rates, losses) = (&self.rates[..found], &self.smoothed[..found]);
        let inner = test.skip_begin()..found - config.skip_end;
        let (inner_rates, inner_losses) = (&rates[inner.clone()], &losses[inner]);

        // Noise alone makes any curve fall a little. Where the fall begins, the smoothed loss is a
        // mean of this many losses, and chance rarely exceeds three of its standard errors.
        let from = inner_losses[0];
        let least = losses[test.skip_begin()..].iter().copied().fold(f64::INFINITY, f64::min);
        let error = noise(&self.losses[..found]) / ((test.skip_begin() + 1) as f64).sqrt();
        let fall = (3.0 * error).max(config.min_descent * from.abs());
        let sma = suggest::sma(rates, losses, config.sma);
        if sma.is_none() || from - least <= fall {
            let (start, end) = (rates[0], rates[found - 1]);
            return Err(Error::NoDescent { start, end, from, fall });
        }
        Ok(Suggestions {
            valley: suggest::valley(inner_rates, inner_losses),
            sma,
            minimum: suggest::minimum(inner_rates, inner_losses),
            steep: suggest::steep(inner_rates, inner_losses),
            slide: suggest::slide(inner_rates, inner_losses),
        })
    }
}

/// The standard deviation of the losses around their trend, from the median of their changes, which
/// slopes and a divergence at the end hardly affect.
fn noise(losses: &[f64]) -> f64 {
    let mut changes: Vec<f64> = losses.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    changes.sort_by(f64::total_cmp);
    // A normal variable's median distance from its mean is 0.6745 standard deviations; a difference
    // has √2 of them.
    changes.get(changes.len() / 2).map_or(0.0, |median| median / (0.6745 * 2f64.sqrt()))
}

impl Suggestions {
    /// What one method suggests.
    pub fn get(&self, method: Method) -> Option<f64> {
        match method {
            Method::Valley => self.valley,
            Method::Sma => self.sma,
            Method::Minimum => self.minimum,
            Method::Steep => self.steep,
            Method::Slide => self.slide,
        }
    }
}
