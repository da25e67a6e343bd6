use image::RgbImage;
use taper_core::{Part, Preprocessing};
use taper_picture::{Fill, Homography, Quality, Warper};

use crate::{Adjustment, Geometry, Result, effect::adjust};

/// One definite change of a picture: first where things go, in one resampling, then how they look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Where things go.
    pub geometry: Geometry,
    /// How they look: applied in this order, on the pixels that the geometry has made.
    pub adjustments: Vec<Adjustment>,
    /// What lies beyond the edges.
    pub fill: Fill,
}

impl Change {
    /// Geometry alone.
    pub fn of_geometry(geometry: Geometry) -> Self {
        Self { geometry, ..Self::default() }
    }

    /// Adjustments alone.
    pub fn of_adjustments(adjustments: Vec<Adjustment>) -> Self {
        Self { adjustments, ..Self::default() }
    }

    /// The changed picture: u8 RGB, same size, bilinear without antialiasing, as Keras and
    /// torchvision do it step by step. Without geometry pixels stay where they are, and flips are
    /// exact. A picture without pixels stays one.
    ///
    /// # Errors
    /// [`Error::Jpeg`](crate::Error::Jpeg) if compression was asked for and the picture cannot be
    /// compressed.
    pub fn apply(&self, picture: &RgbImage) -> Result<RgbImage> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Ok(picture.clone());
        }
        let mut out = picture.clone();
        if self.geometry != Geometry::default() {
            let map =
                self.geometry.steps(width, height).then(&self.to_crop(picture, width, height));
            Warper::new().warp(
                picture,
                &map,
                self.fill,
                Quality::Plain,
                (width, height),
                &mut out,
            )?;
        }
        adjust(&self.adjustments, (width, height), &mut out)?;
        Ok(out)
    }

    /// Writes the changed picture to `out` as a network wants it: u8, layout \[size, size, 3\]
    /// (RGB), range 0…255.
    ///
    /// Steps, crop and resizing are one map and one resampling, antialiased with the
    /// specification's filter. Without a change the pixels are those of `taper_picture::Preparer`.
    /// Adjustments work on the network's pixels: a blur of one pixel, for instance, is one pixel of
    /// the input that the network sees.
    ///
    /// # Errors
    /// [`Error::Resample`](crate::Error::Resample) for a picture without pixels or an output of
    /// another length than size · size · 3, and as [`apply`](Self::apply).
    pub fn render(
        &self,
        picture: &RgbImage,
        spec: &Preprocessing,
        warper: &mut Warper,
        out: &mut [u8],
    ) -> Result<()> {
        let (width, height) = picture.dimensions();
        let side = spec.size;
        let quality = Quality::Antialiased(spec.interpolation);
        if width == 0 || height == 0 || self.geometry == Geometry::default() {
            let part = if width == 0 || height == 0 {
                Part::whole(width, height)
            } else {
                spec.part(width, height)
            };
            warper.resizer().resize(picture, part, spec.interpolation, (side, side), out)?;
        } else {
            let map = if self.geometry.crop.is_some() {
                self.geometry.steps(side, side).then(&self.to_crop(picture, side, side))
            } else {
                let part = spec.part(width, height);
                to_part(part, side, side).then(&self.geometry.steps(width, height))
            };
            warper.warp(picture, &map, self.fill, quality, (side, side), out)?;
        }
        adjust(&self.adjustments, (side, side), out)
    }

    /// From an output of this size to the crop; the whole picture without one.
    fn to_crop(&self, picture: &RgbImage, width: u32, height: u32) -> Homography {
        let Some(crop) = self.geometry.crop else { return Homography::IDENTITY };
        let (w, h) = (f64::from(picture.width()), f64::from(picture.height()));
        let part = Part {
            left: f64::from(crop.left) * w,
            top: f64::from(crop.top) * h,
            width: f64::from(crop.width) * w,
            height: f64::from(crop.height) * h,
        };
        to_part(part, width, height)
    }
}

/// From an output of this size to a part of the picture.
fn to_part(part: Part, width: u32, height: u32) -> Homography {
    Homography::scale(part.width / f64::from(width), part.height / f64::from(height))
        .then(&Homography::translation(part.left, part.top))
}
