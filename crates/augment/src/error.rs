/// What can be wrong with an augmentation.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A policy's name is not known.
    #[error("unknown augmentation policy '{name}': use one of {known}{}", nearest.as_ref().map_or(String::new(), |n| format!("; did you mean '{n}'?")))]
    UnknownPolicy {
        /// The name that was asked for.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
        /// The name that comes closest.
        nearest: Option<String>,
    },
    /// A factor is out of its range.
    #[error("augmentation: {field} is {value}: use {low} to {high}")]
    OutOfRange {
        /// The field's name.
        field: &'static str,
        /// What it held.
        value: f32,
        /// The smallest sensible value.
        low: f32,
        /// The largest sensible value.
        high: f32,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
