/// What can go wrong when pixels are resampled.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The picture has no pixels.
    #[error("a picture of {width} × {height} pixels cannot be resampled: it has no pixels")]
    NoPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The output has the wrong length.
    #[error("the output has {found} bytes: {width} × {height} RGB pixels need {expected}")]
    Output {
        /// Bytes that were given.
        found: usize,
        /// Bytes that are needed.
        expected: usize,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A preprocessing specification is out of range.
    #[error(transparent)]
    Preprocessing(#[from] taper_core::Error),
    /// The resizer refused.
    #[error("resizing: {0}")]
    Resizer(String),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
