//! Gamma, as torchvision has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use crate::{
    Adjustment,
    effect::{Effect, NEARLY_256},
};

macro_rules! docs {
    (factor) => {
        "Largest change of gamma either way: γ is between 1 / (1 + gamma) and 1 + gamma, \
         0 to 2 (`F.adjust_gamma`)."
    };
    (adjustment) => {
        "255·(x/255)^γ, γ above 0 (`F.adjust_gamma`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=2.0;

pub(super) fn draw(most: f32, mut stream: Stream) -> Option<Adjustment> {
    let gamma = (stream.range(-1.0, 1.0) * (1.0 + most).ln()).exp();
    (most > 0.0).then_some(Adjustment::Gamma(gamma))
}

pub(super) fn effect(gamma: f32) -> Effect {
    Effect::value(move |_, v| (v / 255.0).powf(gamma) * NEARLY_256)
}
