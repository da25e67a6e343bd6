use std::path::PathBuf;

use taper_core::Fault;

/// What can go wrong between a model's name and its weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No model of this name is known.
    #[error("unknown model '{name}'{}: the models are {known}", did_you_mean(.nearest))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The names that come closest, nearest first; may be empty.
        nearest: Vec<&'static str>,
        /// All names, separated by commas.
        known: String,
    },
    /// A network that candle-transformers has, and Taper leaves out.
    #[error(
        "'{name}' is not among the networks: {why}; use {instead}, or another of `taper models`"
    )]
    LeftOut {
        /// The name that was asked for.
        name: String,
        /// Why not.
        why: &'static str,
        /// What is like it.
        instead: &'static str,
    },
    /// A weight file cannot be read.
    #[error(transparent)]
    Weights(#[from] taper_weights::Error),
    /// A file follows another framework's convention, and that framework's network computes
    /// something different.
    #[error(
        "the weights '{file}' are {naming}'s and cannot be used for {model}: {why}; \
         give those of timm or torchvision"
    )]
    Naming {
        /// The file's path.
        file: String,
        /// Whose convention it is.
        naming: &'static str,
        /// The model's name.
        model: String,
        /// What differs.
        why: &'static str,
    },
    /// The weights could not be fetched.
    #[error("{source}, or give the weights as a file (those of efficientnet-lite0 are built in)")]
    Fetch {
        /// Why not.
        #[from]
        source: taper_fetch::Error,
    },
    /// A file is the published one of another network.
    #[error("the weights '{file}' are those of {owner}: give `model` {owner}")]
    OtherModel {
        /// The file's path.
        file: String,
        /// Whose weights they are.
        owner: &'static str,
    },
    /// A network was trained without texts.
    #[error("{model} knows no texts: use one of {known}")]
    NoText {
        /// The model's name.
        model: &'static str,
        /// Those that do, separated by commas.
        known: String,
    },
    /// A tokenizer could not be fetched.
    #[error(
        "the tokenizer of {model}: {source}, or put it as tokenizer.json beside the weights and give these as a file"
    )]
    Tokenizer {
        /// The model's name.
        model: &'static str,
        /// Why not.
        source: taper_fetch::Error,
    },
    /// A file in the Hub's cache is not what its name says.
    #[error(
        "the cached file '{}' is damaged: its SHA-256 is {found} instead of {promised}; \
         delete the file, and it will be downloaded again", .path.display()
    )]
    CachedDigest {
        /// The file in the cache.
        path: PathBuf,
        /// The digest that was promised.
        promised: String,
        /// The digest of what is there.
        found: String,
    },
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::UnknownModel { .. } | Self::LeftOut { .. } | Self::NoText { .. } => true,
            Self::Weights(error) => error.is_usage(),
            Self::Naming { .. }
            | Self::OtherModel { .. }
            | Self::Fetch { .. }
            | Self::Tokenizer { .. }
            | Self::CachedDigest { .. } => false,
        }
    }
}

fn did_you_mean(nearest: &[&str]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(" (did you mean {}?)", names.join(" or ")),
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
