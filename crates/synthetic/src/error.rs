use taper_core::{Fault, OutOfRange};

/// What can be wrong with a [`SyntheticConfig`](crate::SyntheticConfig) and its data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The set as a data set.
    #[error(transparent)]
    Data(#[from] taper_data::Error),
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_) => true,
            Self::Data(error) => error.is_usage(),
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            Self::Data(error) => error.setting(),
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
