//! The mark that says who wrote a picture.

use taper_core::file::FIGURE_MARK;

/// Where the first chunk of a PNG file, its header, ends.
const HEADER_END: usize = 33;

/// A PNG file with the mark in a text chunk after its header (keyword `Software`, PNG 1.2, 11.3.4).
pub(crate) fn marked(mut png: Vec<u8>) -> Vec<u8> {
    let mut chunk = b"tEXtSoftware\0".to_vec();
    chunk.extend(FIGURE_MARK);
    let length = (chunk.len() as u32 - 4).to_be_bytes();
    let sum = crc32fast::hash(&chunk).to_be_bytes();
    let whole = length.into_iter().chain(chunk).chain(sum);
    let at = HEADER_END.min(png.len());
    png.splice(at..at, whole);
    png
}
