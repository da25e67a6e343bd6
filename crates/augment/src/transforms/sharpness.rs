//! Sharpness, as torchvision has it.

use std::ops::RangeInclusive;

use pulp::{Arch, NullaryFnOnce};
use taper_core::random::Stream;

use super::around_one;
use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Largest change of sharpness either way, 0 to 1 (`F.adjust_sharpness`)."
    };
    (adjustment) => {
        "0 blurs with a 3 × 3 kernel, 1 leaves, above 1 sharpens (`F.adjust_sharpness`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

pub(super) fn draw(most: f32, stream: Stream) -> Option<Adjustment> {
    around_one(most, stream).map(Adjustment::Sharpness)
}

pub(super) fn effect(factor: f32) -> Effect {
    Effect::picture(move |pixels, (width, height)| {
        sharpen(pixels, width, height, factor);
        Ok(())
    })
}

/// Blends with the picture blurred by a 3 × 3 kernel (a 5 among eight 1), which is rounded; the
/// border stays.
fn sharpen(pixels: &mut [u8], width: usize, height: usize, factor: f32) {
    if width > 2 && height > 2 {
        Arch::new().dispatch(Sharpen { pixels, width, height, factor });
    }
}

struct Sharpen<'a> {
    pixels: &'a mut [u8],
    width: usize,
    height: usize,
    factor: f32,
}

impl NullaryFnOnce for Sharpen<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Sharpen { pixels, width, height, factor } = self;
        let stride = width * 3;
        let original = pixels.to_vec();
        let mut column = vec![0u16; stride];
        for y in 1..height - 1 {
            let rows: [&[u8]; 3] =
                std::array::from_fn(|k| &original[(y + k - 1) * stride..(y + k) * stride]);
            for i in 0..stride {
                column[i] = u16::from(rows[0][i]) + u16::from(rows[1][i]) + u16::from(rows[2][i]);
            }
            let out = &mut pixels[y * stride + 3..(y + 1) * stride - 3];
            let (left, middle, right) = (&column[..], &column[3..], &column[6..]);
            let own = &rows[1][3..];
            for (i, to) in out.iter_mut().enumerate() {
                let sum = left[i] + middle[i] + right[i] + 4 * u16::from(own[i]);
                // Nearest integer to a thirteenth; ties cannot occur.
                let blurred = f32::from((sum + 6) / 13);
                let value = f32::from(own[i]);
                *to = (value + (blurred - value) * (1.0 - factor)).clamp(0.0, 255.0) as u8;
            }
        }
    }
}
