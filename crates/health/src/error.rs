use std::{io, path::PathBuf};

use taper_core::{Fault, OutOfRange};

/// What can go wrong with an inspection. Problems with the data are not errors: they are its
/// result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The embeddings do not belong to the data set.
    #[error("embeddings of {rows} rows, {width} wide, with {values} values: {problem}")]
    Embeddings {
        /// The number of pictures that they are supposed to belong to.
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
        "{place}: a cleaned manifest names files, and these pictures are not files of their own: unpack them into a folder first, then use `fix`"
    )]
    NoFiles {
        /// The data set.
        place: String,
    },
    /// All pictures would be left out.
    #[error("{place}: every picture would be left out, so no manifest is written: see '{}' for the reasons, and correct the labels or splits first", list.display())]
    NothingKept {
        /// The data set.
        place: String,
        /// The list of the pictures with the reasons.
        list: PathBuf,
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

impl Fault for Error {
    fn is_usage(&self) -> bool {
        matches!(self, Self::Setting(_) | Self::NoFiles { .. } | Self::Exists { .. })
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            _ => None,
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
