//! TrivialAugment and RandAugment: operations and strengths as in torchvision's `_auto_augment.py`.

use taper_core::random::Stream;

use crate::{Adjustment, Change, policy::MOST_MAGNITUDE};

/// Strengths at the largest magnitude.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    shear: f32,
    /// As a fraction of the side.
    translation: f32,
    /// In degrees.
    rotation: f32,
    /// Change of brightness, colour, contrast and sharpness.
    factor: f32,
    /// How many bits posterizing takes away.
    bits: f32,
}

/// torchvision shifts by up to 32 pixels whatever the size; here it is the same share of ImageNet's
/// 224.
pub(crate) const TRIVIAL: Space =
    Space { shear: 0.99, translation: 32.0 / 224.0, rotation: 135.0, factor: 0.99, bits: 6.0 };
pub(crate) const RAND: Space =
    Space { shear: 0.3, translation: 150.0 / 331.0, rotation: 30.0, factor: 0.9, bits: 4.0 };

/// Draws one of the fourteen operations, at the given magnitude, and adds it to a change.
///
/// Each geometric step joins the one map; as each occurs in one order only, an operation that is
/// drawn again is added up. Shear is about the centre, whereas torchvision shears about the corner.
pub(crate) fn draw(space: &Space, magnitude: u8, stream: &mut Stream, change: &mut Change) {
    let operation = stream.below(14);
    let level = f32::from(magnitude) / f32::from(MOST_MAGNITUDE);
    let signed = if stream.bernoulli(0.5) { -level } else { level };
    let factor = 1.0 + signed * space.factor;
    let geometry = &mut change.geometry;
    let adjustment = match operation {
        1 => return geometry.shear[0] += signed * space.shear,
        2 => return geometry.shear[1] += signed * space.shear,
        3 => return geometry.translation[0] += signed * space.translation,
        4 => return geometry.translation[1] += signed * space.translation,
        5 => return geometry.rotation += signed * space.rotation / 360.0,
        6 => Adjustment::BrightnessFactor(factor),
        7 => Adjustment::Saturation(factor),
        8 => Adjustment::ContrastFactor(factor),
        9 => Adjustment::Sharpness(factor),
        10 => Adjustment::Posterize((8.0 - (level * space.bits)).round_ties_even() as u8),
        // torchvision compares with 255·(1 − level), of which the next integer is as good.
        11 => Adjustment::Solarize((255.0 * (1.0 - level)).ceil() as u8),
        12 => Adjustment::AutoContrast,
        13 => Adjustment::Equalize,
        // Identity.
        _ => return,
    };
    change.adjustments.push(adjustment);
}
