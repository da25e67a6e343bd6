//! Contrast about each channel's mean, as Keras has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use super::around_one;
use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Largest change of contrast either way, 0 to 1 (`RandomContrast`): each channel \
         becomes (x − μ)·f + μ with f in 1 − contrast to 1 + contrast and μ the channel's \
         mean, clipped."
    };
    (adjustment) => {
        "(x − μ)·f + μ with each channel's mean μ, f from 0 (Keras' `RandomContrast`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

pub(super) fn draw(most: f32, stream: Stream) -> Option<Adjustment> {
    around_one(most, stream).map(Adjustment::Contrast)
}

pub(super) fn effect(factor: f32) -> Effect {
    Effect::channel(move |tables, pixels| {
        let means = tables.means(pixels);
        tables.then(|c, v| ((v - means[c]) * factor + means[c]).clamp(0.0, 255.0).round());
    })
}
