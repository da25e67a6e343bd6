//! The full range, as torchvision has it.

use crate::effect::Effect;

macro_rules! docs {
    (adjustment) => {
        "Stretches each channel to the full range (`F.autocontrast`)."
    };
}
pub(super) use docs;

pub(super) fn effect() -> Effect {
    Effect::channel(|tables, pixels| {
        let range = tables.seen(pixels).map(|seen| {
            let low = seen.iter().position(|n| *n > 0).unwrap_or(0);
            let high = seen.iter().rposition(|n| *n > 0).unwrap_or(0);
            (low as f32, high as f32)
        });
        tables.then(|c, v| match range[c] {
            (low, high) if high > low => (v - low) / ((high - low) * (1.0 / 255.0)),
            _ => v,
        });
    })
}
