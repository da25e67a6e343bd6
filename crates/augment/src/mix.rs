use taper_core::random::{Key, Purpose, Stream};

use taper_core::OutOfRange;

use crate::{Error, Result};

const MIX: Purpose = Purpose::new("augment/mix");

/// A way to blend each picture of a batch, and its label, with the one before it (the first with
/// the last): torchvision's `v2.MixUp` and `v2.CutMix`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Mix {
    /// λ·x + (1 − λ)·x′, λ from Beta(α, α) (Zhang et al. 2017, *mixup: Beyond Empirical Risk
    /// Minimization*).
    MixUp {
        /// α, above 0 to 1000. torchvision's default is 1; the paper has 0.2 for ImageNet.
        alpha: f32,
    },
    /// A rectangle of x′ in x (Yun et al. 2019, *CutMix*); labels are weighted by what remains
    /// visible.
    CutMix {
        /// α of the Beta distribution that 1 − the rectangle's area comes from, above 0 to 1000.
        /// Default 1, as in the paper.
        alpha: f32,
    },
}

impl Mix {
    fn alpha(self) -> f32 {
        match self {
            Mix::MixUp { alpha } | Mix::CutMix { alpha } => alpha,
        }
    }
}

/// Draws how batches are mixed: a pure function of (seed, epoch, step).
#[derive(Debug, Clone)]
pub struct Mixer {
    mix: Mix,
    key: Key,
}

impl Mixer {
    /// A mixer with this seed.
    ///
    /// # Errors
    /// [`Error::Setting`] for an α that is not above 0 or beyond 1000.
    pub fn new(mix: Mix, seed: u64) -> Result<Self> {
        let value = mix.alpha();
        let (low, high) = (1e-3, 1000.0);
        if !(low..=high).contains(&value) {
            return Err(OutOfRange::new("alpha", value, format!("use {low} to {high}")).into());
        }
        Ok(Self { mix, key: Key::new(seed, MIX) })
    }

    /// How the batch of this epoch and step is mixed, for pictures of `width` × `height`, each
    /// above 0.
    pub fn draw(&self, epoch: u32, step: u64, width: u32, height: u32) -> Mixed {
        let mut stream = self.key.stream(epoch, step);
        let share = beta(self.mix.alpha(), &mut stream);
        match self.mix {
            Mix::MixUp { .. } => Mixed { share, area: None },
            Mix::CutMix { .. } => {
                let half = 0.5 * (1.0 - share).sqrt();
                let mut span = |side: u32| {
                    let centre = stream.below(side.max(1));
                    let half = (half * side as f32) as u32;
                    centre.saturating_sub(half)..(centre + half).min(side)
                };
                let (columns, rows) = (span(width), span(height));
                let covered = columns.len() as f32 * rows.len() as f32;
                let share = 1.0 - covered / (width.max(1) as f32 * height.max(1) as f32);
                let area = [columns.start, rows.start, columns.end, rows.end].map(|v| v as usize);
                Mixed { share, area: Some(area) }
            }
        }
    }
}

/// How one batch is mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixed {
    share: f32,
    /// Left, top, right, bottom in pixels.
    area: Option<[usize; 4]>,
}

impl Mixed {
    /// What a picture keeps of itself, and a label of its own class: 0 to 1.
    pub fn share(&self) -> f32 {
        self.share
    }

    /// The rectangle that comes from the other picture, for CutMix: left, top, right, bottom in
    /// pixels.
    pub fn area(&self) -> Option<[usize; 4]> {
        self.area
    }

    /// Mixes pictures: u8, layout \[n, height, width, channels\], `width` and `channels` as given;
    /// rounded.
    ///
    /// # Errors
    /// [`Error::Batch`] if the pixels are not those of `pictures` pictures of whole rows.
    pub fn pixels(
        &self,
        pixels: &mut [u8],
        pictures: usize,
        width: usize,
        channels: usize,
    ) -> Result<()> {
        let share = self.share;
        let blend = |own: &mut u8, other: &u8| {
            *own = (f32::from(*own) * share + f32::from(*other) * (1.0 - share)).round() as u8;
        };
        self.pictures(pixels, pictures, width, channels, blend)
    }

    /// Mixes pictures: f32, layout \[n, height, width, channels\], any range.
    ///
    /// # Errors
    /// As [`pixels`](Self::pixels).
    pub fn values(
        &self,
        values: &mut [f32],
        pictures: usize,
        width: usize,
        channels: usize,
    ) -> Result<()> {
        let share = self.share;
        let blend = |own: &mut f32, other: &f32| *own = *own * share + other * (1.0 - share);
        self.pictures(values, pictures, width, channels, blend)
    }

    /// Mixes label distributions: layout \[n, classes\], each row sums to 1 before and after.
    ///
    /// # Errors
    /// [`Error::Batch`] if the length is not `pictures` · `classes`.
    pub fn labels(&self, labels: &mut [f32], pictures: usize, classes: usize) -> Result<()> {
        if labels.len() != pictures * classes {
            return Err(Error::Batch { found: labels.len(), pictures, each: classes });
        }
        let share = self.share;
        rolled(labels, pictures, |own, other| {
            for (own, other) in own.iter_mut().zip(other) {
                *own = *own * share + other * (1.0 - share);
            }
        });
        Ok(())
    }

    fn pictures<T: Copy>(
        &self,
        values: &mut [T],
        pictures: usize,
        width: usize,
        channels: usize,
        blend: impl Fn(&mut T, &T),
    ) -> Result<()> {
        let row = width * channels;
        if pictures == 0 || row == 0 || !values.len().is_multiple_of(pictures * row) {
            return Err(Error::Batch { found: values.len(), pictures, each: row });
        }
        rolled(values, pictures, |own, other| match self.area {
            None => own.iter_mut().zip(other).for_each(|(own, other)| blend(own, other)),
            Some([left, top, right, bottom]) => {
                for y in top..bottom.min(own.len() / row) {
                    let span = y * row + left * channels..y * row + right.min(width) * channels;
                    own[span.clone()].copy_from_slice(&other[span]);
                }
            }
        });
        Ok(())
    }
}

/// Calls `change` with each part and the unchanged one before it; before the first comes the last.
fn rolled<T: Copy>(values: &mut [T], parts: usize, change: impl Fn(&mut [T], &[T])) {
    let each = values.len() / parts.max(1);
    if each == 0 {
        return;
    }
    let last = values[(parts - 1) * each..].to_vec();
    for part in (1..parts).rev() {
        let (before, own) = values.split_at_mut(part * each);
        change(&mut own[..each], &before[(part - 1) * each..]);
    }
    change(&mut values[..each], &last);
}

/// Labels as distributions: layout \[n, classes\], 1 at the label and 0 elsewhere.
///
/// # Errors
/// [`Error::Label`] for a label that is not below `classes`.
pub fn one_hot(labels: &[u32], classes: usize) -> Result<Vec<f32>> {
    let mut rows = vec![0.0; labels.len() * classes];
    for (i, &label) in labels.iter().enumerate() {
        if label as usize >= classes {
            return Err(Error::Label { label, classes });
        }
        rows[i * classes + label as usize] = 1.0;
    }
    Ok(rows)
}

/// A draw from Beta(α, α): X / (X + Y) of two from Gamma(α).
fn beta(alpha: f32, stream: &mut Stream) -> f32 {
    let alpha = f64::from(alpha);
    let (x, y) = (log_gamma_draw(alpha, stream), log_gamma_draw(alpha, stream));
    // Logarithms, since for a small α both may be below the smallest number.
    (1.0 / (1.0 + (y - x).exp())) as f32
}

/// The logarithm of a draw from Gamma(α, 1): Marsaglia, Tsang, *A simple method for generating
/// gamma variables*, 2000; below 1 by Gamma(α + 1)·U^(1/α).
fn log_gamma_draw(alpha: f64, stream: &mut Stream) -> f64 {
    let boost = if alpha < 1.0 { (1.0 - f64::from(stream.uniform())).ln() / alpha } else { 0.0 };
    let d = if alpha < 1.0 { alpha + 1.0 } else { alpha } - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = f64::from(stream.normal());
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - f64::from(stream.uniform());
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln() + boost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixup_blends_each_with_the_one_before() {
        let mixer = Mixer::new(Mix::MixUp { alpha: 0.4 }, 5).unwrap();
        let mixed = mixer.draw(2, 7, 1, 1);
        assert_eq!(mixed, mixer.draw(2, 7, 1, 1));
        assert_ne!(mixed, mixer.draw(2, 8, 1, 1));
        let mixed = Mixed { share: 0.75, area: None };
        let mut values = [0.0, 4.0, 8.0];
        mixed.values(&mut values, 3, 1, 1).unwrap();
        // 0.75·0 + 0.25·8, 0.75·4 + 0.25·0, 0.75·8 + 0.25·4
        assert_eq!(values, [2.0, 3.0, 7.0]);
        let mut pixels = [0, 4, 9];
        mixed.pixels(&mut pixels, 3, 1, 1).unwrap();
        assert_eq!(pixels, [2, 3, 8]);
        let mut labels = one_hot(&[0, 1, 1], 2).unwrap();
        mixed.labels(&mut labels, 3, 2).unwrap();
        assert_eq!(labels, [0.75, 0.25, 0.25, 0.75, 0.0, 1.0]);
    }

    #[test]
    fn cutmix_labels_follow_the_area_that_is_covered() {
        let mixer = Mixer::new(Mix::CutMix { alpha: 1.0 }, 5).unwrap();
        let mut some_cut = 0;
        for step in 0..50 {
            let mixed = mixer.draw(0, step, 9, 7);
            let mut pixels: Vec<u8> = (0..4).flat_map(|n| [n; 9 * 7 * 3]).collect();
            mixed.pixels(&mut pixels, 4, 9, 3).unwrap();
            for (n, picture) in pixels.chunks_exact(9 * 7 * 3).enumerate() {
                let own = picture.iter().filter(|v| usize::from(**v) == n).count();
                let other = picture.iter().filter(|v| usize::from(**v) == (n + 3) % 4).count();
                assert_eq!(own + other, picture.len());
                let share = own as f32 / picture.len() as f32;
                assert!((share - mixed.share()).abs() < 1e-6, "{share} {mixed:?}");
                some_cut += other;
            }
        }
        assert!(some_cut > 0);
    }

    /// Moments of Beta(α, α): mean ½, variance 1 / (4 (2α + 1)).
    #[test]
    fn shares_come_from_the_beta_distribution() {
        for alpha in [0.2, 1.0, 4.0] {
            let mixer = Mixer::new(Mix::MixUp { alpha }, 1).unwrap();
            let shares: Vec<f64> =
                (0..20_000).map(|step| f64::from(mixer.draw(0, step, 1, 1).share())).collect();
            assert!(shares.iter().all(|s| (0.0..=1.0).contains(s)));
            let n = shares.len() as f64;
            let mean = shares.iter().sum::<f64>() / n;
            let variance = shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
            let expected = 1.0 / (4.0 * (2.0 * f64::from(alpha) + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.04, "{alpha}: {variance} {expected}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for alpha in [0.0, -1.0, f32::NAN, 1e9] {
            assert!(matches!(
                Mixer::new(Mix::MixUp { alpha }, 0),
                Err(Error::Setting(OutOfRange { field, .. })) if field == "alpha"
            ));
        }
        assert_eq!(one_hot(&[2], 2), Err(Error::Label { label: 2, classes: 2 }));
        let mixed = Mixed { share: 0.5, area: None };
        assert!(mixed.pixels(&mut [0; 10], 3, 1, 1).is_err());
        assert!(mixed.pixels(&mut [], 0, 1, 1).is_err());
        assert!(mixed.labels(&mut [0.0; 5], 2, 3).is_err());
        let mut alone = [7u8; 12];
        mixed.pixels(&mut alone, 1, 2, 3).unwrap();
        assert_eq!(alone, [7; 12]);
    }
}
