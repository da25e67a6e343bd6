use std::{io, path::PathBuf};

/// What can go wrong between a recipe and a trained classifier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the recipe is out of its range or contradicts another.
    #[error("--{} is {value}: {remedy}", field.replace('_', "-"))]
    Setting {
        /// The recipe's field; the argument has the same name with dashes.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        remedy: String,
    },
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
    /// The output folder is there already.
    #[error("the output folder '{}' exists: choose another with --out, or remove it", path.display())]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// A file is not an artefact of Taper.
    #[error("'{file}' is not a model that Taper has trained: {problem}")]
    Artefact {
        /// The file.
        file: String,
        /// What is missing or wrong.
        problem: String,
    },
    /// A picture cannot be used.
    #[error("{path}: {reason}")]
    Picture {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Training came to nothing: the loss was not a number before the first epoch was over.
    #[error(
        "{reason}; no epoch ended with a finite validation loss, so there is nothing to keep: try a lower --learning-rate (now {learning_rate})"
    )]
    Diverged {
        /// What happened.
        reason: String,
        /// The learning rate.
        learning_rate: f64,
    },
    /// A checkpoint cannot be continued.
    #[error("the checkpoint '{}' cannot be continued: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
    /// A run folder cannot be continued.
    #[error("'{}' cannot be resumed: {problem}", path.display())]
    Resume {
        /// The folder.
        path: PathBuf,
        /// Why not, and what to do.
        problem: String,
    },
    /// Somebody asked to stop before there was anything to show.
    #[error("interrupted")]
    Interrupted,
    /// Somebody asked to stop before there was anything to show, or between the folds of a cross-validation; the run can go on
    /// from here.
    #[error("interrupted before the end; go on with: taper train --resume {}", run.display())]
    InterruptedRun {
        /// The run's folder.
        run: PathBuf,
    },
    /// The head in training.
    #[error(transparent)]
    Head(Box<taper_grad::Error>),
    /// The schedule of the learning rate.
    #[error("schedule: {0}")]
    Schedule(#[from] taper_optim::Error),
    /// The learning-rate finder.
    #[error("learning-rate finder: {0}")]
    Finder(#[source] Box<taper_lr_finder::Error>),
    /// The data set.
    #[error(transparent)]
    Data(#[from] taper_data::Error),
    /// The model or its weights.
    #[error(transparent)]
    Zoo(Box<taper_zoo::Error>),
    /// The network.
    #[error(transparent)]
    Graph(#[from] taper_graph::Error),
    /// The frozen network.
    #[error(transparent)]
    Plan(#[from] taper_plan::PlanError),
    /// The trainable network.
    #[error(transparent)]
    Network(#[from] taper_candle::Error),
    /// candle.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
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
}

impl Error {
    /// Whether the error lies in what was asked for, rather than in what happened: exit code 2 instead of 1.
    pub fn is_usage(&self) -> bool {
        if let Error::Zoo(error) = self {
            return matches!(**error, taper_zoo::Error::UnknownModel { .. });
        }
        if let Error::Head(error) = self {
            return matches!(**error, taper_grad::Error::Setting { .. });
        }
        if let Error::Finder(error) = self {
            use taper_lr_finder::Error::{Config, TooFewPoints};
            return matches!(**error, Config { .. } | TooFewPoints { diverged: false, .. });
        }
        matches!(
            self,
            Error::Setting { .. }
                | Error::RecipeFile { .. }
                | Error::OutputExists { .. }
                | Error::Health(
                    taper_health::Error::NoFiles { .. } | taper_health::Error::Exists { .. }
                )
                | Error::Graph(
                    taper_graph::Error::InputTooSmall { .. }
                        | taper_graph::Error::LayerInputTooSmall { .. }
                        | taper_graph::Error::UnknownLayer { .. }
                )
                | Error::Resume { .. }
                | Error::Schedule(_)
                | Error::Network(
                    taper_candle::Error::Device { .. } | taper_candle::Error::Setting { .. }
                )
                | Error::Data(
                    taper_data::Error::ValChoice { .. }
                        | taper_data::Error::NoSplit { .. }
                        | taper_data::Error::GroupBy { .. }
                )
        )
    }

    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}

// Boxed, since they are large: every result of this crate would be as large as the largest of its errors.
impl From<taper_zoo::Error> for Error {
    fn from(error: taper_zoo::Error) -> Self {
        Error::Zoo(Box::new(error))
    }
}

impl From<taper_grad::Error> for Error {
    fn from(error: taper_grad::Error) -> Self {
        Error::Head(Box::new(error))
    }
}

impl From<taper_lr_finder::Error> for Error {
    fn from(error: taper_lr_finder::Error) -> Self {
        Error::Finder(Box::new(error))
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
