//! Hue, as torchvision has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use super::around_zero;
use crate::{
    Adjustment,
    effect::{Effect, NEARLY_256},
};

macro_rules! docs {
    (factor) => {
        "Largest turn of the hue either way as a fraction of the circle, 0 to 0.5 \
         (`ColorJitter`)."
    };
    (adjustment) => {
        "Turns the hue by this fraction of the circle, −0.5 to 0.5 (`F.adjust_hue`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=0.5;

pub(super) fn draw(most: f32, stream: Stream) -> Option<Adjustment> {
    around_zero(most, stream).map(Adjustment::Hue)
}

pub(super) fn effect(turn: f32) -> Effect {
    Effect::pixel(move |pixel| turned(pixel, 6.0 * turn))
}

/// Hue in sixths of the circle; then channel = max − (max − min)·clamp(min(k, 4 − k), 0, 1) with k
/// = (n + hue) mod 6 and n = 5, 3, 1 for red, green, blue: the branch-free form of HSV to RGB.
#[inline(always)]
fn turned([r, g, b]: [f32; 3], turn: f32) -> [f32; 3] {
    let most = r.max(g).max(b);
    let range = most - r.min(g).min(b);
    let inverse = 1.0 / if range == 0.0 { 1.0 } else { range };
    let hue = if most == r {
        (g - b) * inverse
    } else if most == g {
        2.0 + (b - r) * inverse
    } else {
        4.0 + (r - g) * inverse
    } + turn;
    let channel = |n: f32| {
        let k = n + hue;
        let k = k - 6.0 * (k * (1.0 / 6.0)).floor();
        let share = k.min(4.0 - k).clamp(0.0, 1.0);
        ((most - range * share) * (NEARLY_256 / 255.0)).floor()
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}
