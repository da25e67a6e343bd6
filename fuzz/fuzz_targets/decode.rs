//! Any bytes as a picture: pixels within the limits, or a defect with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_picture::{DecodeOptions, decode};

fuzz_target!(|bytes: &[u8]| {
    let options = DecodeOptions { max_pixels: 4_000_000, ..DecodeOptions::default() };
    match decode(bytes, &options) {
        Ok(picture) => {
            let (width, height) = picture.pixels.dimensions();
            assert!(u64::from(width) * u64::from(height) <= options.max_pixels);
        }
        Err(defect) => assert!(!defect.reason.is_empty()),
    }
});
