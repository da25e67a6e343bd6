/// What can go wrong with a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A picture could not be drawn or written.
    #[error(transparent)]
    Plot(#[from] taper_plot::Error),
    /// A line of a history is malformed.
    #[error("history, line {line}: {problem}: give the history.csv of a run")]
    History {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
