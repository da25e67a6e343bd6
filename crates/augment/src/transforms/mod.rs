//! The list of transforms: what changes how things look, one file each.
//!
//! A line says the name of the factor and of the file, the factor's type, and the adjustment that a
//! view draws, with its values; without a factor, views draw it through policies only. The order is
//! that of the fields of [`Factors`], which is the order in which a view applies them. A file has:
//!
//! - `docs!`: the documentation of the factor and of the adjustment;
//! - `OFF`, `RANGE`: the factor's default, which changes nothing, and its range;
//! - `draw`: the adjustment of one view, drawn from a stream that is the transform's own;
//! - `effect`: what the adjustment does to pixels.
//!
//! `docs/extending.md` has an example.

use taper_core::random::Stream;

use crate::{effect::Effect, factors::factors};

macro_rules! transforms {
    ($(
        $name:ident $(: $factor:ty)? => $variant:ident
            $(($($value:ident: $value_type:ty),+))?
            $({ $($(#[$doc:meta])* $field:ident: $field_type:ty),+ $(,)? })?
    ),+ $(,)?) => {
        $(mod $name;)+

        factors! { $($($name: $factor,)?)+ }

        /// A change of how things look. All work on u8 RGB; results are clipped to 0…255.
        ///
        /// `F` is `torchvision.transforms.v2.functional`; its results are cut off to integers where
        /// it does so, too.
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum Adjustment {$(
            #[doc = $name::docs!(adjustment)]
            $variant $(($($value_type),+))? $({ $($(#[$doc])* $field: $field_type),+ })?,
        )+}

        impl Adjustment {
            /// What it does to pixels.
            pub(crate) fn effect(self) -> Effect {
                match self {$(
                    Self::$variant $(($($value),+))? $({ $($field),+ })? => {
                        $name::effect($($($value),+)? $($($field),+)?)
                    }
                )+}
            }
        }

        impl Factors {
            /// The adjustments of one view. `stream` gives each transform, by its name, a stream of
            /// its own, so that turning one on or off does not change what the others draw.
            pub(crate) fn draw(&self, stream: impl Fn(&str) -> Stream) -> Vec<Adjustment> {
                let mut adjustments = Vec::new();
                $($(
                    let factor: $factor = self.$name;
                    adjustments.extend($name::draw(factor, stream(stringify!($name))));
                )?)+
                adjustments
            }
        }
    };
}

transforms! {
    contrast: f32 => Contrast(factor: f32),
    brightness: f32 => Brightness(delta: f32),
    saturation: f32 => Saturation(factor: f32),
    hue: f32 => Hue(turn: f32),
    grey: f32 => Grey,
    gamma: f32 => Gamma(gamma: f32),
    blur: f32 => Blur(sigma: f32),
    sharpness: f32 => Sharpness(factor: f32),
    noise: f32 => Noise {
        /// Standard deviation, from 0.
        sigma: f32,
        /// Which noise: the same key gives the same noise.
        key: u64,
    },
    posterize: f32 => Posterize(bits: u8),
    solarize: f32 => Solarize(threshold: u8),
    equalize: f32 => Equalize,
    jpeg: u8 => Jpeg(quality: u8),
    erasing: f32 => Erase {
        /// Left, top, width, height, each 0 to 1.
        area: [f32; 4],
        /// What is written there.
        value: [u8; 3],
    },
    auto_contrast => AutoContrast,
    brightness_factor => BrightnessFactor(factor: f32),
    contrast_factor => ContrastFactor(factor: f32),
    invert => Invert,
}

/// A factor of 1 − `most` to 1 + `most`; none where `most` is 0, off.
fn around_one(most: f32, stream: Stream) -> Option<f32> {
    around_zero(most, stream).map(|change| 1.0 + change)
}

/// A number of −`most` to `most`; none where `most` is 0, off.
fn around_zero(most: f32, mut stream: Stream) -> Option<f32> {
    (most > 0.0).then(|| stream.range(-most, most))
}
