use std::path::Path;

use taper_core::file::write_atomically;
use tiny_skia::Pixmap;

use crate::{
    Error, Result,
    mark::marked,
    raster::{Shape, draw},
};

/// A finished picture: SVG text, and the same shapes for PNG pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    svg: String,
    shapes: Vec<Shape>,
    /// Width and height in units.
    size: (f32, f32),
}

impl Picture {
    pub(crate) fn new(svg: String, shapes: Vec<Shape>, size: (f32, f32)) -> Self {
        Self { svg, shapes, size }
    }

    /// The picture as an SVG file. Texts stay texts: they can be searched and copied.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The picture as a PNG file, 8-bit RGBA, `scale` pixels for each unit of the SVG. The same
    /// bytes for the same picture and the same fonts.
    ///
    /// Letters beyond Latin, Greek and Cyrillic come from the machine's fonts; one that no font has
    /// is a box with its number in Unicode. In the SVG, the viewer's fonts show them.
    ///
    /// # Errors
    /// [`Error::Scale`] if it is not above 0 or asks for more than 16,384 pixels a side.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>> {
        let png = self.pixmap(scale)?.encode_png();
        png.map(marked).map_err(|e| Error::Raster(e.to_string()))
    }

    pub(crate) fn pixmap(&self, scale: f32) -> Result<Pixmap> {
        let side = |length: f32| {
            let pixels = (length.ceil() * scale).round();
            (1.0..=16_384.0).contains(&pixels).then_some(pixels as u32)
        };
        let (Some(width), Some(height)) = (side(self.size.0), side(self.size.1)) else {
            return Err(Error::Scale(scale));
        };
        let mut pixels = Pixmap::new(width, height).ok_or(Error::Scale(scale))?;
        pixels.fill(tiny_skia::Color::WHITE);
        draw(&self.shapes, scale, &mut pixels);
        Ok(pixels)
    }

    /// Writes `STEM.svg` and `STEM.png` into a folder; each is whole or absent. The PNG has two
    /// pixels for each unit, or one where the picture is wider than 1,600 units.
    ///
    /// # Errors
    /// [`Error::Io`] names the file that could not be written.
    pub fn save(&self, folder: &Path, stem: &str) -> Result<()> {
        let png = self.png(if self.size.0 > 1600.0 { 1.0 } else { 2.0 })?;
        let write = |name: String, bytes: &[u8]| {
            let path = folder.join(name);
            write_atomically(&path, bytes).map_err(|source| Error::Io { path, source })
        };
        write(format!("{stem}.svg"), self.svg.as_bytes())?;
        write(format!("{stem}.png"), &png)
    }
}
