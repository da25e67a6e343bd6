use std::{io, path::PathBuf};

use taper_core::{AnyFault, Fault, OutOfRange};

/// What can go wrong between a recipe and a trained classifier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the recipe is out of range or contradicts another.
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
    /// An answer cannot be written as JSON.
    #[error("cannot write '{}': {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// There is nothing to classify.
    #[error("{place}: there are no pictures in it that can be read ({})", taper_picture::FORMATS)]
    NoInput {
        /// What was given.
        place: String,
    },
    /// A data set has pictures, but none of them can be decoded.
    #[error("{place}: none of the pictures can be used")]
    NothingUsable {
        /// The data set.
        place: String,
    },
    /// Training failed: the loss became NaN before the first epoch was over.
    #[error(
        "{reason}; no epoch ended with a finite validation loss, so there is nothing to keep: use a lower `learning_rate` (it was {learning_rate})"
    )]
    Diverged {
        /// What happened.
        reason: String,
        /// The learning rate.
        learning_rate: f64,
    },
    /// A run folder cannot be continued.
    #[error("'{}' cannot be resumed: {problem}", path.display())]
    Resume {
        /// The folder.
        path: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
    /// Interrupted before there was any result.
    #[error("interrupted")]
    Interrupted,
    /// Interrupted before there was any result, or between the folds of a cross-validation; the run
    /// can be resumed.
    #[error("interrupted before the end; the run '{}' can be resumed", run.display())]
    InterruptedRun {
        /// The run's folder.
        run: PathBuf,
    },
    /// It failed after some training; the run keeps that and can be resumed.
    #[error("{source}; the run '{}' keeps what was trained before and can be resumed", run.display())]
    Broken {
        /// The run's folder.
        run: PathBuf,
        /// What failed.
        source: Box<Error>,
    },
    /// The output exists already, or cannot be made.
    #[error(transparent)]
    Output(#[from] taper_outputs::Error),
    /// The training.
    #[error(transparent)]
    Train(taper_train::Error),
    /// Losses, optimizers, schedules.
    #[error(transparent)]
    Optim(#[from] taper_optim::Error),
    /// The data set.
    #[error(transparent)]
    Data(#[from] taper_data::Error),
    /// The source of a data set.
    #[error(transparent)]
    Source(#[from] taper_sources::Error),
    /// The network of the zoo or its weights.
    #[error(transparent)]
    Zoo(Box<taper_zoo::Error>),
    /// The architecture.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// The head.
    #[error(transparent)]
    Head(#[from] taper_grad::Error),
    /// The trained model.
    #[error(transparent)]
    Model(Box<taper_model::Error>),
    /// The network on a device.
    #[cfg(feature = "candle")]
    #[error(transparent)]
    Device(#[from] taper_candle::Error),
    /// The learning-rate finder.
    #[error(transparent)]
    Finder(Box<taper_lr_finder::Error>),
    /// What a network makes of a picture is no number.
    #[error(
        "the features of '{picture}' are not all finite numbers: the network's weights are damaged, \
         or the `precision` is too low for them"
    )]
    NotFinite {
        /// The first such picture.
        picture: String,
    },
    /// Augmentation.
    #[error(transparent)]
    Augment(#[from] taper_augment::Error),
    /// Preparing a picture.
    #[error(transparent)]
    Picture(#[from] taper_picture::Error),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] taper_metrics::Error),
    /// A callback.
    #[error(transparent)]
    Callback(#[from] taper_callbacks::Error),
    /// A picture of the run.
    #[error(transparent)]
    Report(#[from] taper_report::Error),
    /// A value of the shared vocabulary.
    #[error(transparent)]
    Core(#[from] taper_core::Error),
    /// The inspection of a data set.
    #[error(transparent)]
    Health(#[from] taper_health::Error),
    /// The synthetic data set.
    #[error(transparent)]
    Synthetic(#[from] taper_synthetic::Error),
    /// A file of tensors.
    #[error(transparent)]
    Weights(Box<taper_weights::Error>),
    /// A backbone, whatever it is.
    #[error(transparent)]
    Backbone(#[from] AnyFault),
}

impl Error {
    /// The error of another crate, if it is one: that error knows more.
    fn inner(&self) -> Option<&dyn Fault> {
        Some(match self {
            Self::Setting(error) => error,
            Self::Output(error) => error,
            Self::Train(error) => error,
            Self::Optim(error) => error,
            Self::Data(error) => error,
            Self::Source(error) => error,
            Self::Zoo(error) => error.as_ref(),
            Self::Graph(error) => error,
            Self::Head(error) => error,
            Self::Model(error) => error.as_ref(),
            #[cfg(feature = "candle")]
            Self::Device(error) => error,
            Self::Finder(error) => error.as_ref(),
            Self::Augment(error) => error,
            Self::Metrics(error) => error,
            Self::Callback(error) => error,
            Self::Core(error) => error,
            Self::Health(error) => error,
            Self::Synthetic(error) => error,
            Self::Backbone(error) => error,
            Self::Broken { source, .. } => source.as_ref(),
            Self::RecipeFile { .. }
            | Self::Io { .. }
            | Self::Json { .. }
            | Self::NoInput { .. }
            | Self::NothingUsable { .. }
            | Self::NotFinite { .. }
            | Self::Diverged { .. }
            | Self::Resume { .. }
            | Self::Interrupted
            | Self::InterruptedRun { .. }
            | Self::Picture(_)
            | Self::Report(_)
            | Self::Weights(_) => return None,
        })
    }

    /// An I/O error while `doing` something with a path.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self.inner() {
            Some(inner) => inner.is_usage(),
            None => {
                matches!(self, Self::RecipeFile { .. } | Self::Resume { .. } | Self::NoInput { .. })
            }
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        self.inner().and_then(Fault::setting)
    }
}

impl From<taper_recipe::Error> for Error {
    fn from(error: taper_recipe::Error) -> Self {
        use taper_recipe::Error as Of;
        match error {
            Of::Setting(error) => Self::Setting(error),
            Of::RecipeFile { path, problem } => Self::RecipeFile { path, problem },
            Of::Io { doing, path, source } => Self::Io { doing, path, source },
            Of::Zoo(error) => Self::Zoo(error),
            Of::Graph(error) => Self::Graph(error),
            Of::Train(error) => error.into(),
            Of::Finder(error) => Self::Finder(error),
            Of::Callback(error) => Self::Callback(error),
            Of::Core(error) => Self::Core(error),
            other => Self::Backbone(AnyFault::new(other)),
        }
    }
}

#[cfg(feature = "text")]
impl From<taper_text::Error> for Error {
    fn from(error: taper_text::Error) -> Self {
        match error {
            taper_text::Error::Zoo(error) => error.into(),
            taper_text::Error::Interrupted => Self::Interrupted,
            other => Self::Backbone(AnyFault::new(other)),
        }
    }
}

#[cfg(feature = "download")]
impl From<taper_hub_data::Error> for Error {
    fn from(error: taper_hub_data::Error) -> Self {
        use taper_hub_data::Error as Of;
        match error {
            Of::Source(error) => error.into(),
            Of::Io { doing, path, source } => Self::Io { doing, path, source },
            Of::Interrupted => Self::Interrupted,
        }
    }
}

impl From<taper_train::Error> for Error {
    fn from(error: taper_train::Error) -> Self {
        match error {
            taper_train::Error::Interrupted => Self::Interrupted,
            other => Self::Train(other),
        }
    }
}

// Boxed, since they are large: every result of this crate would be as large as the largest of its
// errors.
impl From<taper_zoo::Error> for Error {
    fn from(error: taper_zoo::Error) -> Self {
        Self::Zoo(Box::new(error))
    }
}

impl From<taper_model::Error> for Error {
    fn from(error: taper_model::Error) -> Self {
        Self::Model(Box::new(error))
    }
}

impl From<taper_lr_finder::Error> for Error {
    fn from(error: taper_lr_finder::Error) -> Self {
        Self::Finder(Box::new(error))
    }
}

impl From<taper_weights::Error> for Error {
    fn from(error: taper_weights::Error) -> Self {
        Self::Weights(Box::new(error))
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
