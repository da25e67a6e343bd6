use std::{io, path::PathBuf};

use taper_core::{AnyFault, Fault, OutOfRange};

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The operating system refused.
    #[error("cannot {doing} '{}': {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Training cannot resume from a checkpoint.
    #[error("cannot continue from the checkpoint '{}': {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Interrupted before there was anything to keep.
    #[error("interrupted")]
    Interrupted,
    /// Losses and optimizers.
    #[error(transparent)]
    Optim(taper_optim::Error),
    /// Gradients.
    #[error(transparent)]
    Grad(#[from] taper_grad::Error),
    /// The network.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// The learning-rate finder.
    #[error(transparent)]
    Finder(Box<taper_lr_finder::Error>),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] taper_metrics::Error),
    /// A callback.
    #[error(transparent)]
    Callback(#[from] taper_callbacks::Error),
    /// A file of tensors.
    #[error(transparent)]
    Weights(Box<taper_weights::Error>),
    /// An error of a learner, or of the source of its batches.
    #[error(transparent)]
    Other(#[from] AnyFault),
}

impl Error {
    /// Wraps the error of a learner, or of the source of its batches.
    pub fn other(error: impl Fault) -> Self {
        Self::Other(AnyFault::new(error))
    }

    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_) => true,
            Self::Optim(error) => error.is_usage(),
            Self::Grad(error) => error.is_usage(),
            Self::Graph(error) => error.is_usage(),
            Self::Finder(error) => error.is_usage(),
            Self::Callback(error) => error.is_usage(),
            Self::Other(error) => error.is_usage(),
            Self::Io { .. }
            | Self::Checkpoint { .. }
            | Self::Interrupted
            | Self::Metrics(_)
            | Self::Weights(_) => false,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            Self::Optim(error) => error.setting(),
            Self::Grad(error) => error.setting(),
            Self::Graph(error) => error.setting(),
            Self::Finder(error) => error.setting(),
            Self::Callback(error) => error.setting(),
            Self::Other(error) => error.setting(),
            Self::Io { .. }
            | Self::Checkpoint { .. }
            | Self::Interrupted
            | Self::Metrics(_)
            | Self::Weights(_) => None,
        }
    }
}

// A setting out of range stays one, whichever crate found it.
impl From<taper_optim::Error> for Error {
    fn from(error: taper_optim::Error) -> Self {
        match error {
            taper_optim::Error::Setting(setting) => Self::Setting(setting),
            other => Self::Optim(other),
        }
    }
}

// Boxed, since they are large: every result of this crate would be as large as the largest of its
// errors.
impl From<taper_lr_finder::Error> for Error {
    fn from(error: taper_lr_finder::Error) -> Self {
        Self::Finder(Box::new(error))
    }
}

impl From<taper_weights::Error> for Error {
    fn from(error: taper_weights::Error) -> Self {
        Self::Weights(Box::new(error))
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
