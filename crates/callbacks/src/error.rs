use std::{io, path::PathBuf};

use taper_core::{Fault, OutOfRange};

/// What can go wrong in a callback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error("{callback}: {source}")]
    Setting {
        /// The callback's name.
        callback: &'static str,
        /// What is wrong with it.
        source: OutOfRange,
    },
    /// A monitored value's direction is not known.
    #[error("{callback}: {source}")]
    Monitor {
        /// The callback's name.
        callback: &'static str,
        /// What is wrong with it.
        source: taper_core::Error,
    },
    /// Training does not report the monitored value.
    #[error(
        "{callback} monitors '{monitor}', but training reports only {reported}: monitor one of these, or give validation data"
    )]
    MissingMonitor {
        /// The callback's name.
        callback: String,
        /// The value that it monitors.
        monitor: String,
        /// What is reported, separated by commas.
        reported: String,
    },
    /// A history file could not be read or written.
    #[error("{}: {source}: check the disk's free space and the folder's permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A history file that should be continued was not written by this callback.
    #[error("{}: line {line} {problem}: move the file away, or start a new run", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A name cannot be a column of the history.
    #[error(
        "'{0}' cannot be a column of the history: use a name without commas, quotes and line breaks"
    )]
    Column(String),
    /// Saved state does not fit the callbacks.
    #[error("saved state of callbacks: {0}: resume with the recipe of the run that saved it")]
    State(String),
    /// A user's own callback failed.
    #[error("{callback}: {source}")]
    User {
        /// The callback's name.
        callback: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub(crate) fn setting(
        callback: &'static str,
        field: &'static str,
        value: impl ToString,
        remedy: &'static str,
    ) -> Self {
        Self::Setting { callback, source: OutOfRange::new(field, value, remedy) }
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting { .. } | Self::Monitor { .. } | Self::MissingMonitor { .. } => true,
            Self::Io { .. }
            | Self::History { .. }
            | Self::Column(_)
            | Self::State(_)
            | Self::User { .. } => false,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
