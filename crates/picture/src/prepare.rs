//! From a picture of any size to the network's square.

use image::RgbImage;
use taper_core::Preprocessing;

#[cfg(feature = "warp")]
use crate::Warper;
use crate::{Resizer, Result};

/// Brings pictures to a network's input size. Holds buffers: keep one per thread.
///
/// Follows Pillow's `Image.resize` (antialiased convolution, horizontal pass first, u8 in between).
/// With [`Fit::Crop`](taper_core::Fit::Crop) it follows timm's evaluation transform
/// (`timm/data/transforms_factory.py`: `Resize(floor(size / fraction))`, then `CenterCrop(size)`),
/// computed in one step: only the pixels that remain after the crop are computed.
#[derive(Debug)]
pub struct Preparer {
    spec: Preprocessing,
    #[cfg(feature = "warp")]
    warper: Warper,
    #[cfg(not(feature = "warp"))]
    resizer: Resizer,
}

impl Preparer {
    /// A preparer for one specification.
    ///
    /// # Errors
    /// [`Error::Preprocessing`](crate::Error::Preprocessing) if a field is out of range.
    pub fn new(spec: Preprocessing) -> Result<Self> {
        spec.check()?;
        Ok(Self {
            spec,
            #[cfg(feature = "warp")]
            warper: Warper::new(),
            #[cfg(not(feature = "warp"))]
            resizer: Resizer::new(),
        })
    }

    /// What the network wants.
    pub fn spec(&self) -> &Preprocessing {
        &self.spec
    }

    /// The buffers, for an augmentation that produces the network's square input itself.
    #[cfg(feature = "warp")]
    pub fn warper(&mut self) -> &mut Warper {
        &mut self.warper
    }

    #[cfg(feature = "warp")]
    fn resizer(&mut self) -> &mut Resizer {
        self.warper.resizer()
    }

    #[cfg(not(feature = "warp"))]
    fn resizer(&mut self) -> &mut Resizer {
        &mut self.resizer
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

    /// Writes the prepared picture to `out`: u8, layout \[size, size, 3\] (rows, columns, RGB),
    /// range 0…255. Normalisation is left to the network's first layer: see
    /// [`Preprocessing::affine`].
    ///
    /// # Errors
    /// [`Error::Output`](crate::Error::Output) if `out` does not have exactly size · size · 3
    /// bytes; [`Error::NoPixels`](crate::Error::NoPixels) for a picture without pixels.
    pub fn prepare_into(&mut self, picture: &RgbImage, out: &mut [u8]) -> Result<()> {
        let Preprocessing { size, interpolation, .. } = self.spec;
        let (width, height) = picture.dimensions();
        let part = self.spec.part(width, height);
        self.resizer().resize(picture, part, interpolation, (size, size), out)
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
