//! One pass over all pictures: each is read, hashed, decoded and measured once.

use std::{
    io::Cursor,
    sync::atomic::{AtomicBool, Ordering},
};

use image::metadata::Orientation;
use rayon::prelude::*;
use taper_data::{Content, Dataset, content_sha256};
use taper_picture::Finding;

use crate::{
    Error, Result,
    header::{ColourMode, colour_mode, is_animated, quantisation},
    look::{Features, Thumbnail, look},
};

/// A picture that could be read.
#[derive(Debug, Clone)]
pub(crate) struct Scanned {
    /// Its index in the data set.
    pub(crate) index: usize,
    /// SHA-256 of its content.
    pub(crate) digest: [u8; 32],
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: &'static str,
    /// What JPEG's quality and the program make of its header; see [`quantisation`].
    pub(crate) quantisation: Vec<u8>,
    pub(crate) mode: ColourMode,
    pub(crate) animated: bool,
    /// Whether EXIF turns or flips it.
    pub(crate) rotated: bool,
    pub(crate) features: Features,
    pub(crate) thumbnail: Thumbnail,
}

/// All pictures of a data set.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Those that could be read, in canonical order.
    pub(crate) pictures: Vec<Scanned>,
    /// Those that could not, and remarks about others.
    pub(crate) findings: Vec<Finding>,
}

pub(crate) fn scan(dataset: &Dataset, stop: &AtomicBool, tick: &(dyn Fn() + Sync)) -> Result<Scan> {
    type Looked = std::result::Result<(Box<Scanned>, Option<Finding>), Finding>;
    let looked: Vec<Option<Looked>> = dataset
        .indices(None)
        .into_par_iter()
        .map(|index| {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let picture = picture(dataset, index);
            tick();
            Some(picture)
        })
        .collect();
    let mut scan = Scan { findings: dataset.findings().to_vec(), ..Scan::default() };
    for looked in looked {
        match looked {
            None => return Err(Error::Interrupted),
            Some(Ok((picture, remark))) => {
                scan.pictures.push(*picture);
                scan.findings.extend(remark);
            }
            Some(Err(finding)) => scan.findings.push(finding),
        }
    }
    scan.findings.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scan)
}

fn picture(
    dataset: &Dataset,
    index: usize,
) -> std::result::Result<(Box<Scanned>, Option<Finding>), Finding> {
    let content = dataset.fetch(index)?;
    let digest = content_sha256(&content);
    let (mode, animated, quantisation) = match &content {
        Content::Encoded(bytes) => (mode_of(bytes), is_animated(bytes), quantisation(bytes)),
        _ => (ColourMode::Rgb, false, Vec::new()),
    };
    let picture = dataset.decode(index, content)?;
    let (features, thumbnail) = look(&picture.pixels);
    let remark = dataset.misnamed(index, &picture);
    let scanned = Scanned {
        index,
        digest,
        width: picture.pixels.width(),
        height: picture.pixels.height(),
        format: picture.format.map_or("rendered", |format| format.to_mime_type()),
        quantisation,
        mode,
        animated,
        rotated: picture.orientation != Orientation::NoTransforms,
        features,
        thumbnail,
    };
    Ok((Box::new(scanned), remark))
}

fn mode_of(bytes: &[u8]) -> ColourMode {
    match colour_mode(bytes) {
        ColourMode::Other => {
            use image::{ColorType, ImageDecoder};
            let decoder = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format();
            let colour = decoder.ok().and_then(|reader| reader.into_decoder().ok());
            match colour.map(|decoder| decoder.color_type()) {
                Some(ColorType::L8 | ColorType::L16) => ColourMode::Grey,
                Some(ColorType::La8 | ColorType::La16) => ColourMode::GreyAlpha,
                Some(ColorType::Rgb8 | ColorType::Rgb16) => ColourMode::Rgb,
                Some(ColorType::Rgba8 | ColorType::Rgba16) => ColourMode::Rgba,
                _ => ColourMode::Other,
            }
        }
        known => known,
    }
}
