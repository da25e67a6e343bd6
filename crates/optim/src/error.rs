/// What can be wrong with a schedule.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A field is out of its range.
    #[error("schedule: {field} is {value}: {remedy}")]
    Config {
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
