//! Brightness by addition, as Keras has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use super::around_zero;
use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Largest change of brightness either way as a fraction of the full range, 0 to 1 \
         (`RandomBrightness`)."
    };
    (adjustment) => {
        "Adds this fraction of the full range, −1 to 1 (Keras' `RandomBrightness`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

pub(super) fn draw(most: f32, stream: Stream) -> Option<Adjustment> {
    around_zero(most, stream).map(Adjustment::Brightness)
}

pub(super) fn effect(delta: f32) -> Effect {
    Effect::value(move |_, v| (v + delta * 255.0).clamp(0.0, 255.0).round())
}
