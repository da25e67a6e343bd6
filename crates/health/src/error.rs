use std::{io, path::PathBuf};

/// What can go wrong with an inspection; never what is wrong with the data, which is its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of its range.
    #[error("{field} is {value}: {remedy}")]
    Option {
        /// The option.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        remedy: &'static str,
    },
    /// The embeddings do not belong to the data set.
    #[error("embeddings of {rows} rows, {width} wide, with {values} values: {problem}")]
    Embeddings {
        /// How many pictures they are said to be of.
        rows: usize,
        /// Numbers for each picture.
        width: usize,
        /// Numbers in all.
        values: usize,
        /// What does not hold.
        problem: &'static str,
    },
    /// The pictures are not files of their own, so that no manifest can name them.
    #[error(
        "{place}: a cleaned manifest names files, and these pictures are not files of their own: unpack them into a folder first, then use --fix"
    )]
    NoFiles {
        /// The data set.
        place: String,
    },
    /// A file or folder could not be written.
    #[error("cannot write '{}': {source}: check the disk's free space and the folder's permissions", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The output is there already.
    #[error("'{}' exists: choose another folder, or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A contact sheet could not be drawn.
    #[error(transparent)]
    Plot(#[from] taper_plot::Error),
    /// Somebody asked to stop.
    #[error("interrupted: nothing was written")]
    Interrupted,
}

impl Error {
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Write { path, source }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
