use std::path::PathBuf;

use taper_core::Fault;

/// What can go wrong with texts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tokenizer's file cannot be used.
    #[error("the tokenizer '{}' cannot be used: {problem}", .path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A text contains a mark that only the tokenizer may set.
    #[error("'{text}' contains '{mark}', which marks where a text begins or ends: leave it out")]
    Mark {
        /// The text.
        text: String,
        /// The mark.
        mark: String,
    },
    /// A template cannot be filled.
    #[error("the template '{template}' has no place for the name: put {{}} where it belongs")]
    Template {
        /// The template.
        template: String,
    },
    /// The weights do not fit.
    #[error("the encoder of texts lacks '{tensor}' in the shape {shape:?}")]
    Weights {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A kernel refused its input.
    #[error("the encoder of texts: {0}")]
    Kernel(#[from] taper_kernels::KernelError),
    /// The network, its weights, or its tokenizer.
    #[error(transparent)]
    Zoo(#[from] taper_zoo::Error),
    /// This processor lacks the kernels that were asked for.
    #[error(transparent)]
    Class(#[from] taper_kernels::ClassError),
    /// What the encoder says to a name is no number.
    #[error("the weights '{origin}' are damaged: what they say to '{name}' is no number")]
    NotFinite {
        /// Where the weights come from.
        origin: String,
        /// The first such name.
        name: String,
    },
    /// Two names are one to the network, or a name says nothing.
    #[error("'{name}' and '{other}' are the same to the network: use names that say what differs")]
    SameNames {
        /// The later one.
        name: String,
        /// The earlier one.
        other: String,
    },
    /// A name without anything in it.
    #[error("'{name}' says nothing: use a word for what is in the pictures")]
    EmptyName {
        /// The name.
        name: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// There is nothing to tell apart.
    #[error("there are no texts: give at least one")]
    NoTexts,
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Mark { .. }
            | Self::Template { .. }
            | Self::Class(_)
            | Self::SameNames { .. }
            | Self::EmptyName { .. }
            | Self::NoTexts => true,
            Self::Zoo(error) => error.is_usage(),
            Self::Tokenizer { .. }
            | Self::Weights { .. }
            | Self::NotFinite { .. }
            | Self::Interrupted
            | Self::Kernel(_) => false,
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
