use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::{Arc, OnceLock},
};

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb::Database},
};

use crate::{Error, Result};

/// A finished picture: SVG text, from which PNG pixels are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    svg: String,
    width: f64,
}

/// The only fonts that are ever used, so that pictures look the same on every machine, and on one without fonts.
fn fonts() -> Arc<Database> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    FONTS
        .get_or_init(|| {
            let mut fonts = Database::new();
            fonts.load_font_data(include_bytes!("../fonts/Roboto-Regular.ttf").to_vec());
            fonts.load_font_data(include_bytes!("../fonts/Roboto-Bold.ttf").to_vec());
            fonts.set_sans_serif_family("Roboto");
            Arc::new(fonts)
        })
        .clone()
}

impl Picture {
    pub(crate) fn new(svg: String, width: f64) -> Self {
        Self { svg, width }
    }

    /// The picture as an SVG file. Texts stay texts: they can be searched and copied.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The picture as a PNG file, 8-bit RGBA, `scale` pixels for each unit of the SVG. The same bytes for the same picture.
    ///
    /// Letters beyond Latin, Greek and Cyrillic are left out; the SVG shows them where the viewer has a font.
    ///
    /// # Errors
    /// [`Error::Scale`] if it is not above 0 or asks for more than 16,384 pixels a side.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>> {
        self.pixmap(scale)?.encode_png().map_err(|e| Error::Raster(e.to_string()))
    }

    pub(crate) fn pixmap(&self, scale: f32) -> Result<Pixmap> {
        let options =
            Options { fontdb: fonts(), font_family: "Roboto".into(), ..Options::default() };
        let tree = Tree::from_str(&self.svg, &options).map_err(|e| Error::Raster(e.to_string()))?;
        let size = tree.size().to_int_size();
        let side = |length: u32| {
            let pixels = (length as f32 * scale).round();
            (1.0..=16_384.0).contains(&pixels).then_some(pixels as u32)
        };
        let (Some(width), Some(height)) = (side(size.width()), side(size.height())) else {
            return Err(Error::Scale(scale));
        };
        let mut pixels = Pixmap::new(width, height).ok_or(Error::Scale(scale))?;
        resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
        Ok(pixels)
    }

    /// Writes `STEM.svg` and `STEM.png` into a folder; each is whole or absent. The PNG has two pixels for each unit,
    /// or one where the picture is wider than 1,600 units.
    ///
    /// # Errors
    /// [`Error::Io`] names the file that could not be written.
    pub fn save(&self, folder: &Path, stem: &str) -> Result<()> {
        let png = self.png(if self.width > 1600.0 { 1.0 } else { 2.0 })?;
        write_whole(folder, &format!("{stem}.svg"), self.svg.as_bytes())?;
        write_whole(folder, &format!("{stem}.png"), &png)
    }
}

fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().map_err(|source| {
        // What is left of a failed attempt is of no use, and that it cannot be removed is not the error to report.
        let _ = fs::remove_file(&temporary);
        Error::Io { path: path.clone(), source }
    })
}
