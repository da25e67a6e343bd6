//! Brightness by multiplication, as torchvision has it.

use crate::effect::Effect;

macro_rules! docs {
    (adjustment) => {
        "x·f, f from 0 (`F.adjust_brightness`)."
    };
}
pub(super) use docs;

pub(super) fn effect(factor: f32) -> Effect {
    Effect::value(move |_, v| v * factor)
}
