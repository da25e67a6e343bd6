use std::{io, path::PathBuf};

use taper_core::{Fault, OutOfRange, Split};

use taper_picture::Finding;

/// What can go wrong with a data set as a whole, or with the request for it.
///
/// What is wrong with a single picture is a [`Defect`](taper_picture::Defect): it is reported, and
/// only in strict mode does it become an [`Error::Refused`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An I/O error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no picture anywhere below the folder.
    #[error("{}: no pictures found: put them into one folder per class, as {}", path.display(), taper_picture::FORMATS)]
    NoPictures {
        /// The folder that was searched.
        path: PathBuf,
    },
    /// A class occurs in a split but cannot be learned, as the training split lacks it.
    #[error("{}: class '{class}' is only in {split}, not in train: a network cannot learn it; add training pictures, remove the folder, or correct its name{}", path.display(), near(nearest))]
    NotInTrain {
        /// The class's folder.
        path: PathBuf,
        /// The class.
        class: String,
        /// The split that has it.
        split: Split,
        /// Training classes with nearly the same name.
        nearest: Vec<String>,
    },
    /// A classifier needs at least two classes.
    #[error("{}: only one class, '{class}': a classifier needs at least two, each in its own folder", path.display())]
    OneClass {
        /// The data set.
        path: PathBuf,
        /// The only class.
        class: String,
    },
    /// There are splits, but none to train on.
    #[error("{}: there is {found} but nothing to train on: add a split train, or give class folders only, which are split at random", path.display())]
    NoTrain {
        /// The data set.
        path: PathBuf,
        /// The splits that are there.
        found: String,
    },
    /// The data set has a class that the model does not know.
    #[error("{place}: the model does not know the class '{class}'; it knows {known}")]
    UnknownClass {
        /// The data set.
        place: String,
        /// The class.
        class: String,
        /// The model's classes.
        known: String,
    },
    /// The choice of validation pictures cannot be understood.
    #[error(
        "validation choice '{value}': use val, test, auto, or a fraction between 0 and 1 such as 0.15"
    )]
    ValChoice {
        /// What was asked for.
        value: String,
    },
    /// The chosen split does not exist in this data set.
    #[error(
        "{place}: there is no split {split}: it has {available}; choose one of these, or a fraction of train such as 0.15"
    )]
    NoSplit {
        /// The data set.
        place: String,
        /// The split that was asked for.
        split: Split,
        /// The splits that exist.
        available: String,
    },
    /// A class has too few pictures to be in every split.
    #[error(
        "{place}: class '{class}' has {found} usable picture(s) for {splits}, at least {needed} are needed: add pictures or remove the class"
    )]
    TooFew {
        /// The data set.
        place: String,
        /// The class.
        class: String,
        /// How many pictures it has.
        found: usize,
        /// How many it needs.
        needed: usize,
        /// What they are needed for, e.g. `train and val`.
        splits: String,
    },
    /// Not one of a class's pictures in a split can be used.
    #[error(
        "{place}: none of the {count} {split} picture(s) of class '{class}' can be used, such as {example}: repair or replace them, or remove the class"
    )]
    NoneUsable {
        /// The data set.
        place: String,
        /// The class.
        class: String,
        /// The split.
        split: Split,
        /// How many pictures it has there.
        count: usize,
        /// The first of them, and what is wrong with it.
        example: String,
    },
    /// Strict mode, and some pictures cannot be used.
    #[error("{place}: {}{}; in strict mode nothing is left out: repair or remove {}, or turn strict mode off", findings.first().map_or(String::new(), |f| format!("{}: {}", f.path, f.reason)), more(findings.len()), if findings.len() == 1 { "it" } else { "them" })]
    Refused {
        /// The data set.
        place: String,
        /// The pictures, at least one.
        findings: Vec<Finding>,
    },
    /// An expression for groups cannot be used.
    #[error("`group_by` '{expression}': {problem}")]
    GroupBy {
        /// The regular expression.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A class has too few groups to be in every split.
    #[error(
        "{place}: the pictures of class '{class}' are in {found} group(s), at least {needed} are needed: group more finely, or add pictures"
    )]
    TooFewGroups {
        /// The data set.
        place: String,
        /// The class.
        class: String,
        /// How many groups its pictures are in.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// A sample's index is past the end of the data set.
    #[error("{place}: there is no picture number {index}, it has {len}")]
    NoSample {
        /// The data set.
        place: String,
        /// The index that was asked for.
        index: usize,
        /// How many samples there are.
        len: usize,
    },
    /// A preprocessing specification is out of range, or a picture cannot be resized for the
    /// network.
    #[error(transparent)]
    Picture(#[from] taper_picture::Error),
    /// A view of a picture cannot be made.
    #[error("augmenting a picture: {0}")]
    View(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn near(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(" (train has '{}')", names.join("', '")),
    }
}

fn more(n: usize) -> String {
    if n > 1 { format!(" (and {} more)", n - 1) } else { String::new() }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_)
            | Self::ValChoice { .. }
            | Self::NoSplit { .. }
            | Self::GroupBy { .. }
            | Self::UnknownClass { .. } => true,
            Self::Io { .. }
            | Self::NoPictures { .. }
            | Self::NotInTrain { .. }
            | Self::OneClass { .. }
            | Self::NoTrain { .. }
            | Self::TooFew { .. }
            | Self::NoneUsable { .. }
            | Self::Refused { .. }
            | Self::TooFewGroups { .. }
            | Self::NoSample { .. }
            | Self::Picture(_)
            | Self::View(_) => false,
        }
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
