//! What compression leaves behind.

use std::{io::Cursor, ops::RangeInclusive};

use image::{ExtendedColorType, ImageFormat, codecs::jpeg::JpegEncoder};
use taper_core::random::Stream;

use crate::{Adjustment, Error, Result, effect::Effect};

macro_rules! docs {
    (factor) => {
        "The lowest quality of JPEG artefacts, 1 to 100, drawn up to 100; default 100, \
         off (`JPEG(quality=(q, 100))`)."
    };
    (adjustment) => {
        "What is left after being saved as JPEG with this quality, 1 to 100, without \
         thinning out colour (`F.jpeg`, but 4:4:4)."
    };
}
pub(super) use docs;

pub(super) const OFF: u8 = 100;
pub(super) const RANGE: RangeInclusive<f32> = 1.0..=100.0;

pub(super) fn draw(lowest: u8, mut stream: Stream) -> Option<Adjustment> {
    (lowest < 100).then(|| {
        let qualities = u32::from(100 - lowest) + 1;
        Adjustment::Jpeg(lowest + stream.below(qualities) as u8)
    })
}

pub(super) fn effect(quality: u8) -> Effect {
    Effect::picture(move |pixels, size| compress(pixels, size, quality))
}

fn compress(pixels: &mut [u8], (width, height): (usize, usize), quality: u8) -> Result<()> {
    let (width, height) = (width as u32, height as u32);
    let fail = |e: image::ImageError| Error::Jpeg(e.to_string());
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100))
        .encode(pixels, width, height, ExtendedColorType::Rgb8)
        .map_err(fail)?;
    let decoded = image::load(Cursor::new(file), ImageFormat::Jpeg).map_err(fail)?.into_rgb8();
    pixels.copy_from_slice(&decoded);
    Ok(())
}
