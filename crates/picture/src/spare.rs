//! The memory of pictures that are no longer needed.

use std::cell::Cell;

use image::RgbImage;

/// A picture's buffer is too large for the allocator to keep: allocating and freeing it for every
/// picture would cost a good part of the decoding time. So every thread keeps its last buffer.
const SPARE_BYTES: usize = 16 << 20;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Black pixels, in memory returned by [`recycle`] if there is any.
pub(crate) fn black(width: u32, height: u32) -> RgbImage {
    let mut bytes = SPARE.take();
    bytes.clear();
    bytes.resize(width as usize * height as usize * 3, 0);
    RgbImage::from_raw(width, height, bytes).unwrap_or_else(|| RgbImage::new(width, height))
}

/// Takes back the memory of a picture that is no longer needed.
pub fn recycle(pixels: RgbImage) {
    let bytes = pixels.into_raw();
    if bytes.capacity() <= SPARE_BYTES {
        SPARE.set(bytes);
    }
}
