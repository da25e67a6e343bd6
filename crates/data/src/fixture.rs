//! Small picture folders for tests, of this crate and of others.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use image::{ExtendedColorType, ImageEncoder, RgbImage, codecs::jpeg::JpegEncoder};

/// A picture that depends on its two numbers: stripes whose direction shows the class and whose
/// phase and tint distinguish the pictures of a class. Easy to learn, and different for every
/// (class, number).
pub fn picture(class: usize, number: usize, width: u32, height: u32) -> RgbImage {
    let angle = class as f32 * 0.9 + 0.2;
    let (sin, cos) = angle.sin_cos();
    let phase = number as f32 * 1.3;
    let tint = [(number * 37 % 64) as f32, (number * 59 % 64) as f32, (number * 83 % 64) as f32];
    RgbImage::from_fn(width, height, |x, y| {
        let wave = ((x as f32 * cos + y as f32 * sin) * 0.6 + phase).sin();
        image::Rgb(tint.map(|t| (96.0 + 80.0 * wave + t) as u8))
    })
}

/// A picture as JPEG of quality 95.
///
/// # Errors
/// Only if the encoder refuses the size.
pub fn jpeg(picture: &RgbImage) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 95)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(io::Error::other)?;
    Ok(bytes)
}

/// Writes `root/FOLDER/CLASS/NN.jpg`: `count` pictures of 48 × 40 pixels for every class, in every
/// folder that is named (`""` for class folders alone). Numbering continues from folder to folder,
/// so that no picture occurs twice.
///
/// ```no_run
/// taper_data::fixture::write_folder("pets", &[("train", 8), ("test", 2)], &["cat", "dog"])?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// What the file system says.
pub fn write_folder(
    root: impl AsRef<Path>,
    folders: &[(&str, usize)],
    classes: &[&str],
) -> io::Result<()> {
    let mut first = 0;
    for (folder, count) in folders {
        for (class, name) in classes.iter().enumerate() {
            let folder = root.as_ref().join(folder).join(name);
            fs::create_dir_all(&folder)?;
            for number in first..first + count {
                let bytes = jpeg(&picture(class, number, 48, 40))?;
                fs::write(folder.join(format!("{number:02}.jpg")), bytes)?;
            }
        }
        first += count;
    }
    Ok(())
}

/// Writes four pictures that cannot be used into `folder`, and returns their paths: damaged,
/// truncated, empty, and a text file named `.jpg`.
///
/// # Errors
/// What the file system says.
pub fn write_unusable(folder: impl AsRef<Path>) -> io::Result<[PathBuf; 4]> {
    let folder = folder.as_ref();
    fs::create_dir_all(folder)?;
    let good = jpeg(&picture(0, 0, 48, 40))?;
    let mut corrupt = good.clone();
    // The header's segments are overwritten, its signature stays.
    corrupt[4..200].fill(0x55);
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map(|()| path)
    };
    Ok([
        write("corrupt.jpg", &corrupt)?,
        write("truncated.jpg", &good[..good.len() / 2])?,
        write("empty.jpg", &[])?,
        write("text.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>")?,
    ])
}
