use std::{io, path::PathBuf};

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
    /// A file could not be opened or read.
    #[error("cannot read the weights '{}': {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is in no format that weights are read from.
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
        /// The parser's own words, if it was the parser that refused.
        source: Option<safetensors::SafeTensorError>,
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
    /// A tensor that the network needs has a type of number that cannot be read.
    #[error(
        "tensor '{tensor}' of the weights '{file}' holds {found} numbers: \
         only F32, F16 and BF16 can be read; export the weights as 32-bit floats"
    )]
    ElementType {
        /// The file's path, or the name of embedded weights.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Its type in the words of the safetensors format.
        found: String,
    },
    /// Weights and network do not belong together.
    #[error("the weights '{file}' do not belong to {model}: {source}; {remedy}")]
    Mismatch {
        /// The file's path, or what stands for it.
        file: String,
        /// The model's name.
        model: String,
        /// Everything that is missing, misshapen or unexpected.
        source: Box<taper_graph::Error>,
        /// What helps, e.g. the network that they belong to.
        remedy: String,
    },
    /// A file follows another framework's convention, and that framework's network computes something else.
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
    /// A file in the Hub's cache is not what its name says.
    #[error(
        "the cached weights '{}' are damaged: their SHA-256 is {found} instead of {promised}; \
         delete the file, then it is fetched again", .path.display()
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

fn did_you_mean(nearest: &[&str]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(" (did you mean {}?)", names.join(" or ")),
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
