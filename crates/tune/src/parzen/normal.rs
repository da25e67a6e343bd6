//! The normal distribution, truncated: `optuna/samplers/_tpe/_truncnorm.py`, which follows SciPy.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use libm::{erf, erfc};

/// ln √(2π).
const LOG_SQRT_TAU: f64 = 0.918_938_533_204_672_8;

/// Φ(a), accurate in the left tail.
fn ndtr(a: f64) -> f64 {
    let x = a * FRAC_1_SQRT_2;
    if x < -FRAC_1_SQRT_2 {
        0.5 * erfc(-x)
    } else if x < FRAC_1_SQRT_2 {
        0.5 + 0.5 * erf(x)
    } else {
        1.0 - 0.5 * erfc(x)
    }
}

/// ln Φ(a).
fn log_ndtr(a: f64) -> f64 {
    if a > 6.0 {
        return -ndtr(-a);
    }
    if a > -20.0 {
        return ndtr(a).ln();
    }
    // The asymptotic series.
    let left = -0.5 * a * a - (-a).ln() - LOG_SQRT_TAU;
    let (mut sum, mut last, mut term) = (1.0f64, 0.0f64, 1.0f64);
    let mut i = 0.0;
    while (last - sum).abs() > f64::EPSILON {
        i += 1.0;
        last = sum;
        term *= -(2.0 * i - 1.0) / (a * a);
        sum += term;
    }
    left + sum.ln()
}

/// ln(eᵖ − eᵠ) for p ≥ q.
fn log_difference(p: f64, q: f64) -> f64 {
    p + (-(q - p).exp()).ln_1p()
}

/// ln(eᵖ + eᵠ).
fn log_sum(p: f64, q: f64) -> f64 {
    let (high, low) = (p.max(q), p.min(q));
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// ln(Φ(b) − Φ(a)) for a ≤ b.
pub(super) fn log_mass(a: f64, b: f64) -> f64 {
    if b <= 0.0 {
        log_difference(log_ndtr(b), log_ndtr(a))
    } else if a > 0.0 {
        // The left tail is the accurate one.
        log_difference(log_ndtr(-a), log_ndtr(-b))
    } else {
        let tail = |x: f64| 0.5 + 0.5 * erf(x * FRAC_1_SQRT_2);
        (-tail(a) - tail(-b)).ln_1p()
    }
}

/// ln φ(x).
pub(super) fn log_density(x: f64) -> f64 {
    -0.5 * x * x - LOG_SQRT_TAU
}

/// x such that y = ln Φ(x), by Newton's method (`_ndtri_exp`), to 1e-8.
fn quantile_of_log(y: f64) -> f64 {
    let flipped = y > -1e-2;
    let z = if flipped { (-y.exp_m1()).ln() } else { y };
    let mut x = if z < -5.0 {
        -(-2.0 * (z + LOG_SQRT_TAU)).sqrt()
    } else {
        -3f64.sqrt() / PI * (-z).exp_m1().ln()
    };
    for _ in 0..100 {
        let log = log_ndtr(x);
        let step = (log - z) * (log - log_density(x)).exp();
        x -= step;
        if step.abs() < 1e-8 * x.abs() {
            break;
        }
    }
    if flipped { -x } else { x }
}

/// The quantile q in (0, 1) of the standard normal distribution truncated to [a, b].
pub(super) fn quantile(q: f64, a: f64, b: f64) -> f64 {
    let mass = log_mass(a, b);
    let x = if a < 0.0 {
        quantile_of_log(log_sum(log_ndtr(a), q.ln() + mass))
    } else {
        -quantile_of_log(log_sum(log_ndtr(-b), (-q).ln_1p() + mass))
    };
    // Newton's method is inaccurate near Φ(x) = 1/2, where the relative step never becomes small.
    if x.is_nan() { 0.5 * (a + b) } else { x.clamp(a, b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17's `log_ndtr`, and `truncnorm`.
    #[test]
    fn tails_are_accurate() {
        for (x, log) in [(-40.0, -804.608_442_013_753_8), (-10.0, -53.231_285_150_512_46)] {
            assert!((log_ndtr(x) / log - 1.0f64).abs() < 1e-13, "{x}");
        }
        assert!((log_ndtr(0.0) + std::f64::consts::LN_2).abs() < 1e-15);
        assert!((log_mass(-1.0, 1.0).exp() - 0.682_689_492_137_085_9).abs() < 1e-15);
        assert_eq!(log_mass(3.0, 4.0), log_mass(-4.0, -3.0));
    }

    #[test]
    fn a_quantile_has_the_share_below_it() {
        for (a, b) in [(-1.0, 2.0), (-8.0, -5.0), (0.0, 0.1), (3.0, 9.0), (-0.5, 30.0)] {
            for q in [1e-9, 0.01, 0.3, 0.5, 0.77, 0.999_999] {
                let x = quantile(q, a, b);
                let share = (log_mass(a, x) - log_mass(a, b)).exp();
                assert!((share / q - 1.0).abs() < 1e-5, "{a} {b} {q}: {x}, {share}");
            }
        }
    }
}
