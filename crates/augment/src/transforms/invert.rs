//! The negative, as torchvision has it.

use crate::effect::Effect;

macro_rules! docs {
    (adjustment) => {
        "255 − x (`F.invert`)."
    };
}
pub(super) use docs;

pub(super) fn effect() -> Effect {
    Effect::value(|_, v| 255.0 - v)
}
