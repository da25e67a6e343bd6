use taper_core::{Fault, OutOfRange};

/// What can be wrong with a [`SyntheticConfig`](crate::SyntheticConfig).
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        matches!(self, Self::Setting(_))
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
