use std::{io, path::PathBuf};

use taper_core::{Fault, OutOfRange};

/// What can go wrong with a study.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// A search space could not be read.
    #[error("the search space: {0}")]
    Space(String),
    /// A parameter is not in the search space, or does not hold what was asked for.
    #[error("the parameter '{name}' {problem}")]
    Parameter {
        /// The parameter's name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file of the study could not be read or written.
    #[error("{}: {source}: check the disk's free space and the folder's permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A journal is damaged.
    #[error("{}: line {line} {problem}: is this an Optuna journal?", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such study in the journal.
    #[error("{}: there is no study '{name}': it has {known}", path.display())]
    NoStudy {
        /// The journal.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// The names that exist, separated by commas, or `none`.
        known: String,
    },
    /// The study has more than one objective, or another direction.
    #[error("the study '{name}' {problem}")]
    Objectives {
        /// The study.
        name: String,
        /// How it differs.
        problem: &'static str,
    },
    /// There is no such trial, or its state does not allow what was asked for.
    #[error("trial {number} {problem}")]
    Trial {
        /// The trial's number.
        number: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// All points of the grid have been taken.
    #[error("all {0} points of the grid have been taken")]
    GridExhausted(usize),
    /// The objective failed.
    #[error("trial {number}: {source}")]
    Objective {
        /// The trial's number.
        number: usize,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_)
            | Self::Space(_)
            | Self::Parameter { .. }
            | Self::NoStudy { .. }
            | Self::Objectives { .. }
            | Self::GridExhausted(_) => true,
            Self::Io { .. }
            | Self::Journal { .. }
            | Self::Trial { .. }
            | Self::Objective { .. } => false,
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
