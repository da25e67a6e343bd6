//! The memory of pictures that are no longer needed.

use std::cell::Cell;

use image::RgbImage;

/// A picture's memory is larger than what the allocator keeps at hand: asking for it and giving it
/// back, picture by picture, would cost as much as a good part of the decoding. So every thread
/// keeps the last one.
const SPARE_BYTES: usize = 16 << 20;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Black pixels, in memory that was given back by [`recycle`] if there is some.
pub(crate) fn black(width: u32, height: u32) -> RgbImage {
    let mut bytes = SPARE.take();
    bytes.clear();
    bytes.resize(width as usize * height as usize * 3, 0);
    RgbImage::from_raw(width, height, bytes).unwrap_or_else(|| RgbImage::new(width, height))
}

/// Takes the memory of a picture that is no longer needed.
pub fn recycle(pixels: RgbImage) {
    let bytes = pixels.into_raw();
    if bytes.capacity() <= SPARE_BYTES {
        SPARE.set(bytes);
    }
}
