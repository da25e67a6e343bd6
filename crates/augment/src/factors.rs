use taper_core::OutOfRange;

use crate::{Factors, Result};

/// Makes [`Factors`] of the list of transforms (`transforms/mod.rs`).
macro_rules! factors {
    ($($name:ident: $factor:ty,)*) => {
        /// How far pictures may be changed. 0 turns a step off, and so do the ranges that stand as
        /// defaults.
        ///
        /// Steps are applied in the order of the fields; all geometric ones, up to `perspective`,
        /// are one resampling. Factors of the same names in Keras' preprocessing layers mean the
        /// same; the others are torchvision's. The fields' ranges are checked by
        /// [`check`](Factors::check).
        #[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Factors {
            /// Share of the picture's area that is seen, least and most, each above 0 to 1; default
            /// \[1, 1\], off. torchvision's `RandomResizedCrop` has \[0.08, 1\].
            pub crop_area: [f32; 2],
            /// Width to height of what is seen, least and most, each 0.1 to 10
            /// (`RandomResizedCrop`). Default \[3/4, 4/3\].
            pub crop_aspect: [f32; 2],
            /// Probability of a mirror image (left and right exchanged), 0 to 1. Keras'
            /// `RandomFlip("horizontal")` has 0.5.
            pub flip: f32,
            /// Probability that top and bottom are exchanged, 0 to 1 (`RandomFlip("vertical")`).
            pub flip_vertical: f32,
            /// Largest rotation either way as a fraction of a full turn, 0 to 0.5
            /// (`RandomRotation`).
            pub rotation: f32,
            /// Largest shear along x, and along y, either way: pixels to the side per pixel down, 0
            /// to 0.9 (`RandomShear`, but about the centre, whereas Keras shears about the corner
            /// and so shifts the picture as well).
            pub shear: f32,
            /// Largest zoom either way: the side of the part that is seen is 1 − zoom to 1 + zoom,
            /// 0 to 0.9 (`RandomZoom` without `width_factor`).
            pub zoom: f32,
            /// Largest shift along x, and along y, either way, as a fraction of the side, 0 to 1
            /// (`RandomTranslation`).
            pub translation: f32,
            /// How far each corner may move inwards, as a fraction of half the side, 0 to 0.9
            /// (torchvision's `RandomPerspective(distortion_scale, p=1)`, and Keras'
            /// `RandomPerspective`, nearly).
            pub perspective: f32,
            $(
                #[doc = $name::docs!(factor)]
                pub $name: $factor,
            )*
            /// What lies beyond the edges. Default
            /// [`Fill::Reflect`](taper_picture::Fill::Reflect), as in Keras.
            pub fill: taper_picture::Fill,
        }

        impl Default for Factors {
            /// All off.
            fn default() -> Self {
                Self {
                    crop_area: [1.0; 2],
                    crop_aspect: [3.0 / 4.0, 4.0 / 3.0],
                    flip: 0.0,
                    flip_vertical: 0.0,
                    rotation: 0.0,
                    shear: 0.0,
                    zoom: 0.0,
                    translation: 0.0,
                    perspective: 0.0,
                    $($name: $name::OFF,)*
                    fill: taper_picture::Fill::Reflect,
                }
            }
        }

        impl Factors {
            /// The fields of the transforms: names, values, ends of the ranges.
            pub(crate) fn transforms(&self) -> Vec<(&'static str, f32, f32, f32)> {
                vec![$({
                    let (low, high) = $name::RANGE.into_inner();
                    (stringify!($name), f32::from(self.$name), low, high)
                }),*]
            }
        }
    };
}
pub(crate) use factors;

impl Factors {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first field that is out of its range.
    pub fn check(self) -> Result<CheckedFactors> {
        let [least_area, most_area] = self.crop_area;
        let [least_aspect, most_aspect] = self.crop_aspect;
        let ranges = [
            ("crop_area[0]", least_area, 0.001, 1.0),
            ("crop_area[1]", most_area, least_area, 1.0),
            ("crop_aspect[0]", least_aspect, 0.1, 10.0),
            ("crop_aspect[1]", most_aspect, least_aspect, 10.0),
            ("flip", self.flip, 0.0, 1.0),
            ("flip_vertical", self.flip_vertical, 0.0, 1.0),
            ("rotation", self.rotation, 0.0, 0.5),
            ("shear", self.shear, 0.0, 0.9),
            ("zoom", self.zoom, 0.0, 0.9),
            ("translation", self.translation, 0.0, 1.0),
            ("perspective", self.perspective, 0.0, 0.9),
        ];
        for (field, value, low, high) in ranges.into_iter().chain(self.transforms()) {
            // Not a number is in no range.
            if !(low..=high).contains(&value) {
                return Err(OutOfRange::new(field, value, format!("use {low} to {high}")).into());
            }
        }
        Ok(CheckedFactors(self))
    }
}

/// [`Factors`] that are within their ranges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckedFactors(pub(crate) Factors);

impl std::ops::Deref for CheckedFactors {
    type Target = Factors;
    fn deref(&self) -> &Factors {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use taper_picture::Fill;

    use super::*;
    use crate::Error;

    #[test]
    fn factors_out_of_range_are_named() {
        let off = Factors::default();
        assert!(off.check().is_ok());
        for (wrong, name) in [
            (Factors { crop_area: [0.0, 1.0], ..off }, "crop_area[0]"),
            (Factors { crop_area: [0.5, 0.4], ..off }, "crop_area[1]"),
            (Factors { crop_aspect: [0.5, f32::NAN], ..off }, "crop_aspect[1]"),
            (Factors { flip: 1.5, ..off }, "flip"),
            (Factors { rotation: -0.1, ..off }, "rotation"),
            (Factors { zoom: 1.0, ..off }, "zoom"),
            (Factors { contrast: f32::NAN, ..off }, "contrast"),
            (Factors { hue: 0.6, ..off }, "hue"),
            (Factors { jpeg: 0, ..off }, "jpeg"),
            (Factors { blur: f32::INFINITY, ..off }, "blur"),
        ] {
            match wrong.check() {
                Err(Error::Setting(setting)) => assert_eq!(setting.field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(serde_json::from_str::<Factors>(r#"{"rotatoin": 0.1}"#).is_err());
        let read: Factors =
            serde_json::from_str(r#"{"rotation": 0.1, "fill": "nearest"}"#).unwrap();
        assert_eq!(read, Factors { rotation: 0.1, fill: Fill::Nearest, ..off });
    }
}
