use taper_core::{Fault, OutOfRange};

/// Why a network could not be written as ONNX.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The graph refuses the input size, or the weights do not fit.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// A layer that cannot be written.
    #[error("layer '{layer}' ({kind}) cannot be written as ONNX: {reason}")]
    Unsupported {
        /// The layer's name.
        layer: String,
        /// The kind of layer.
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// A protocol buffer has at most 2 GiB.
    #[error(
        "the file would have {bytes} bytes, and ONNX files end at 2 GiB: use a smaller network"
    )]
    TooLarge {
        /// How many it would have.
        bytes: usize,
    },
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_) => true,
            Self::Graph(error) => error.is_usage(),
            Self::Unsupported { .. } | Self::TooLarge { .. } => false,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            Self::Graph(error) => error.setting(),
            Self::Unsupported { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
