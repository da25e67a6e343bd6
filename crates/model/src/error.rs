use std::{io, path::PathBuf};

use taper_core::{AnyFault, Fault, OutOfRange};
use taper_picture::Defect;

/// What can go wrong with a trained model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a trained model, or is inconsistent.
    #[error("'{file}' cannot be used as a model: {problem}")]
    Artefact {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is something else than a trained model.
    #[error(
        "'{file}' cannot be used as a model: it was not written by Taper as one; give the model.safetensors of a run folder"
    )]
    NotAModel {
        /// The file.
        file: String,
    },
    /// A picture cannot be used.
    #[error("{}: {defect}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        defect: Defect,
    },
    /// A picture given as bytes cannot be used.
    #[error("{}", of_bytes(.0))]
    Bytes(Defect),
    /// An I/O error.
    #[error("cannot write the model '{}': {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no activation map of this model.
    #[error("there is no activation map: {0}")]
    NoMap(String),
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The file with the weights.
    #[error(transparent)]
    Weights(#[from] taper_weights::Error),
    /// The architecture.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// The head.
    #[error(transparent)]
    Head(#[from] taper_grad::Error),
    /// The frozen network.
    #[error(transparent)]
    Plan(#[from] taper_plan::PlanError),
    /// Preparing a picture.
    #[error(transparent)]
    Picture(#[from] taper_picture::Error),
    /// A value of the shared vocabulary.
    #[error(transparent)]
    Core(#[from] taper_core::Error),
    /// Any error of the backbone.
    #[error(transparent)]
    Backbone(#[from] AnyFault),
}

/// Some reasons are whole sentences, others begin with a verb.
fn of_bytes(defect: &Defect) -> String {
    let subject = if defect.reason.starts_with("the ") { "" } else { "the file " };
    format!("{subject}{defect}")
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_) | Self::NotAModel { .. } | Self::NoMap(_) => true,
            Self::Graph(error) => error.is_usage(),
            Self::Head(error) => error.is_usage(),
            Self::Core(error) => error.is_usage(),
            Self::Backbone(error) => error.is_usage(),
            Self::Weights(error) => error.is_usage(),
            Self::Artefact { .. }
            | Self::File { .. }
            | Self::Bytes(_)
            | Self::Io { .. }
            | Self::Plan(_)
            | Self::Picture(_) => false,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            Self::Core(error) => error.setting(),
            Self::Backbone(error) => error.setting(),
            _ => None,
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
