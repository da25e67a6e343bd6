use taper_core::{Fault, OutOfRange};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The rows do not fit together.
    #[error("the rows have {found} {what}, not {expected}")]
    Length {
        /// What there are too many or too few of.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A row cannot be used.
    #[error("row {row} {problem}")]
    Row {
        /// Its number, from 0.
        row: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to learn from.
    #[error("the rows' weights sum to 0: there is nothing to learn from")]
    NoRows,
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        matches!(self, Self::Setting(_))
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            _ => None,
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
