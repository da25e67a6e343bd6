use serde::Serialize;
use statrs::distribution::{Binomial, DiscreteCDF};

/// The normal distribution's 97.5 % quantile.
const Z: f64 = 1.959_963_984_540_054;

/// Two classifiers on the same pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Paired {
    /// How many pictures.
    pub n: usize,
    /// How many are right with both.
    pub both: usize,
    /// How many are right with the first alone.
    pub first_alone: usize,
    /// How many are right with the second alone.
    pub second_alone: usize,
    /// How many are wrong with both.
    pub neither: usize,
    /// The first's accuracy less the second's, −1 to 1.
    pub difference: f64,
    /// The lower end of the difference's 95 % interval (Newcombe 1998, "Improved confidence
    /// intervals for the difference between binomial proportions based on paired data", method 10).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How likely a difference of this size or more is if neither is better: McNemar's exact test,
    /// two-sided, as `mcnemar(exact=True)` of statsmodels.
    pub p_value: f64,
}

impl Paired {
    /// From the four counts; none without pictures.
    pub fn of(
        both: usize,
        first_alone: usize,
        second_alone: usize,
        neither: usize,
    ) -> Option<Self> {
        let n = both + first_alone + second_alone + neither;
        if n == 0 {
            return None;
        }
        let [a, b, c, d] = [both, first_alone, second_alone, neither].map(|count| count as f64);
        let all = n as f64;
        let (p1, p2) = ((a + b) / all, (a + c) / all);
        let ([l1, u1], [l2, u2]) = (wilson(p1, all), wilson(p2, all));
        let product = ((a + b) * (c + d) * (a + c) * (b + d)).sqrt();
        let excess = a * d - b * c;
        let excess = if excess > 0.0 { (excess - 0.5 * all).max(0.0) } else { excess };
        let correlation = if product > 0.0 { excess / product } else { 0.0 };
        let reach = |x: f64, y: f64| (x * x - 2.0 * correlation * x * y + y * y).max(0.0).sqrt();
        let difference = p1 - p2;
        Some(Self {
            n,
            both,
            first_alone,
            second_alone,
            neither,
            difference,
            low: difference - reach(p1 - l1, u2 - p2),
            high: difference + reach(u1 - p1, p2 - l2),
            p_value: sign_test(first_alone, second_alone),
        })
    }

    /// From whether each picture is right with either.
    pub fn from_pictures(right: impl IntoIterator<Item = (bool, bool)>) -> Option<Self> {
        let mut counts = [0; 4];
        for (first, second) in right {
            counts[2 * usize::from(!first) + usize::from(!second)] += 1;
        }
        let [both, first_alone, second_alone, neither] = counts;
        Self::of(both, first_alone, second_alone, neither)
    }
}

/// Wilson's 95 % interval of a proportion.
fn wilson(p: f64, n: f64) -> [f64; 2] {
    let centre = p + Z * Z / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    [(centre - reach) / scale, (centre + reach) / scale]
}

/// The two-sided probability of a split as uneven as this one between equally likely sides.
fn sign_test(a: usize, b: usize) -> f64 {
    let n = (a + b) as u64;
    let Ok(fair) = Binomial::new(0.5, n) else { return 1.0 };
    if n == 0 { 1.0 } else { (2.0 * fair.cdf(a.min(b) as u64)).min(1.0) }
}
