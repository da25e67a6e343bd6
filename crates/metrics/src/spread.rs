use serde::Serialize;

/// A figure over several measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation: of n figures, with n − 1.
    pub std: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of figures; NaN if there are none.
    pub fn of(figures: &[f64]) -> Self {
        let n = figures.len() as f64;
        let mean = figures.iter().sum::<f64>() / n;
        let squares: f64 = figures.iter().map(|x| (x - mean).powi(2)).sum();
        Self {
            mean,
            std: if figures.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 },
            min: figures.iter().copied().fold(f64::NAN, f64::min),
            max: figures.iter().copied().fold(f64::NAN, f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_of_the_sample() {
        // statistics.stdev([0.9, 0.95, 0.97]) = 0.036055512754639885
        let spread = Spread::of(&[0.9, 0.95, 0.97]);
        assert!((spread.mean - 0.94).abs() < 1e-12);
        assert!((spread.std - 0.036_055_512_754_64).abs() < 1e-12);
        assert_eq!((spread.min, spread.max), (0.9, 0.97));
        assert_eq!(Spread::of(&[0.5]).std, 0.0);
    }
}
