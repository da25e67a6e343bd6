use std::{io, path::PathBuf};

/// What can go wrong with a cache. Damaged rows are not an error: they count as absent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A folder or file could not be read or written.
    #[error("the feature cache '{}' cannot be used: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The numbers of keys and values do not match.
    #[error("{keys} keys need {needed} values, there are {found}")]
    Length {
        /// How many keys.
        keys: usize,
        /// How many values they need.
        needed: usize,
        /// How many there are.
        found: usize,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
