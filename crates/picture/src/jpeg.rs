//! JPEG, through `zune-jpeg` directly: straight into RGB, and strictly.

use image::{RgbImage, metadata::Orientation};
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::{JpegDecoder, errors::DecodeErrors};

use crate::{DecodeOptions, Defect, DefectKind, spare::black};

pub(crate) fn decode(
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<(RgbImage, Orientation), Defect> {
    match attempt(bytes, options, true) {
        // Nothing else looks like the end marker at the end of a scan, and in most files it is
        // there.
        Ok(decoded) if ends_with_end(bytes) || is_complete(bytes) => Ok(decoded),
        Ok(_) => Err(truncated()),
        Err(Failure::Refused(defect)) => Err(defect),
        Err(Failure::Decoder(_)) if !ends_with_end(bytes) && !is_complete(bytes) => {
            Err(truncated())
        }
        // Strict mode is meant to find damage in the scan. It also rejects stray bytes between the
        // segments before it, which some cameras leave and every other decoder accepts.
        Err(Failure::Decoder(error)) if error.to_string().contains("between headers") => {
            attempt(bytes, options, false).map_err(|failure| match failure {
                Failure::Refused(defect) => defect,
                Failure::Decoder(error) => damaged(&error),
            })
        }
        Err(Failure::Decoder(error)) => Err(damaged(&error)),
    }
}

enum Failure {
    /// Not worth another attempt.
    Refused(Defect),
    Decoder(DecodeErrors),
}

fn attempt(
    bytes: &[u8],
    options: &DecodeOptions,
    strict: bool,
) -> Result<(RgbImage, Orientation), Failure> {
    let settings = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), settings);
    decoder.decode_headers().map_err(Failure::Decoder)?;
    let Some((width, height)) = decoder.dimensions() else {
        return Err(Failure::Refused(Defect::new(
            DefectKind::Corrupt,
            "the JPEG has no dimensions",
        )));
    };
    // Both fit in 16 bits by the format.
    let (width, height) = (width as u32, height as u32);
    options.check_size(width, height).map_err(Failure::Refused)?;
    let orientation = decoder
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms);
    let mut pixels = black(width, height);
    decoder.decode_into(&mut pixels).map_err(Failure::Decoder)?;
    Ok((pixels, orientation))
}

fn truncated() -> Defect {
    Defect::new(
        DefectKind::Truncated,
        "the JPEG is truncated: its end is missing; fetch or copy the file again",
    )
}

fn damaged(error: &DecodeErrors) -> Defect {
    Defect::new(DefectKind::Corrupt, format!("the JPEG is damaged: {error}"))
}

fn ends_with_end(bytes: &[u8]) -> bool {
    bytes.ends_with(&[0xff, 0xd9])
}

/// Whether the end-of-image marker follows the last scan.
///
/// Segments are skipped by their length (an EXIF thumbnail has an end marker of its own), scans
/// byte by byte. Anything after the end is ignored.
fn is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut in_scan = false;
    loop {
        let Some(at) = rest.iter().position(|b| *b == 0xff) else { return false };
        rest = &rest[at + 1..];
        let Some(&marker) = rest.first() else { return false };
        match marker {
            // Fill bytes: the marker is still to come.
            0xff => continue,
            0xd9 => return true,
            // Stuffed zeros and restarts belong to the scan; 01 and D0–D8 have no length.
            0x00 | 0x01 | 0xd0..=0xd8 => rest = &rest[1..],
            _ => {
                let Some(length) = rest.get(1..3) else { return false };
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                match rest.get(1 + length..) {
                    Some(next) => rest = next,
                    // The length leads past the end of the file: within a scan this may be mere
                    // damage, so keep looking.
                    None if in_scan => rest = &rest[1..],
                    None => return false,
                }
                in_scan |= marker == 0xda;
            }
        }
    }
}
