use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Two series of figures that belong together pair by pair, such as accuracies by seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedMeans {
    /// How many pairs.
    pub n: usize,
    /// The mean of the first's figures less the second's.
    pub difference: f64,
    /// The standard deviation of these differences, with n − 1.
    pub std: f64,
    /// The lower end of the mean difference's 95 % interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How likely a difference of this size or more is if there is none: Student's paired t-test,
    /// two-sided, as `scipy.stats.ttest_rel`. Folds share most of their training pictures, so that
    /// theirs is too small.
    pub p_value: f64,
}

impl PairedMeans {
    /// Of two series of the same length; none with fewer than two pairs.
    pub fn of(first: &[f64], second: &[f64]) -> Option<Self> {
        let n = first.len();
        if n < 2 || second.len() != n {
            return None;
        }
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let spread = taper_metrics::Spread::of(&differences);
        let error = spread.std / (n as f64).sqrt();
        let t = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?;
        let reach = t.inverse_cdf(0.975) * error;
        let p_value = match (error > 0.0, spread.mean == 0.0) {
            (true, _) => 2.0 * t.cdf(-(spread.mean / error).abs()),
            (false, true) => 1.0,
            (false, false) => 0.0,
        };
        Some(Self {
            n,
            difference: spread.mean,
            std: spread.std,
            low: spread.mean - reach,
            high: spread.mean + reach,
            p_value,
        })
    }
}
