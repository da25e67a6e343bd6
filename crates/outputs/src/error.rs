use std::{io, path::PathBuf};

use taper_core::{Fault, OutOfRange};

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The output folder already exists.
    #[error("the output folder '{}' exists: choose another, or remove it", path.display())]
    FolderExists {
        /// The folder.
        path: PathBuf,
    },
    /// The output file already exists.
    #[error("the file '{}' exists: choose another, or give `overwrite`", path.display())]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// No folder can be made at this path.
    #[error("the output folder '{}' cannot be made ({source}): choose another place", path.display())]
    NoPlace {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A value has no form in JSON.
    #[error("cannot write '{}': {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A file or folder could not be made.
    #[error("cannot {doing} '{}': {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// An I/O error while `doing` something with a path.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Json { .. })
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
