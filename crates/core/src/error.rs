use crate::{Fault, OutOfRange};

/// What can be wrong with a value of this crate.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A set of class names is empty, repeats a name or holds an empty one.
    #[error("class names: {0}")]
    ClassNames(String),
    /// A split's name is not one of `train`, `val`, `test`.
    #[error("unknown split '{0}': use train, val or test")]
    UnknownSplit(String),
    /// A monitored value's name is known to no metric.
    #[error(
        "unknown monitor '{name}': use one of {known}, or give the mode (min or max) of a metric of your own"
    )]
    UnknownMonitor {
        /// The name that was asked for.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::ClassNames(_) => false,
            Self::UnknownSplit(_) | Self::UnknownMonitor { .. } | Self::Setting(_) => true,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            Self::ClassNames(_) | Self::UnknownSplit(_) | Self::UnknownMonitor { .. } => None,
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
