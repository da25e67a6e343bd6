/// What can be wrong with a value of this crate.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A set of class names is empty, repeats a name or holds an empty one.
    #[error("class names: {0}")]
    ClassNames(String),
    /// A split's name is none of `train`, `val`, `test`.
    #[error("unknown split '{0}': use train, val or test")]
    UnknownSplit(String),
    /// A monitored value's name is known to no metric.
    #[error(
        "unknown monitor '{name}': use one of {known}, or give the mode (min or max) of a metric of your own"
    )]
    UnknownMonitor {
        /// The name that was asked for.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
    },
    /// A field of a preprocessing specification is out of its range.
    #[error("preprocessing: {field} is {value}: {remedy}")]
    Preprocessing {
        /// The field's name.
        field: &'static str,
        /// What it held.
        value: String,
        /// What it should hold.
        remedy: &'static str,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
