use serde::{Deserialize, Serialize};
use taper_core::float;

/// A running mean, weighted by how many samples each value stands for.
///
/// For figures that are computed elsewhere, such as a training loss with label smoothing:
/// `keras.metrics.Mean`.
///
/// ```
/// use taper_metrics::Mean;
/// let mut loss = Mean::default();
/// loss.update(1.0, 64.0); // the mean of a whole batch
/// loss.update(3.0, 32.0); // and of the last, smaller one
/// assert_eq!(loss.value(), Some(160.0 / 96.0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    #[serde(with = "float")]
    sum: f64,
    #[serde(with = "float")]
    weight: f64,
}

impl Mean {
    /// Adds a mean over `weight` samples.
    pub fn update(&mut self, value: f64, weight: f64) {
        // 0 · ∞ would be NaN: a value of weight 0 must change nothing.
        if weight != 0.0 {
            self.sum += value * weight;
            self.weight += weight;
        }
    }

    /// The mean so far, if anything was added.
    pub fn value(&self) -> Option<f64> {
        (self.weight != 0.0).then(|| self.sum / self.weight)
    }

    /// The total weight so far.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Adds the sums of another one.
    pub fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.weight += other.weight;
    }
}
