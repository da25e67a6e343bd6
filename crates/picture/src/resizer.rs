use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer as Convolution,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use image::RgbImage;
use taper_core::{Interpolation, Part};

use crate::{Error, Result};

/// Resizes a part of a picture. Holds buffers: keep one per thread.
///
/// Follows Pillow's `Image.resize(size, resample, box)`: antialiased convolution, horizontal pass
/// first, u8 in between.
#[derive(Debug, Default)]
pub struct Resizer {
    convolution: Convolution,
    /// Between the passes: u8 RGB, as wide as the output.
    narrowed: Vec<u8>,
}

impl Resizer {
    /// A resizer without buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `part` of the picture, resized to `width` × `height`, to `out`: u8, layout \[height,
    /// width, 3\] (RGB).
    ///
    /// Two calls of the convolution, one per direction: on its own it would begin with the vertical
    /// pass, and as the values in between are clipped to 0…255, filters that overshoot would not
    /// give Pillow's pixels.
    ///
    /// # Errors
    /// [`Error::NoPixels`] for an empty picture, [`Error::Output`] for an output of another length,
    /// [`Error::Resizer`] for a part outside the picture or a size of 0.
    pub fn resize(
        &mut self,
        picture: &RgbImage,
        part: Part,
        interpolation: Interpolation,
        (width, height): (u32, u32),
        out: &mut [u8],
    ) -> Result<()> {
        check(picture, (width, height), out)?;
        let fail = |e: &dyn std::fmt::Display| Error::Resizer(e.to_string());
        let (from_width, from_height) = picture.dimensions();
        if part == Part::whole(from_width, from_height)
            && (from_width, from_height) == (width, height)
        {
            out.copy_from_slice(picture);
            return Ok(());
        }
        let (filter, support) = match interpolation {
            Interpolation::Bilinear => (FilterType::Bilinear, 1.0),
            Interpolation::Bicubic => (FilterType::CatmullRom, 2.0),
            Interpolation::Lanczos => (FilterType::Lanczos3, 3.0),
        };
        let options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);

        // The rows that the vertical pass will read.
        let reach = support * (part.height / f64::from(height)).max(1.0) + 1.0;
        let first = (part.top - reach).floor().max(0.0) as u32;
        let last = ((part.top + part.height + reach).ceil() as u32).min(from_height);
        let stride = from_width as usize * 3;
        let rows = &picture.as_raw()[first as usize * stride..last as usize * stride];
        // Typed images: the resizer is compiled for this one kind of pixel instead of fifteen.
        let from = TypedImageRef::<U8x3>::from_buffer(from_width, last - first, rows)
            .map_err(|e| fail(&e))?;
        self.narrowed.resize((last - first) as usize * width as usize * 3, 0);
        let mut between = TypedImage::<U8x3>::from_buffer(width, last - first, &mut self.narrowed)
            .map_err(|e| fail(&e))?;
        let across = options.crop(part.left, 0.0, part.width, (last - first).into());
        self.convolution.resize_typed(&from, &mut between, &across).map_err(|e| fail(&e))?;

        let mut to = TypedImage::<U8x3>::from_buffer(width, height, out).map_err(|e| fail(&e))?;
        let down = options.crop(0.0, part.top - f64::from(first), width.into(), part.height);
        self.convolution.resize_typed(&between, &mut to, &down).map_err(|e| fail(&e))
    }
}

pub(crate) fn check(picture: &RgbImage, (width, height): (u32, u32), out: &[u8]) -> Result<()> {
    if picture.width() == 0 || picture.height() == 0 {
        return Err(Error::NoPixels { width: picture.width(), height: picture.height() });
    }
    let expected = width as usize * height as usize * 3;
    if out.len() != expected {
        return Err(Error::Output { found: out.len(), expected, width, height });
    }
    Ok(())
}
