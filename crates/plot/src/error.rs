use std::{io, path::PathBuf};

/// What can go wrong with a chart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The chart could not be turned into pixels.
    #[error("drawing a picture: {0}")]
    Raster(String),
    /// The pixels would be too many, or none.
    #[error("a scale of {0}: use a scale above 0 that gives at most 16384 pixels a side")]
    Scale(f32),
    /// The matrix is not square, or does not have one name for each row.
    #[error(
        "a matrix of {rows} rows with {names} names: give one name and as many columns for each row"
    )]
    Matrix {
        /// How many rows there are.
        rows: usize,
        /// How many names there are.
        names: usize,
    },
    /// A file could not be written.
    #[error("{}: {source}: check the disk's free space and the folder's permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
