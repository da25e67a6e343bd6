use std::{io, path::PathBuf};

use taper_core::Fault;

/// What can be wrong with a file of weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened or read.
    #[error("cannot read the weights '{}': {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not in a supported weight format.
    #[error("'{file}' is {found}, not a safetensors file or a torch checkpoint: {remedy}")]
    Format {
        /// The file's path, or the name of embedded weights.
        file: String,
        /// What the file seems to be.
        found: &'static str,
        /// What helps.
        remedy: &'static str,
    },
    /// A safetensors file is damaged.
    #[error("the weights '{file}' are damaged: {problem}; fetch or export the file again")]
    Damaged {
        /// The file's path, or the name of embedded weights.
        file: String,
        /// What does not hold.
        problem: String,
        /// The parser's own error, if the parser refused it.
        source: Option<serde_json::Error>,
    },
    /// A torch checkpoint is damaged, or more than a dictionary of tensors.
    #[error(
        "cannot read the torch checkpoint '{file}': {problem}; \
         fetch it again, or save model.state_dict() with torch.save or as safetensors"
    )]
    Checkpoint {
        /// The file's path.
        file: String,
        /// What does not hold.
        problem: String,
    },
    /// A tensor that the network needs has a number type that cannot be read.
    #[error(
        "tensor '{tensor}' of the weights '{file}' holds {found} numbers: \
         only F32, F16 and BF16 can be read; export the weights as 32-bit floats"
    )]
    ElementType {
        /// The file's path, or the name of embedded weights.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Its type, as named by the safetensors format.
        found: String,
    },
    /// Weights and network do not belong together.
    #[error("the weights '{file}' do not belong to {model}: {source}; {remedy}")]
    Mismatch {
        /// The file's path, or what stands for it.
        file: String,
        /// The model's name.
        model: String,
        /// Everything that is missing, unexpected or of the wrong shape.
        source: Box<taper_graph::Error>,
        /// The remedy, e.g. the network that they belong to.
        remedy: String,
    },
    /// Tensors that cannot be written as a file.
    #[error("cannot write tensors as safetensors: {0}")]
    Write(String),
}

impl Fault for Error {
    /// Another file is meant: this one does not exist, is of another kind, or belongs to another
    /// network.
    fn is_usage(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Format { .. } | Self::Mismatch { .. } => true,
            Self::Damaged { .. }
            | Self::Checkpoint { .. }
            | Self::ElementType { .. }
            | Self::Write(_) => false,
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
