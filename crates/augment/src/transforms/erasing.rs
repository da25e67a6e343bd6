//! A rectangle that is overwritten, as torchvision has it.

use std::ops::RangeInclusive;

use taper_core::random::Stream;

use crate::{Adjustment, effect::Effect};

macro_rules! docs {
    (factor) => {
        "Probability that a rectangle of 2 to 33 % of the area is overwritten with grey, \
         0 to 1 (`RandomErasing`, whose scale and ratio are these)."
    };
    (adjustment) => {
        "Overwrites a rectangle, given as fractions of width and height (`F.erase`)."
    };
}
pub(super) use docs;

pub(super) const OFF: f32 = 0.0;
pub(super) const RANGE: RangeInclusive<f32> = 0.0..=1.0;

/// As `RandomErasing.make_params` with its default scale and ratio, on the square that the network
/// sees.
pub(super) fn draw(probability: f32, mut stream: Stream) -> Option<Adjustment> {
    if !stream.bernoulli(probability) {
        return None;
    }
    for _ in 0..10 {
        let area = stream.range(0.02, 0.33);
        let ratio = stream.range(0.3f32.ln(), 3.3f32.ln()).exp();
        let (width, height) = ((area / ratio).sqrt(), (area * ratio).sqrt());
        if width < 1.0 && height < 1.0 {
            let left = stream.uniform() * (1.0 - width);
            let top = stream.uniform() * (1.0 - height);
            return Some(Adjustment::Erase { area: [left, top, width, height], value: [128; 3] });
        }
    }
    None
}

pub(super) fn effect(area: [f32; 4], value: [u8; 3]) -> Effect {
    Effect::picture(move |pixels, (width, height)| {
        erase(pixels, width, height, area, value);
        Ok(())
    })
}

fn erase(pixels: &mut [u8], width: usize, height: usize, area: [f32; 4], value: [u8; 3]) {
    let span = |start: f32, length: f32, side: usize| {
        let from = (start * side as f32).round().clamp(0.0, side as f32);
        let to = (start * side as f32 + length * side as f32).round().clamp(from, side as f32);
        from as usize..to as usize
    };
    let (columns, rows) = (span(area[0], area[2], width), span(area[1], area[3], height));
    for row in pixels.chunks_exact_mut(width * 3).take(rows.end).skip(rows.start) {
        row.as_chunks_mut::<3>().0[columns.clone()].fill(value);
    }
}
