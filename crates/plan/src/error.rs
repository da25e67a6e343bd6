use taper_kernels::{ClassError, KernelError};

/// Why a network could not be compiled, or a plan not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The graph refuses the input size, or the weights do not fit.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// The requested class of kernels is not available here.
    #[error("cannot choose kernels")]
    Kernels(#[source] ClassError),
    /// A layer that plans cannot compute.
    #[error("layer '{layer}' ({kind}) cannot be compiled: {reason}")]
    Unsupported {
        /// The layer's name.
        layer: String,
        /// The kind of layer.
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// A kernel refused a layer's shape or weights.
    #[error("layer '{layer}' cannot be computed")]
    Layer {
        /// The layer's name.
        layer: String,
        /// What the kernel said.
        #[source]
        source: KernelError,
    },
    /// Options that make no sense.
    #[error("{0}")]
    Options(String),
    /// A buffer of the wrong length.
    #[error("{buffer} holds {actual} values, expected {expected} for {n} pictures")]
    BufferLength {
        /// `pixels` or `output`.
        buffer: &'static str,
        /// Values that are needed.
        expected: usize,
        /// Values that were given.
        actual: usize,
        /// Pictures.
        n: usize,
    },
    /// A workspace that was made for another plan.
    #[error("this workspace was made for another plan")]
    ForeignWorkspace,
}

/// A result with this crate's [`PlanError`].
pub type Result<T> = std::result::Result<T, PlanError>;
