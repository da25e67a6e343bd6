//! From a picture of any size to the network's square.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
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
    /// Between the passes: u8 RGB, as wide as the output.
    narrowed: Vec<u8>,
}

impl Preparer {
    /// A preparer for one specification.
    ///
    /// # Errors
    /// [`Error::Preprocessing`] if a field is out of range.
    pub fn new(spec: Preprocessing) -> Result<Self> {
        spec.check()?;
        Ok(Self { spec, resizer: Resizer::new(), narrowed: Vec::new() })
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
        if width == 0 || height == 0 {
            let reason = "the picture has no pixels".into();
            return Err(Error::Resize { width, height, size, reason });
        }
        if let Fit::Squash = self.spec.fit
            && (width, height) == (size, size)
        {
            out.copy_from_slice(picture);
            return Ok(());
        }
        let part = match self.spec.fit {
            Fit::Squash => Part { left: 0.0, top: 0.0, width: width.into(), height: height.into() },
            Fit::Crop { fraction } => Part::central(width, height, size, fraction),
        };
        self.resize(picture, part, out).map_err(|reason| Error::Resize {
            width,
            height,
            size,
            reason,
        })
    }

    /// Two calls of the resizer, one per direction: on its own it would begin with the vertical pass, and as the values
    /// in between are clipped to 0…255, filters that overshoot would not give Pillow's pixels.
    fn resize(
        &mut self,
        picture: &RgbImage,
        part: Part,
        out: &mut [u8],
    ) -> std::result::Result<(), String> {
        let (width, height, size) = (picture.width(), picture.height(), self.spec.size);
        let (filter, support) = match self.spec.interpolation {
            Interpolation::Bilinear => (FilterType::Bilinear, 1.0),
            Interpolation::Bicubic => (FilterType::CatmullRom, 2.0),
            Interpolation::Lanczos => (FilterType::Lanczos3, 3.0),
        };
        let options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);

        // The rows that the vertical pass will look at.
        let reach = support * (part.height / f64::from(size)).max(1.0) + 1.0;
        let first = (part.top - reach).floor().max(0.0) as u32;
        let last = ((part.top + part.height + reach).ceil() as u32).min(height);
        let stride = width as usize * 3;
        let rows = &picture.as_raw()[first as usize * stride..last as usize * stride];
        // Typed images: the resizer is compiled for this one kind of pixel instead of fifteen.
        let from = TypedImageRef::<U8x3>::from_buffer(width, last - first, rows)
            .map_err(|e| e.to_string())?;
        self.narrowed.resize((last - first) as usize * size as usize * 3, 0);
        let mut between = TypedImage::<U8x3>::from_buffer(size, last - first, &mut self.narrowed)
            .map_err(|e| e.to_string())?;
        let across = options.crop(part.left, 0.0, part.width, (last - first).into());
        self.resizer.resize_typed(&from, &mut between, &across).map_err(|e| e.to_string())?;

        let mut to = TypedImage::<U8x3>::from_buffer(size, size, out).map_err(|e| e.to_string())?;
        let down = options.crop(0.0, part.top - f64::from(first), size.into(), part.height);
        self.resizer.resize_typed(&between, &mut to, &down).map_err(|e| e.to_string())
    }
}

/// A part of a picture, in pixels; sides need not be whole.
#[derive(Debug, Clone, Copy)]
struct Part {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Part {
    /// What remains of a picture after `Resize(floor(size / fraction))` and `CenterCrop(size)`.
    fn central(width: u32, height: u32, size: u32, fraction: f32) -> Self {
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
        Self {
            left,
            top,
            width: (size * scale_x).min(w - left),
            height: (size * scale_y).min(h - top),
        }
    }
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
