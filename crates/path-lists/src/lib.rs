#![doc = include_str!("../README.md")]

mod places;
mod text;

use std::path::PathBuf;

pub use places::{find_files, plain};
pub use text::{
    LineNumbers, decode, delimiter, entries, is_picture, path_and_label, path_of_line,
    told_delimiter,
};

/// Why it cannot be told where the files of a list are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the files exists.
    #[error("none of the {count} file(s) of '{}' exists, such as '{first}'", path.display())]
    NoFiles {
        /// The list.
        path: PathBuf,
        /// How many files it names.
        count: usize,
        /// The first of them.
        first: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Several folders have them.
    #[error("{}: {problem}", path.display())]
    Ambiguous {
        /// The list.
        path: PathBuf,
        /// Which folders, and what to do.
        problem: String,
    },
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
