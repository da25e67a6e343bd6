use std::{io, path::PathBuf};

use taper_core::{Fault, OutOfRange, Split};

/// What can go wrong when a source is opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing lies at the path.
    #[error("{}: there is no such file or folder: check the spelling, or give the folder that holds train/ and test/, or one folder per class", path.display())]
    Missing {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The path leads to a file.
    #[error("{}: this is a file: give the folder that holds train/ and test/, or one folder per class", path.display())]
    NotAFolder {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The path leads to a file that is not a known kind of source.
    #[error("{}: this file is neither a manifest ({}) nor an archive ({}){}: give one of these, or a folder of pictures", path.display(), crate::MANIFESTS, crate::ARCHIVES, if cfg!(feature = "parquet") { " nor Parquet" } else { "" })]
    NotASource {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// An I/O error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There are pictures where only class folders are expected.
    #[error("{}: {count} picture(s), such as '{example}', are not in a class folder: move each into a folder named after its class, or give `label_from` if their names say the class", path.display())]
    LoosePictures {
        /// The folder in which they lie.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// The name of the first.
        example: String,
    },
    /// A folder of a class has no picture.
    #[error("{}: class '{class}' has no pictures{}: add some or remove the folder", path.display(), foreign(unsupported.as_ref()))]
    EmptyClass {
        /// The class's folder.
        path: PathBuf,
        /// The class.
        class: String,
        /// How many files it has in formats that cannot be decoded, and the first of them.
        unsupported: Option<(usize, String)>,
    },
    /// Two folders or files mean the same split.
    #[error("{}: '{first}' and '{second}' both mean the split {split}: if both belong to it, move what is in the folders of one into those of the other; if not, move one out of the data set, or set `layout` to classes if they are classes", path.display())]
    SplitTwice {
        /// The data set.
        path: PathBuf,
        /// The split.
        split: Split,
        /// One of the folders.
        first: String,
        /// The other one.
        second: String,
    },
    /// It cannot be told what the folders are.
    #[error("{}: {problem}", path.display())]
    Ambiguous {
        /// The folder in question.
        path: PathBuf,
        /// What was found, and how to decide.
        problem: String,
    },
    /// A folder cannot be read as a data set, but a manifest in it may be one.
    #[error("{source}; if '{}' lists the pictures{}, give that", manifest.display(), of_split(*others))]
    ManifestBeside {
        /// The manifest.
        manifest: PathBuf,
        /// How many folders of other splits have one too.
        others: usize,
        /// What is wrong with the folder.
        source: Box<Error>,
    },
    /// An archive cannot be read as a data set, but a table in it may list its pictures.
    #[error(
        "{source}; if '{table}' in it lists the pictures and their labels, unpack the archive and give that table"
    )]
    TableInside {
        /// The table.
        table: String,
        /// What is wrong with the archive.
        source: Box<Error>,
    },
    /// Something is missing, and something was passed over.
    #[error("{source} (passed over: {passed})")]
    PassedOver {
        /// What was passed over, and why.
        passed: String,
        /// What is wrong with the rest.
        source: Box<Error>,
    },
    /// Several kinds of sources lie in one folder.
    #[error("{}: it holds {found}: give one of them", path.display())]
    Mixed {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// One of several folders is a data set of its own.
    #[error("{}: the data set seems to be one folder deeper: give {}", path.display(), inner.display())]
    OneDeeper {
        /// The path that was asked for.
        path: PathBuf,
        /// The folder that looks like a data set.
        inner: PathBuf,
    },
    /// An expression for labels cannot be used.
    #[error("`label_from` '{expression}': {problem}")]
    LabelFrom {
        /// The regular expression.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An expression for labels matches no picture.
    #[error("`label_from` '{expression}': it matches no picture; ids are like '{example}'")]
    NoMatch {
        /// The regular expression.
        expression: String,
        /// How many pictures there are.
        count: usize,
        /// The first of them.
        example: String,
    },
    /// A class name cannot be used.
    #[error("{place}: {source}")]
    Classes {
        /// The data set.
        place: String,
        /// What is wrong with the names.
        source: taper_core::Error,
    },
    /// A line of a manifest cannot be understood.
    #[error("{}, line {line}: {problem}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive cannot be read, or cannot be trusted.
    #[error("{}: {problem}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong, and what helps.
        problem: String,
    },
    /// A table cannot be read as a data set.
    #[error("{}: {problem}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// What is wrong, and what helps.
        problem: String,
    },
    /// Columns that were asked for do not exist, or several could be meant.
    #[error("{}: {problem}", path.display())]
    Columns {
        /// The table.
        path: PathBuf,
        /// What is wrong, with the columns that there are.
        problem: String,
    },
    /// A table has no column of labels.
    #[error("{}: {problem}", path.display())]
    NoLabels {
        /// The table.
        path: PathBuf,
        /// The columns that there are, and what helps.
        problem: String,
    },
    /// None of the files that a table lists exists.
    #[error("{}: none of its {count} file(s) exists; the first is '{first}', which was looked for in '{}' and the folders in it: correct the paths, or say with `image_column` which column has them", path.display(), folder.display())]
    NoFiles {
        /// The table.
        path: PathBuf,
        /// How many files it lists.
        count: usize,
        /// The first of them.
        first: String,
        /// Where they were looked for.
        folder: PathBuf,
    },
    /// A file could not be fetched.
    #[error("{0}, or fetch the files by hand and open their folder")]
    Fetch(#[from] taper_fetch::Error),
    /// An option cannot be used with this source.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// The data set as a whole.
    #[error(transparent)]
    Data(#[from] taper_data::Error),
}

impl From<taper_path_lists::Error> for Error {
    fn from(error: taper_path_lists::Error) -> Self {
        match error {
            taper_path_lists::Error::NoFiles { path, count, first, folder } => {
                Self::NoFiles { path, count, first, folder }
            }
            taper_path_lists::Error::Ambiguous { path, problem } => {
                Self::Ambiguous { path, problem }
            }
        }
    }
}

impl From<taper_archive::Error> for Error {
    fn from(error: taper_archive::Error) -> Self {
        match error {
            taper_archive::Error::Missing { path } => Self::Missing { path },
            taper_archive::Error::Io { path, source } => Self::Io { path, source },
            taper_archive::Error::Archive { path, problem } => Self::Archive { path, problem },
            other => Self::Archive { path: PathBuf::new(), problem: other.to_string() },
        }
    }
}

fn of_split(others: usize) -> String {
    match others {
        0 => String::new(),
        _ => format!(
            " of its split, as {others} more in other folders do, write all of them into one table with the columns path, label and split"
        ),
    }
}

fn foreign(unsupported: Option<&(usize, String)>) -> String {
    unsupported.map_or_else(String::new, |(count, example)| {
        format!(
            " that can be read; {count} file(s), such as '{example}', are in formats that cannot"
        )
    })
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Data(error) => error.is_usage(),
            Self::PassedOver { source, .. } => source.is_usage(),
            // Another path is to be given.
            Self::ManifestBeside { .. }
            | Self::TableInside { .. }
            | Self::Missing { .. }
            | Self::NotAFolder { .. }
            | Self::NotASource { .. }
            | Self::Ambiguous { .. }
            | Self::SplitTwice { .. }
            | Self::LoosePictures { .. }
            | Self::Mixed { .. }
            | Self::OneDeeper { .. }
            | Self::LabelFrom { .. }
            | Self::NoMatch { .. }
            | Self::Columns { .. }
            | Self::NoLabels { .. }
            | Self::NoFiles { .. }
            | Self::Setting(_) => true,
            Self::Io { .. }
            | Self::EmptyClass { .. }
            | Self::Classes { .. }
            | Self::Manifest { .. }
            | Self::Archive { .. }
            | Self::Table { .. }
            | Self::Fetch(_) => false,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Data(error) => error.setting(),
            Self::Setting(setting) => Some(setting),
            Self::ManifestBeside { source, .. }
            | Self::TableInside { source, .. }
            | Self::PassedOver { source, .. } => source.setting(),
            _ => None,
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
