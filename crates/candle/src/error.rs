use taper_core::{Fault, OutOfRange};

/// What can go wrong in building, running or training a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// candle refused an operation.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
    /// The network or its weights.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] taper_metrics::Error),
    /// Losses and optimizers.
    #[error(transparent)]
    Optim(#[from] taper_optim::Error),
    /// The rows that a step is taken on.
    #[error(transparent)]
    Rows(Box<taper_train::Error>),
    /// A layer refused its input.
    #[error("layer '{layer}' of {network}: {problem}")]
    Layer {
        /// The network's name.
        network: String,
        /// The layer's name.
        layer: String,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// A device has no room for a single picture.
    #[error(
        "not even one picture fits into the device's memory ({source}): use smaller pictures, the precision bf16, a smaller \
         network, or the CPU"
    )]
    NoRoom {
        /// What the device said.
        source: Box<Error>,
    },
    /// A device that this build or machine lacks.
    #[error("device '{device}': {problem}")]
    Device {
        /// What was asked for.
        device: String,
        /// Why it is not available, and what to do.
        problem: String,
    },
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_) | Self::Device { .. } | Self::NoRoom { .. } => true,
            Self::Graph(error) => error.is_usage(),
            Self::Optim(error) => error.is_usage(),
            Self::Rows(error) => error.is_usage(),
            Self::Candle(_) | Self::Layer { .. } | Self::Metrics(_) => false,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            Self::Graph(error) => error.setting(),
            Self::Optim(error) => error.setting(),
            Self::Rows(error) => error.setting(),
            _ => None,
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
