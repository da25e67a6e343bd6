//! Fewer levels, as torchvision has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Probability of keeping only the four upper bits, 0 to 1 \
         (`RandomPosterize(bits=4)`)."
    };
    (adjustment) => {
        "Keeps this many of the upper bits, 0 to 8 (`F.posterize`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

pub(super) fn draw(probability: f32, mut stream: Stream) -> Option<Adjustment> {
    stream.bernoulli(probability).then_some(Adjustment::Posterize(4))
}

pub(super) fn effect(bits: u8) -> Effect {
    let mask = if bits >= 8 { 255 } else { !(255 >> bits) };
    Effect::value(move |_, v| f32::from(v as u8 & mask))
}
