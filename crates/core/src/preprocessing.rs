use serde::{Deserialize, Serialize};

use crate::{OutOfRange, Result};

/// How pixels are computed when a picture changes size.
///
/// All of them widen their support when they shrink a picture ("antialiased", as Pillow and
/// torchvision's `antialias=True` do).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Triangle filter; Pillow's `BILINEAR`.
    Bilinear,
    /// Catmull–Rom-like cubic with a = −0.5; Pillow's `BICUBIC`.
    Bicubic,
    /// Windowed sinc with three lobes; Pillow's `LANCZOS`.
    Lanczos,
}

/// How a picture of any aspect ratio is fitted to the network's square input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Fit {
    /// Both sides are scaled to the size, whatever the aspect ratio: nothing of the picture is
    /// lost.
    Squash,
    /// The shorter side is scaled to `size / fraction`, then the central square is cut out
    /// (timm's `crop_mode="center"`, torchvision's `Resize` + `CenterCrop`).
    Crop {
        /// timm's `crop_pct`, in (0, 1]. ImageNet networks mostly use 0.875.
        fraction: f32,
    },
}

/// A part of a picture, in pixels from its upper left corner; sides need not be whole numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Distance of its left edge from the picture's left edge.
    pub left: f64,
    /// Distance of its top edge from the picture's top edge.
    pub top: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

impl Part {
    /// All of a picture of this size.
    pub fn whole(width: u32, height: u32) -> Self {
        Self { left: 0.0, top: 0.0, width: width.into(), height: height.into() }
    }

    /// What remains of a picture after timm's evaluation transform
    /// (`timm/data/transforms_factory.py`): `Resize(floor(size / fraction))` and
    /// `CenterCrop(size)`.
    fn central(width: u32, height: u32, size: u32, fraction: f32) -> Self {
        // timm computes it from a decimal fraction in f64. Where the f32 is slightly larger (0.8),
        // the quotient must not fall below the integer that timm gets.
        let shorter = (f64::from(size) / f64::from(fraction) * (1.0 + 1e-7)).floor();
        let (w, h) = (f64::from(width), f64::from(height));
        // torchvision's `Resize(int)`: the longer side is truncated to an integer.
        let (full_w, full_h) = if width <= height {
            (shorter, (shorter * h / w).floor())
        } else {
            ((shorter * w / h).floor(), shorter)
        };
        let size = f64::from(size);
        // torchvision's `CenterCrop`: Python's `round`, ties to even.
        let left = ((full_w - size) / 2.0).round_ties_even();
        let top = ((full_h - size) / 2.0).round_ties_even();
        let (scale_x, scale_y) = (w / full_w, h / full_h);
        let (left, top) = (left * scale_x, top * scale_y);
        Self {
            left,
            top,
            width: (size * scale_x).min(w - left),
            height: (size * scale_y).min(h - top),
        }
    }
}

/// The preprocessing that a network expects. Part of the model and of its artefact, never of the
/// data set.
///
/// A pixel p in 0…255 becomes `(p / 255 − mean) / std`, channel by channel in RGB order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Side of the square input in pixels, 1…4096.
    pub size: u32,
    /// How pixels are computed on resizing.
    pub interpolation: Interpolation,
    /// How the aspect ratio is handled.
    pub fit: Fit,
    /// Mean of each channel (R, G, B), in units of the full range: 0…1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel (R, G, B), in units of the full range, above 0.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// Mean of the ImageNet training pictures, as torchvision uses it.
    pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    /// Standard deviation of the ImageNet training pictures, as torchvision uses it.
    pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first field that is out of range.
    pub fn check(&self) -> Result<()> {
        let fail = |field: &'static str, value: String, remedy: &'static str| {
            Err(OutOfRange::new(field, value, remedy).into())
        };
        if !(1..=4096).contains(&self.size) {
            return fail("size", self.size.to_string(), "use 1 to 4096 pixels");
        }
        if let Fit::Crop { fraction } = self.fit
            && !(fraction > 0.0 && fraction <= 1.0)
        {
            return fail("fit.fraction", fraction.to_string(), "use a fraction in (0, 1]");
        }
        if self.mean.iter().any(|m| !(0.0..=1.0).contains(m)) {
            return fail("mean", format!("{:?}", self.mean), "use values in [0, 1]");
        }
        if self.std.iter().any(|s| !(*s > 0.0 && s.is_finite())) {
            return fail("std", format!("{:?}", self.std), "use positive values");
        }
        Ok(())
    }

    /// The part of a picture of this size (not 0) that becomes the network's square.
    pub fn part(&self, width: u32, height: u32) -> Part {
        match self.fit {
            Fit::Squash => Part::whole(width, height),
            Fit::Crop { fraction } => Part::central(width, height, self.size, fraction),
        }
    }

    /// The scale and shift that turn a pixel in 0…255 into the network's input: `pixel · scale +
    /// shift`, per channel.
    pub fn affine(&self) -> ([f32; 3], [f32; 3]) {
        let scale = std::array::from_fn(|c| 1.0 / (255.0 * self.std[c]));
        let shift = std::array::from_fn(|c| -self.mean[c] / self.std[c]);
        (scale, shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Preprocessing {
        Preprocessing {
            size: 224,
            interpolation: Interpolation::Bicubic,
            fit: Fit::Crop { fraction: 0.875 },
            mean: Preprocessing::IMAGENET_MEAN,
            std: Preprocessing::IMAGENET_STD,
        }
    }

    #[test]
    fn fields_are_checked() {
        assert!(spec().check().is_ok());
        assert!(Preprocessing { size: 0, ..spec() }.check().is_err());
        assert!(Preprocessing { fit: Fit::Crop { fraction: 0.0 }, ..spec() }.check().is_err());
        assert!(Preprocessing { mean: [2.0; 3], ..spec() }.check().is_err());
        assert!(Preprocessing { std: [0.2, 0.0, 0.2], ..spec() }.check().is_err());
        assert!(Preprocessing { std: [0.2, f32::NAN, 0.2], ..spec() }.check().is_err());
    }

    #[test]
    fn affine_form_equals_the_definition() {
        let (scale, shift) = spec().affine();
        for p in [0.0f32, 17.0, 255.0] {
            let definition = (p / 255.0 - 0.456) / 0.224;
            assert!((p * scale[1] + shift[1] - definition).abs() < 1e-6);
        }
    }

    #[test]
    fn round_trips_through_json_and_refuses_unknown_fields() {
        let json = serde_json::to_string(&spec()).unwrap();
        assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), spec());
        let typo = json.replace("\"size\"", "\"sise\"");
        assert!(serde_json::from_str::<Preprocessing>(&typo).is_err());
    }
}
