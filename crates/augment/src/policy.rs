use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_core::nearest;

use crate::{Error, Fill, Result};

/// How far pictures may be changed: the factors of Keras' preprocessing layers.
///
/// 0 turns a step off. The fields' ranges are checked by [`check`](Factors::check).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Factors {
    /// Probability of a mirror image (left and right exchanged), 0 to 1. Keras' `RandomFlip("horizontal")` has 0.5.
    pub flip: f32,
    /// Largest rotation either way as a fraction of a full turn, 0 to 0.5 (`RandomRotation`).
    pub rotation: f32,
    /// Largest shear along x, and along y, either way: pixels to the side per pixel down, 0 to 0.9 (`RandomShear`, but
    /// about the centre, whereas Keras shears about the corner and so shifts the picture as well).
    pub shear: f32,
    /// Largest zoom either way: the side of the part that is seen is 1 − zoom to 1 + zoom, 0 to 0.9 (`RandomZoom`
    /// without `width_factor`).
    pub zoom: f32,
    /// Largest shift along x, and along y, either way, as a fraction of the side, 0 to 1 (`RandomTranslation`).
    pub translation: f32,
    /// Largest change of contrast either way, 0 to 1 (`RandomContrast`): each channel becomes (x − μ)·f + μ with f in
    /// 1 − contrast to 1 + contrast and μ the channel's mean, clipped.
    pub contrast: f32,
    /// Largest change of brightness either way as a fraction of the full range, 0 to 1 (`RandomBrightness`).
    pub brightness: f32,
    /// What lies beyond the edges. Default [`Fill::Reflect`], as in Keras.
    pub fill: Fill,
}

impl Default for Factors {
    /// All off.
    fn default() -> Self {
        Self {
            flip: 0.0,
            rotation: 0.0,
            shear: 0.0,
            zoom: 0.0,
            translation: 0.0,
            contrast: 0.0,
            brightness: 0.0,
            fill: Fill::Reflect,
        }
    }
}

impl Factors {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] names the first field that is out of its range.
    pub fn check(self) -> Result<CheckedFactors> {
        let ranges = [
            ("flip", self.flip, 1.0),
            ("rotation", self.rotation, 0.5),
            ("shear", self.shear, 0.9),
            ("zoom", self.zoom, 0.9),
            ("translation", self.translation, 1.0),
            ("contrast", self.contrast, 1.0),
            ("brightness", self.brightness, 1.0),
        ];
        for (field, value, high) in ranges {
            if !(0.0..=high).contains(&value) {
                return Err(Error::OutOfRange { field, value, low: 0.0, high });
            }
        }
        Ok(CheckedFactors(self))
    }
}

/// [`Factors`] that are within their ranges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckedFactors(Factors);

impl std::ops::Deref for CheckedFactors {
    type Target = Factors;
    fn deref(&self) -> &Factors {
        &self.0
    }
}

/// A named set of [`Factors`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Policy {
    /// Pictures stay as they are.
    #[default]
    None,
    /// Mirror images with probability 0.5.
    Flip,
    /// Small changes that hardly any subject minds: flip 0.5, rotation 0.03 (11°), shear 0.05, zoom 0.1,
    /// translation 0.05, contrast 0.1, brightness 0.05.
    Light,
    /// Flip 0.5, rotation 0.1 (36°), shear 0.1, zoom 0.2, translation 0.1, contrast 0.2, brightness 0.1.
    Standard,
}

impl Policy {
    /// All policies, from the least to the greatest change.
    pub const ALL: [Policy; 4] = [Policy::None, Policy::Flip, Policy::Light, Policy::Standard];

    /// The name used in arguments and recipes.
    pub fn name(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::Flip => "flip",
            Policy::Light => "light",
            Policy::Standard => "standard",
        }
    }

    /// The factors that the policy stands for.
    pub fn factors(self) -> CheckedFactors {
        let off = Factors::default();
        CheckedFactors(match self {
            Policy::None => off,
            Policy::Flip => Factors { flip: 0.5, ..off },
            Policy::Light => Factors {
                flip: 0.5,
                rotation: 0.03,
                shear: 0.05,
                zoom: 0.1,
                translation: 0.05,
                contrast: 0.1,
                brightness: 0.05,
                fill: Fill::Reflect,
            },
            Policy::Standard => Factors {
                flip: 0.5,
                rotation: 0.1,
                shear: 0.1,
                zoom: 0.2,
                translation: 0.1,
                contrast: 0.2,
                brightness: 0.1,
                fill: Fill::Reflect,
            },
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| Error::UnknownPolicy {
            name: name.into(),
            known: Self::ALL.map(Policy::name).join(", "),
            nearest: nearest(name, Self::ALL.map(Policy::name), 1).first().map(|n| n.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_names_and_sound_factors() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse::<Policy>().unwrap(), policy);
            assert_eq!(serde_json::to_string(&policy).unwrap(), format!("\"{policy}\""));
            assert!(policy.factors().check().is_ok());
        }
        let error = "standart".parse::<Policy>().unwrap_err().to_string();
        assert!(error.contains("did you mean 'standard'?"), "{error}");
    }

    #[test]
    fn factors_out_of_range_are_named() {
        let off = Factors::default();
        assert!(off.check().is_ok());
        for wrong in [
            Factors { flip: 1.5, ..off },
            Factors { rotation: -0.1, ..off },
            Factors { zoom: 1.0, ..off },
            Factors { contrast: f32::NAN, ..off },
        ] {
            assert!(matches!(wrong.check(), Err(Error::OutOfRange { .. })), "{wrong:?}");
        }
        assert!(serde_json::from_str::<Factors>(r#"{"rotatoin": 0.1}"#).is_err());
        let read: Factors =
            serde_json::from_str(r#"{"rotation": 0.1, "fill": "nearest"}"#).unwrap();
        assert_eq!(read, Factors { rotation: 0.1, fill: Fill::Nearest, ..off });
    }
}
