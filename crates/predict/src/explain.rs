use std::{
    fs, io,
    io::Cursor,
    path::{Path, PathBuf},
};

use image::{ImageFormat, RgbImage, RgbaImage, imageops};
use taper_core::OutOfRange;
use taper_model::{ActivationMap, Classifier, Input};
use taper_report::page::heat;
use taper_run::{Error, Result};
use taper_sources::FOLDER_MARK;

use crate::Inputs;

/// The longer side of the pictures that are written, in pixels.
const LONGEST: u32 = 640;

/// What the file says that marks the folder as output.
const MARK_TEXT: &str = "Pictures that Taper explained: they are no data to train on.\n";

/// Writes pictures with the [activation map](ActivationMap) of the predicted class over them into a
/// folder, as PNG files. A file that exists is never replaced: a picture whose name is taken gets a
/// number behind it.
#[derive(Debug)]
pub struct Explainer {
    folder: PathBuf,
    classifier: Classifier,
}

impl Explainer {
    /// Explains what `classifier` says, which must have been opened on the CPU.
    ///
    /// # Errors
    /// [`Error::Setting`] if `folder` is a file; [`Error::Io`] if it cannot be made.
    pub fn new(folder: &Path, classifier: Classifier) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            let remedy = "this is a file: give a folder";
            return Err(OutOfRange::new("explain", folder.display(), remedy).into());
        }
        let own = folder.symlink_metadata().is_err();
        fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
        if own {
            let mark = folder.join(FOLDER_MARK);
            fs::write(&mark, MARK_TEXT).map_err(Error::io("write", &mark))?;
        }
        Ok(Self { folder: folder.into(), classifier })
    }

    /// Writes one of the pictures; returns where it is. None if it cannot be read as a picture,
    /// which its prediction says.
    ///
    /// # Errors
    /// [`Error::Io`], and any error of the network.
    pub fn put(&self, inputs: &Inputs, index: usize) -> Result<Option<PathBuf>> {
        let Ok(picture) = inputs.picture(index) else { return Ok(None) };
        let explained = self.classifier.explain(Input::Pixels(&picture), None)?;
        let content = png(&overlay(&picture, &explained.map, LONGEST));
        let name = Path::new(inputs.name(index)).file_name().unwrap_or_default();
        for number in 1u64.. {
            let mut own = name.to_owned();
            own.push(if number == 1 { ".png".into() } else { format!("-{number}.png") });
            let path = self.folder.join(own);
            let file = fs::OpenOptions::new().write(true).create_new(true).open(&path);
            let written = file.and_then(|mut file| io::copy(&mut content.as_slice(), &mut file));
            match written {
                Ok(_) => return Ok(Some(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("write", &path)(error)),
            }
        }
        Ok(None)
    }
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut content = Cursor::new(Vec::new());
    // In memory, this can fail only for want of memory.
    let _ = picture.write_to(&mut content, ImageFormat::Png);
    content.into_inner()
}

/// A picture, at most `longest` pixels long, with a map over the part that the network saw.
pub fn overlay(picture: &RgbImage, map: &ActivationMap, longest: u32) -> RgbImage {
    let mut shown = reduced(picture, longest);
    let (width, height) = (shown.width() as f32, shown.height() as f32);
    let [left, top, right, bottom] = map.region;
    let (x, y) = ((left * width).round() as i64, (top * height).round() as i64);
    let side = |from: f32, to: f32, of: f32| (((to - from) * of).round() as u32).max(1);
    let (columns, rows) = (map.width as u32, map.height as u32);
    let colours = map.values.iter().flat_map(|value| heat(*value)).collect();
    let Some(small) = RgbaImage::from_raw(columns, rows, colours) else { return shown };
    let (w, h) = (side(left, right, width), side(top, bottom, height));
    let large = imageops::resize(&small, w, h, imageops::FilterType::Triangle);
    for (at_x, at_y, over) in large.enumerate_pixels() {
        let (x, y) = (x + i64::from(at_x), y + i64::from(at_y));
        let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        let below = place.and_then(|(x, y)| shown.get_pixel_mut_checked(x, y));
        let Some(below) = below else { continue };
        let share = f32::from(over.0[3]) / 255.0;
        for (below, over) in below.0.iter_mut().zip(over.0) {
            *below = (f32::from(*below) * (1.0 - share) + f32::from(over) * share).round() as u8;
        }
    }
    shown
}

/// A picture whose longer side has at most `longest` pixels.
pub fn reduced(picture: &RgbImage, longest: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let most = width.max(height);
    if most <= longest || most == 0 {
        return picture.clone();
    }
    let scaled = |side: u32| {
        let scaled = f64::from(side) * f64::from(longest) / f64::from(most);
        (scaled.round() as u32).max(1)
    };
    imageops::resize(picture, scaled(width), scaled(height), imageops::FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_lies_over_its_part_of_the_picture() {
        let picture = RgbImage::from_pixel(40, 20, image::Rgb([0, 0, 200]));
        let map = ActivationMap {
            class: "x".into(),
            region: [0.25, 0.0, 0.75, 1.0],
            height: 1,
            width: 1,
            values: vec![1.0],
        };
        let shown = overlay(&picture, &map, 20);
        assert_eq!(shown.dimensions(), (20, 10));
        assert_eq!(shown.get_pixel(2, 5).0, [0, 0, 200]);
        assert!(shown.get_pixel(10, 5).0[0] > 100, "{:?}", shown.get_pixel(10, 5));
        assert_eq!(shown.get_pixel(17, 5).0, [0, 0, 200]);
    }
}
