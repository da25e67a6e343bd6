//! Normal noise that a key determines.

use std::ops::RangeInclusive;

use taper_core::random::{Key, Purpose, Stream};

use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Largest standard deviation of normal noise as a fraction of the full range, \
         drawn from 0 on, 0 to 1 (`GaussianNoise`)."
    };
    (adjustment) => {
        "Adds normal noise with this standard deviation as a fraction of the full range \
         (`F.gaussian_noise`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

const NOISE: Purpose = Purpose::new("augment/noise");
/// Values of the normal distribution that noise is drawn from: its quantiles at the middle of 4096
/// equal parts, ± 3.7 σ. A table, since a logarithm and a cosine per value would cost more than
/// decoding the picture.
const QUANTILES: usize = 4096;

pub(super) fn draw(most: f32, mut stream: Stream) -> Option<Adjustment> {
    (most > 0.0).then(|| {
        let sigma = stream.range(0.0, most);
        Adjustment::Noise { sigma, key: stream.next_u64() }
    })
}

pub(super) fn effect(sigma: f32, key: u64) -> Effect {
    Effect::picture(move |pixels, _| {
        add_noise(pixels, sigma, key);
        Ok(())
    })
}

/// Adds noise to each value, cut off to an integer before it is added as in torchvision, clipped.
fn add_noise(pixels: &mut [u8], sigma: f32, key: u64) {
    let table: Vec<i16> = (0..QUANTILES)
        .map(|i| quantile((i as f64 + 0.5) / QUANTILES as f64) * f64::from(sigma) * 255.0)
        .map(|v| v.clamp(-255.0, 255.0) as i16)
        .collect();
    let mut stream = Key::new(key, NOISE).stream(0, 0);
    for values in pixels.chunks_mut(5) {
        // Five values of 12 bits each.
        let mut bits = stream.next_u64();
        for value in values {
            let noise = table[bits as usize % QUANTILES];
            *value = (i16::from(*value) + noise).clamp(0, 255) as u8;
            bits >>= 12;
        }
    }
}

/// The standard normal quantile: P. J. Acklam's rational approximation, relative error below
/// 1.2e-9.
fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] =
        [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    let polynomial = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    const LOW: f64 = 0.02425;
    if p > 1.0 - LOW {
        return -quantile(1.0 - p);
    }
    if p < LOW {
        let q = (-2.0 * p.ln()).sqrt();
        return polynomial(&C, q) / (polynomial(&D, q) * q + 1.0);
    }
    let q = p - 0.5;
    let r = q * q;
    polynomial(&A, r) * q / (polynomial(&B, r) * r + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        // scipy.stats.norm.ppf
        for (p, expected) in
            [(0.001, -3.090_232_306), (0.3, -0.524_400_513), (0.975, 1.959_963_985)]
        {
            assert!((quantile(p) - expected).abs() < 1e-7, "{p}");
        }
    }

    #[test]
    fn noise_has_its_deviation_and_follows_its_key() {
        let noisy = |key| {
            let mut pixels = vec![128; 30_000];
            add_noise(&mut pixels, 0.1, key);
            pixels
        };
        let pixels = noisy(7);
        assert_eq!(pixels, noisy(7));
        assert_ne!(pixels, noisy(8));
        let off: Vec<f64> = pixels.iter().map(|v| f64::from(*v) - 128.0).collect();
        let mean = off.iter().sum::<f64>() / off.len() as f64;
        let deviation = (off.iter().map(|v| v * v).sum::<f64>() / off.len() as f64).sqrt();
        // Cutting off takes a third of a level from the deviation of 25.5.
        assert!(mean.abs() < 0.5 && (deviation - 25.2).abs() < 0.5, "{mean} {deviation}");
    }
}
