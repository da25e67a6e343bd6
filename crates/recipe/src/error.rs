use std::{io, path::PathBuf};

use taper_core::{Fault, OutOfRange};

/// What can be wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range or contradicts another.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// A recipe file is not valid.
    #[error("recipe '{}': {problem}", path.display())]
    RecipeFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} '{}': {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The network is not in the zoo.
    #[error(transparent)]
    Zoo(Box<taper_zoo::Error>),
    /// The architecture.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// How it is trained.
    #[error(transparent)]
    Train(#[from] taper_train::Error),
    /// The learning-rate finder.
    #[error(transparent)]
    Finder(Box<taper_lr_finder::Error>),
    /// A callback.
    #[error(transparent)]
    Callback(#[from] taper_callbacks::Error),
    /// A value of the shared vocabulary.
    #[error(transparent)]
    Core(#[from] taper_core::Error),
}

impl Error {
    fn inner(&self) -> Option<&dyn Fault> {
        Some(match self {
            Self::Setting(error) => error,
            Self::Zoo(error) => error.as_ref(),
            Self::Graph(error) => error,
            Self::Train(error) => error,
            Self::Finder(error) => error.as_ref(),
            Self::Callback(error) => error,
            Self::Core(error) => error,
            Self::RecipeFile { .. } | Self::Io { .. } => return None,
        })
    }

    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self.inner() {
            Some(inner) => inner.is_usage(),
            None => matches!(self, Self::RecipeFile { .. }),
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        self.inner().and_then(Fault::setting)
    }
}

// Boxed, since they are large: every result of this crate would be as large as the largest of its
// errors.
impl From<taper_zoo::Error> for Error {
    fn from(error: taper_zoo::Error) -> Self {
        Self::Zoo(Box::new(error))
    }
}

impl From<taper_lr_finder::Error> for Error {
    fn from(error: taper_lr_finder::Error) -> Self {
        Self::Finder(Box::new(error))
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
