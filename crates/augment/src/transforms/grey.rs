//! Grey, as torchvision has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use super::saturation;
use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Probability of a grey picture, 0 to 1 (`RandomGrayscale`)."
    };
    (adjustment) => {
        "0.2989·R + 0.587·G + 0.114·B in all three channels (`F.rgb_to_grayscale`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

pub(super) fn draw(probability: f32, mut stream: Stream) -> Option<Adjustment> {
    stream.bernoulli(probability).then_some(Adjustment::Grey)
}

pub(super) fn effect() -> Effect {
    saturation::effect(0.0)
}
