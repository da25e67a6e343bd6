use taper_core::{Fault, OutOfRange};

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
    /// A policy's numbers cannot be understood, or are out of range.
    #[error(
        "augmentation policy '{name}': write rand-augment:N,M with 1 to {most_operations} operations N and a magnitude M of 0 to {most_magnitude}, e.g. rand-augment:2,9"
    )]
    PolicyNumbers {
        /// What was asked for.
        name: String,
        /// The most operations.
        most_operations: u8,
        /// The largest magnitude.
        most_magnitude: u8,
    },
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// A batch does not have the shape that it should have.
    #[error("mixing a batch: {found} values do not divide into {pictures} pictures of {each}")]
    Batch {
        /// Values that were given.
        found: usize,
        /// Pictures that there should be.
        pictures: usize,
        /// Values of each.
        each: usize,
    },
    /// A label is not one of the classes.
    #[error("the label {label} is not one of {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// Pixels could not be brought to their places.
    #[error(transparent)]
    Resample(#[from] taper_picture::Error),
    /// A picture could not be compressed as JPEG, e.g. because it has more than 65,535 pixels a
    /// side.
    #[error("JPEG artefacts: {0}")]
    Jpeg(String),
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        matches!(self, Self::Setting(_) | Self::UnknownPolicy { .. } | Self::PolicyNumbers { .. })
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
