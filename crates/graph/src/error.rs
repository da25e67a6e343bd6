use taper_core::Fault;

/// What can be wrong with a network or with an input for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer gets an input that it cannot take.
    #[error("layer '{layer}' ({kind}): {problem}")]
    Layer {
        /// The layer's name.
        layer: String,
        /// The kind of layer.
        kind: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// The input picture is too small for the network.
    #[error(
        "an input of {height} × {width} is too small for {network}: its total stride is {stride}; \
         use at least {stride} × {stride} (from {comfortable} on, the last feature map is 4 × 4 or \
         larger)"
    )]
    InputTooSmall {
        /// The network's name.
        network: String,
        /// The input's height in pixels.
        height: usize,
        /// The input's width in pixels.
        width: usize,
        /// The factor by which the network shrinks its input.
        stride: usize,
        /// The input size whose last feature map is 4 × 4.
        comfortable: usize,
    },
    /// The input picture is too small for one of the layers, e.g. for VGG's classifier.
    #[error("layer '{layer}' of {network}: {problem}; use an input of at least {least} × {least}")]
    LayerInputTooSmall {
        /// The network's name.
        network: String,
        /// The layer's name.
        layer: String,
        /// What does not fit.
        problem: String,
        /// The side of the smallest square input that fits, in pixels.
        least: usize,
    },
    /// A network has no layer of this name.
    #[error(
        "{network} has no layer '{layer}'{}; the summary of the network names all of them",
        did_you_mean(.nearest)
    )]
    UnknownLayer {
        /// The network's name.
        network: String,
        /// The name that was asked for.
        layer: String,
        /// The names that come closest, nearest first; may be empty.
        nearest: Vec<String>,
    },
    /// Weights and network do not belong together.
    #[error("the weights do not fit {network}: {mismatch}")]
    Weights {
        /// The network's name.
        network: String,
        /// Everything that does not fit.
        mismatch: Box<crate::Mismatch>,
    },
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::InputTooSmall { .. }
            | Self::LayerInputTooSmall { .. }
            | Self::UnknownLayer { .. } => true,
            Self::Layer { .. } | Self::Weights { .. } => false,
        }
    }
}

fn did_you_mean(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(" (did you mean {}?)", names.join(" or ")),
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
