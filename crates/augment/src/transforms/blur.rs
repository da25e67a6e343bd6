//! Gaussian blur, as torchvision has it.

use std::ops::RangeInclusive;

use pulp::{Arch, NullaryFnOnce};
use taper_core::random::Stream;

use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Largest standard deviation of a Gaussian blur in pixels, drawn from 0 on, 0 to \
         30 (`GaussianBlur`)."
    };
    (adjustment) => {
        "Gaussian blur with this standard deviation in pixels, above 0 to 30 \
         (`F.gaussian_blur` with a kernel of 2·⌈3σ⌉ + 1)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=30.0;

pub(super) fn draw(most: f32, mut stream: Stream) -> Option<Adjustment> {
    let sigma = stream.range(0.0, most);
    // A narrower one changes nothing that can be seen.
    (sigma > 0.1).then_some(Adjustment::Blur(sigma))
}

pub(super) fn effect(sigma: f32) -> Effect {
    Effect::picture(move |pixels, (width, height)| {
        blur(pixels, width, height, sigma);
        Ok(())
    })
}

/// Gaussian blur, separable, edges mirrored without repeating the edge pixel, rounded once.
fn blur(pixels: &mut [u8], width: usize, height: usize, sigma: f32) {
    let radius = (3.0 * sigma).ceil().max(0.0) as usize;
    let weights: Vec<f32> = (0..=2 * radius)
        .map(|i| i as f32 - radius as f32)
        .map(|x| (-x * x / (2.0 * sigma * sigma)).exp())
        .collect();
    let sum: f32 = weights.iter().sum();
    if radius > 0 && sum.is_finite() {
        let weights: Vec<f32> = weights.iter().map(|w| w / sum).collect();
        Arch::new().dispatch(Gaussian { pixels, width, height, weights: &weights });
    }
}

struct Gaussian<'a> {
    pixels: &'a mut [u8],
    width: usize,
    height: usize,
    weights: &'a [f32],
}

/// Mirrored without repeating the edge: c b | a b c d | c b.
fn mirrored(index: isize, len: usize) -> usize {
    if len == 1 {
        return 0;
    }
    let turn = index.rem_euclid(2 * (len as isize - 1)) as usize;
    turn.min(2 * (len - 1) - turn)
}

impl NullaryFnOnce for Gaussian<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Gaussian { pixels, width, height, weights } = self;
        let radius = weights.len() / 2;
        let stride = width * 3;
        let original = pixels.to_vec();
        let mut column = vec![0.0f32; stride];
        let mut padded = vec![0.0f32; stride + 6 * radius];
        let mut sums = vec![0.0f32; stride];
        for (y, row) in pixels.chunks_exact_mut(stride).enumerate() {
            column.fill(0.0);
            for (k, weight) in weights.iter().enumerate() {
                let from = mirrored(y as isize + k as isize - radius as isize, height) * stride;
                for (sum, value) in column.iter_mut().zip(&original[from..from + stride]) {
                    *sum += weight * f32::from(*value);
                }
            }
            padded[3 * radius..3 * radius + stride].copy_from_slice(&column);
            for side in (0..radius).chain(radius + width..width + 2 * radius) {
                let from = 3 * mirrored(side as isize - radius as isize, width);
                padded[3 * side..3 * side + 3].copy_from_slice(&column[from..from + 3]);
            }
            sums.fill(0.5);
            for (k, weight) in weights.iter().enumerate() {
                for (sum, value) in sums.iter_mut().zip(&padded[3 * k..3 * k + stride]) {
                    *sum += weight * value;
                }
            }
            for (to, sum) in row.iter_mut().zip(&sums) {
                *to = *sum as u8;
            }
        }
    }
}
