//! From a picture of any size to the network's square.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use image::RgbImage;
use taper_core::{Fit, Interpolation, Preprocessing};

use crate::{Error, Result};

/// Brings pictures to a network's input size. Holds buffers: keep one per thread.
///
/// Follows Pillow's `Image.resize` (antialiased convolution, horizontal pass first, u8 in between). With [`Fit::Crop`]
/// it follows timm's evaluation transform (`timm/data/transforms_factory.py`: `Resize(floor(size / fraction))`, then
/// `CenterCrop(size)`), computed in one step: only the pixels that remain after the crop are ever made.
#[derive(Debug)]
pub struct Preparer {
    spec: Preprocessing,
    resizer: Resizer,
}

impl Preparer {
    /// A preparer for one specification.
    ///
    /// # Errors
    /// [`Error::Preprocessing`] if a field is out of range.
    pub fn new(spec: Preprocessing) -> Result<Self> {
        spec.check()?;
        Ok(Self { spec, resizer: Resizer::new() })
    }

    /// How many bytes one prepared picture takes: size · size · 3.
    pub fn len(&self) -> usize {
        let side = self.spec.size as usize;
        side * side * 3
    }

    /// Always false: a network's input has pixels.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the prepared picture to `out`: u8, layout \[size, size, 3\] (rows, columns, RGB), range 0…255.
    /// Normalisation is left to the network's first layer: see [`Preprocessing::affine`].
    ///
    /// # Errors
    /// [`Error::Option`] if `out` has not exactly size · size · 3 bytes; [`Error::Resize`] for a picture without pixels.
    pub fn prepare_into(&mut self, picture: &RgbImage, out: &mut [u8]) -> Result<()> {
        if out.len() != self.len() {
            return Err(Error::Option {
                field: "length of the output",
                value: out.len().to_string(),
                remedy: "give size · size · 3 bytes",
            });
        }
        let (width, height, size) = (picture.width(), picture.height(), self.spec.size);
        if let Fit::Squash = self.spec.fit
            && (width, height) == (size, size)
        {
            out.copy_from_slice(picture);
            return Ok(());
        }
        let failed = |reason: String| Error::Resize { width, height, size, reason };
        let from = ImageRef::new(width, height, picture, PixelType::U8x3)
            .map_err(|e| failed(e.to_string()))?;
        let mut to = Image::from_slice_u8(size, size, out, PixelType::U8x3)
            .map_err(|e| failed(e.to_string()))?;
        let filter = match self.spec.interpolation {
            Interpolation::Bilinear => FilterType::Bilinear,
            Interpolation::Bicubic => FilterType::CatmullRom,
            Interpolation::Lanczos => FilterType::Lanczos3,
        };
        let mut options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
        if let Fit::Crop { fraction } = self.spec.fit {
            let (left, top, w, h) = source_box(width, height, size, fraction);
            options = options.crop(left, top, w, h);
        }
        self.resizer.resize(&from, &mut to, &options).map_err(|e| failed(e.to_string()))
    }
}

/// The part of the source that remains after `Resize(floor(size / fraction))` and `CenterCrop(size)`:
/// left, top, width, height in source pixels.
fn source_box(width: u32, height: u32, size: u32, fraction: f32) -> (f64, f64, f64, f64) {
    // timm computes it from a decimal fraction in f64. Where the f32 lies a little above that (0.8), the quotient must
    // not fall below the integer that it would have been.
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
    (left, top, (size * scale_x).min(w - left), (size * scale_y).min(h - top))
}

/// [`Preparer::prepare_into`] for a single picture: u8, layout \[size, size, 3\], RGB.
///
/// # Errors
/// As there, and as [`Preparer::new`].
pub fn prepare(picture: &RgbImage, spec: &Preprocessing) -> Result<Vec<u8>> {
    let mut preparer = Preparer::new(*spec)?;
    let mut out = vec![0; preparer.len()];
    preparer.prepare_into(picture, &mut out)?;
    Ok(out)
}
