use taper_core::{Fault, OutOfRange};

/// What can go wrong when figures are accumulated.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The outputs' length does not fit the labels.
    #[error(
        "{what} has {found} values, but {samples} labels need {expected}: give one row for each label"
    )]
    Length {
        /// `outputs`, `weights`, `probabilities`, `logits` or `confidence`.
        what: &'static str,
        /// How many values there are.
        found: usize,
        /// How many labels there are.
        samples: usize,
        /// How many values there should be.
        expected: usize,
    },
    /// A label is not one of the classes.
    #[error(
        "label {label} of sample {sample} is not one of the {classes} classes: labels count from 0"
    )]
    Label {
        /// The label.
        label: u32,
        /// Its position in the batch.
        sample: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// A weight is negative or not finite.
    #[error("weight {weight} of sample {sample}: use finite weights of at least 0")]
    Weight {
        /// The weight.
        weight: f32,
        /// Its position in the batch.
        sample: usize,
    },
    /// A row of probabilities is not a distribution.
    #[error("the probabilities of sample {sample} {problem}: use update_logits for raw outputs")]
    Probabilities {
        /// Its position in the batch.
        sample: usize,
        /// What is wrong with them.
        problem: String,
    },
    /// A value is NaN, and has no place in an order.
    #[error("value {sample} of {what} is NaN: leave out samples whose outputs are not finite")]
    NotFinite {
        /// `confidence`, `positive` or `negative`.
        what: &'static str,
        /// Its position.
        sample: usize,
    },
    /// Two metrics of different shape cannot be merged, or class names do not fit.
    #[error("{what}: {left} here, {right} there: both must agree")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// The value of this side.
        left: String,
        /// The value of the other side.
        right: String,
    },
    /// There is no sample, so that no mean exists.
    #[error(
        "no samples (or only samples of weight 0): add at least one batch before asking for figures"
    )]
    Empty,
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

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
