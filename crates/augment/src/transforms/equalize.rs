//! A flat histogram, as torchvision has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Probability of a flat histogram, 0 to 1 (`RandomEqualize`)."
    };
    (adjustment) => {
        "Gives each channel a flat histogram (`F.equalize`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

pub(super) fn draw(probability: f32, mut stream: Stream) -> Option<Adjustment> {
    stream.bernoulli(probability).then_some(Adjustment::Equalize)
}

pub(super) fn effect() -> Effect {
    Effect::channel(|tables, pixels| {
        let flat = tables.seen(pixels).map(|seen| equalizing(&seen));
        tables.then(|c, v| f32::from(flat[c][v as usize]));
    })
}

/// As `equalize_image` in torchvision and `ImageOps.equalize` in Pillow.
fn equalizing(histogram: &[u32; 256]) -> [u8; 256] {
    let total: u32 = histogram.iter().sum();
    let brightest = histogram.iter().rev().find(|n| **n > 0).copied().unwrap_or(0);
    let step = (total - brightest) / 255;
    let mut table = std::array::from_fn(|v| v as u8);
    if step > 0 {
        let mut below = step / 2;
        for (entry, count) in table.iter_mut().zip(histogram) {
            *entry = (below / step).min(255) as u8;
            below += count;
        }
    }
    table
}
