//! How large a picture may be.

use crate::{Defect, DefectKind};

/// Limits for decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The largest number of pixels a picture may have; larger ones are refused from their header
    /// alone, without allocating. Default 178,956,970, as a guard against decompression bombs:
    /// above it Pillow raises `DecompressionBombError`.
    pub max_pixels: u64,
    /// The largest encoded size in bytes. Default 256 MiB.
    pub max_bytes: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: 178_956_970, max_bytes: 256 << 20 }
    }
}

impl DecodeOptions {
    /// Whether the picture is within the limits; check this before allocating anything for its
    /// pixels.
    pub(crate) fn check_size(&self, width: u32, height: u32) -> Result<(), Defect> {
        if width == 0 || height == 0 {
            return Err(Defect::new(DefectKind::Corrupt, format!("has {width} × {height} pixels")));
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(Defect::new(
                DefectKind::TooLarge,
                format!(
                    "has {width} × {height} pixels, more than the limit of {}: scale it down, or raise `max_pixels`",
                    self.max_pixels
                ),
            ));
        }
        Ok(())
    }

    /// A file that is larger than the limit.
    pub(crate) fn too_many_bytes(&self, bytes: u64) -> Defect {
        Defect::new(
            DefectKind::TooLarge,
            format!(
                "is {} MiB, more than the limit of {} MiB: save it smaller",
                bytes.div_ceil(1 << 20),
                self.max_bytes >> 20
            ),
        )
    }
}
