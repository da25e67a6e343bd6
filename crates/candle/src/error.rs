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
    /// A head's options.
    #[error(transparent)]
    Head(#[from] taper_grad::Error),
    /// A layer refused its input.
    #[error("layer '{layer}' of {network}: {problem}")]
    Layer {
        /// The network's name.
        network: String,
        /// The layer's name.
        layer: String,
        /// What is wrong and what mends it.
        problem: String,
    },
    /// A setting is out of its range.
    #[error("{field} is {value}: {remedy}")]
    Setting {
        /// The setting's name.
        field: &'static str,
        /// What it held.
        value: String,
        /// What it should hold.
        remedy: &'static str,
    },
    /// A device that this build or machine lacks.
    #[error("device '{device}': {problem}")]
    Device {
        /// What was asked for.
        device: String,
        /// Why it is not to be had, and what to do.
        problem: String,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
