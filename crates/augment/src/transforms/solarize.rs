//! Inverts what is bright, as torchvision has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Probability of inverting what is 128 or brighter, 0 to 1 \
         (`RandomSolarize(threshold=128)`)."
    };
    (adjustment) => {
        "Inverts what is this bright or brighter (`F.solarize`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

pub(super) fn draw(probability: f32, mut stream: Stream) -> Option<Adjustment> {
    stream.bernoulli(probability).then_some(Adjustment::Solarize(128))
}

pub(super) fn effect(threshold: u8) -> Effect {
    let threshold = f32::from(threshold);
    Effect::value(move |_, v| if v >= threshold { 255.0 - v } else { v })
}
