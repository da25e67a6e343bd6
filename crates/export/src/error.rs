use taper_core::{Fault, OutOfRange};

/// Why a model could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model cannot be opened.
    #[error(transparent)]
    Run(#[from] taper_run::Error),
    /// The network cannot be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] taper_onnx::Error),
    /// timm has no such network, so a file with its names would fit nothing.
    #[error("'{file}' cannot be written with timm's names: {problem}")]
    NotOfTimm {
        /// The model.
        file: String,
        /// Why, and what to do instead.
        problem: String,
    },
}

impl From<OutOfRange> for Error {
    fn from(setting: OutOfRange) -> Self {
        Self::Run(setting.into())
    }
}

impl From<taper_model::Error> for Error {
    fn from(error: taper_model::Error) -> Self {
        Self::Run(error.into())
    }
}

impl From<taper_outputs::Error> for Error {
    fn from(error: taper_outputs::Error) -> Self {
        Self::Run(error.into())
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Run(error) => error.is_usage(),
            Self::Onnx(error) => error.is_usage(),
            // Another format would do.
            Self::NotOfTimm { .. } => true,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Run(error) => error.setting(),
            Self::Onnx(error) => error.setting(),
            Self::NotOfTimm { .. } => None,
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
