/// What can be wrong with a [`SyntheticConfig`](crate::SyntheticConfig).
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A field is outside its range.
    #[error("synthetic data set: {field} is {value}: use {low} to {high}")]
    OutOfRange {
        /// The field's name.
        field: &'static str,
        /// What it held.
        value: u32,
        /// The smallest value allowed.
        low: u32,
        /// The largest value allowed.
        high: u32,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
