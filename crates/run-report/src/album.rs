//! The small pictures of a page.

use std::{collections::HashMap, io::Cursor};

use image::{
    DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, RgbImage, RgbaImage,
    codecs::jpeg::JpegEncoder, imageops,
};
use rayon::prelude::*;
use taper_data::Dataset;
use taper_model::{ActivationMap, Classifier, Input};
use taper_predict::reduced;
use taper_report::page::{self, Thumbnail, heat};

/// The longer side of a small picture in pixels.
const SIDE: u32 = 220;
const QUALITY: u8 = 78;
/// A page's pictures take no more bytes than this, of which base64 makes a third more.
const MOST_BYTES: usize = 3_400_000;
/// Files that are read for a page take no more bytes than this share of the data set, within these
/// bounds: large pictures take long to decode.
const READ: u64 = 16;
const LEAST_READ: u64 = 2_000_000;
const MOST_READ: u64 = 24_000_000;
/// Pictures whose sizes stand for those of all.
const MEASURED: usize = 400;
/// The least size of the picture that a map is enlarged to, in pixels.
const MAP_SIDE: u32 = 56;

/// Gathers the pictures of a page, each once, up to a number and a size.
#[derive(Debug)]
pub(crate) struct Album<'a> {
    dataset: &'a Dataset,
    /// What maps come from, if there are to be any.
    classifier: Option<&'a Classifier>,
    thumbnails: Vec<Thumbnail>,
    /// The thumbnail of a sample; none if it cannot be read.
    places: HashMap<usize, Option<usize>>,
    bytes: usize,
    /// Bytes that may still be read.
    left: u64,
    most: usize,
}

impl<'a> Album<'a> {
    /// With at most `most` pictures.
    pub(crate) fn new(
        dataset: &'a Dataset,
        classifier: Option<&'a Classifier>,
        most: usize,
    ) -> Self {
        let (thumbnails, places) = (Vec::new(), HashMap::new());
        let every = dataset.len().div_ceil(MEASURED).max(1);
        let measured = (0..dataset.len()).step_by(every).filter_map(|at| dataset.bytes(at));
        let left = (measured.sum::<u64>() * every as u64 / READ).clamp(LEAST_READ, MOST_READ);
        Self { dataset, classifier, thumbnails, places, bytes: 0, left, most }
    }

    /// Adds pictures, given by their places in the data set, as far as there is room. Those that
    /// come first are more important.
    pub(crate) fn add(&mut self, samples: impl IntoIterator<Item = usize>) {
        let mut wanted: Vec<usize> = Vec::new();
        for sample in samples {
            let room = self.most.saturating_sub(self.thumbnails.len() + wanted.len());
            if room == 0 || self.places.contains_key(&sample) || wanted.contains(&sample) {
                continue;
            }
            if let Some(left) = self.left.checked_sub(self.dataset.bytes(sample).unwrap_or(0)) {
                self.left = left;
                wanted.push(sample);
            }
        }
        let own: &Self = self;
        let made: Vec<Option<Thumbnail>> =
            wanted.par_iter().map(|sample| own.thumbnail(*sample)).collect();
        for (sample, thumbnail) in wanted.into_iter().zip(made) {
            let size = thumbnail.as_ref().map_or(0, |own| own.jpeg.len());
            if self.bytes + size > MOST_BYTES {
                break;
            }
            self.bytes += size;
            let place = thumbnail.map(|own| {
                self.thumbnails.push(own);
                self.thumbnails.len() - 1
            });
            self.places.insert(sample, place);
        }
    }

    /// The thumbnail of a picture that was added.
    pub(crate) fn place(&self, sample: usize) -> Option<usize> {
        self.places.get(&sample).copied().flatten()
    }

    pub(crate) fn into_thumbnails(self) -> Vec<Thumbnail> {
        self.thumbnails
    }

    fn thumbnail(&self, sample: usize) -> Option<Thumbnail> {
        let pixels = self.dataset.read(sample).ok()?.pixels;
        // A picture without a map is still a picture.
        let explained =
            self.classifier.and_then(|own| own.explain(Input::Pixels(&pixels), None).ok());
        let map = explained.and_then(|own| drawn(&own.map));
        let small = reduced(&pixels, SIDE);
        let (width, height) = small.dimensions();
        let alt = self.dataset.samples()[sample].id.clone();
        Some(Thumbnail { jpeg: jpeg(&small)?, width, height, alt, map })
    }
}

fn jpeg(picture: &RgbImage) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut content, QUALITY);
    let (width, height) = picture.dimensions();
    encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8).ok()?;
    Some(content)
}

/// A map in colours; none if nothing speaks for the class anywhere.
fn drawn(map: &ActivationMap) -> Option<page::ActivationMap> {
    if map.values.iter().all(|value| *value == 0.0) {
        return None;
    }
    let colours = map.values.iter().flat_map(|value| heat(*value)).collect();
    let small = RgbaImage::from_raw(map.width as u32, map.height as u32, colours)?;
    let (width, height) = small.dimensions();
    let large = imageops::resize(
        &small,
        width.max(MAP_SIDE),
        height.max(MAP_SIDE),
        imageops::FilterType::Triangle,
    );
    let mut png = Cursor::new(Vec::new());
    DynamicImage::ImageRgba8(large).write_to(&mut png, ImageFormat::Png).ok()?;
    Some(page::ActivationMap { png: png.into_inner(), region: map.region })
}
