//! Contrast about the mean of the grey picture, as torchvision has it.

use crate::effect::{Effect, grey};

macro_rules! docs {
    (adjustment) => {
        "x·f + (1 − f)·μ with the mean μ of the grey picture, f from 0 \
         (`F.adjust_contrast`)."
    };
}
pub(super) use docs;

pub(super) fn effect(factor: f32) -> Effect {
    Effect::channel(move |tables, pixels| {
        let means = tables.means(pixels);
        // torchvision cuts the grey of each pixel off to an integer: half a level on average.
        let grey = grey(means[0], means[1], means[2]) - 0.5;
        tables.then(|_, v| v * factor + (1.0 - factor) * grey);
    })
}
