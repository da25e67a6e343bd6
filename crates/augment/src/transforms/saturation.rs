//! Saturation, as torchvision has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use super::around_one;
use crate::{
    Adjustment,
    effect::{Effect, grey},
};

macro_rules! docs {
    (factor) => {
        "Largest change of saturation either way, 0 to 1 (torchvision's `ColorJitter`): 1 \
         − saturation to 1 + saturation."
    };
    (adjustment) => {
        "x·f + (1 − f)·grey, f from 0 (`F.adjust_saturation`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

pub(super) fn draw(most: f32, stream: Stream) -> Option<Adjustment> {
    around_one(most, stream).map(Adjustment::Saturation)
}

pub(super) fn effect(factor: f32) -> Effect {
    Effect::pixel(move |pixel| saturated(pixel, factor))
}

#[inline(always)]
fn saturated([r, g, b]: [f32; 3], factor: f32) -> [f32; 3] {
    let rest = grey(r, g, b).floor() * (1.0 - factor);
    [r, g, b].map(|v| (v * factor + rest).clamp(0.0, 255.0).floor())
}
