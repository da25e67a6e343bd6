use std::path::PathBuf;

use taper_core::{Fault, OutOfRange};

/// What can go wrong in a comparison.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, a model, or the data.
    #[error(transparent)]
    Run(#[from] taper_run::Error),
    /// The models do not have the same classes.
    #[error(
        "'{}' and '{}' have different classes ({only}): only models of the same ones can be compared",
        first.display(), second.display()
    )]
    Classes {
        /// One model.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
        /// Classes that only one of them has.
        only: String,
    },
    /// There are no pictures that both models may be compared on.
    #[error("'{}' and '{}' cannot be compared: {problem}", first.display(), second.display())]
    Pictures {
        /// One model.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Run(error) => error.is_usage(),
            Self::Classes { .. } | Self::Pictures { .. } => true,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Run(error) => error.setting(),
            Self::Classes { .. } | Self::Pictures { .. } => None,
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
