use taper_core::Fault;

/// What can go wrong in building or training a head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer cannot be trained here, or its input does not fit.
    #[error("layer '{layer}' of {network}: {problem}")]
    Layer {
        /// The network's name.
        network: String,
        /// The layer's name.
        layer: String,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// The length of a buffer does not match the shapes.
    #[error("{what} has {found} values, needed {needed}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        found: usize,
        /// What it should be.
        needed: usize,
    },
    /// The network or its weights.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// A kernel.
    #[error(transparent)]
    Kernel(#[from] taper_kernels::KernelError),
    /// The processor lacks the kernels that were asked for.
    #[error(transparent)]
    Class(#[from] taper_kernels::ClassError),
}

#[cfg(feature = "network")]
impl Error {
    /// The error of a kernel at a layer.
    pub(crate) fn of_kernel(
        network: &str,
        layer: &str,
        source: taper_kernels::KernelError,
    ) -> Self {
        Self::Layer { network: network.into(), layer: layer.into(), problem: source.to_string() }
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Graph(error) => error.is_usage(),
            Self::Layer { .. } | Self::Length { .. } | Self::Kernel(_) => false,
            Self::Class(_) => true,
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn check_length(what: &'static str, found: usize, needed: usize) -> Result<()> {
    if found == needed { Ok(()) } else { Err(Error::Length { what, found, needed }) }
}
