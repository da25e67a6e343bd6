use taper_core::{Fault, OutOfRange};

/// What can go wrong with losses, optimizers and schedules.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
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
    /// A saved state belongs to a different training run.
    #[error(
        "the optimizer's state lacks '{name}', or has it in another size: give the state of this network"
    )]
    State {
        /// The part of the state.
        name: String,
    },
}

impl Error {
    pub(crate) fn setting(field: &'static str, value: impl ToString, remedy: &str) -> Self {
        OutOfRange::new(field, value, remedy.to_owned()).into()
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_) => true,
            Self::Length { .. } | Self::State { .. } => false,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            Self::Length { .. } | Self::State { .. } => None,
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn check_length(what: &'static str, found: usize, needed: usize) -> Result<()> {
    if found == needed { Ok(()) } else { Err(Error::Length { what, found, needed }) }
}
