use std::path::PathBuf;

use taper_core::{Fault, OutOfRange};

/// What can go wrong in a study over recipes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, a run or a file.
    #[error(transparent)]
    Run(#[from] taper_run::Error),
    /// The study.
    #[error(transparent)]
    Tune(#[from] taper_tune::Error),
    /// A trial broke off the study, which keeps what was done and can be resumed.
    #[error("trial {trial}: {source}; the study '{}' keeps its trials and can be resumed", study.display())]
    Stopped {
        /// The study's folder.
        study: PathBuf,
        /// The trial's number.
        trial: usize,
        /// What failed.
        source: Box<Error>,
    },
}

impl Error {
    fn inner(&self) -> &dyn Fault {
        match self {
            Self::Run(error) => error,
            Self::Tune(error) => error,
            Self::Stopped { source, .. } => source.as_ref(),
        }
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        self.inner().is_usage()
    }

    fn setting(&self) -> Option<&OutOfRange> {
        self.inner().setting()
    }
}

impl From<taper_recipe::Error> for Error {
    fn from(error: taper_recipe::Error) -> Self {
        Self::Run(error.into())
    }
}

impl From<taper_outputs::Error> for Error {
    fn from(error: taper_outputs::Error) -> Self {
        Self::Run(error.into())
    }
}

impl From<OutOfRange> for Error {
    fn from(error: OutOfRange) -> Self {
        Self::Run(error.into())
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
