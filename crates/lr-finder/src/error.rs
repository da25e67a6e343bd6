use taper_core::{Fault, OutOfRange};

/// Any error of the user's training step.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong in a range test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// A step failed, or saving or restoring the state that it changes.
    #[error("range test, {during}: {source}")]
    Step {
        /// What was being done.
        during: String,
        /// Why it failed.
        source: StepError,
    },
    /// The sweep ended with too few points for a suggestion.
    #[error(
        "the range test has {found} usable points and needs {needed}: {}",
        advice(*.diverged)
    )]
    TooFewPoints {
        /// How many points with a finite loss there are.
        found: usize,
        /// How many are needed.
        needed: usize,
        /// Whether the loss diverged before the sweep was over.
        diverged: bool,
    },
    /// The loss does not fall anywhere in the sweep.
    #[error(
        "no descent found between the rates {start:e} and {end:e}: the smoothed loss never falls from {from:.4} by more than {fall:.4}: \
         lower `start`, raise `end`, use more steps or a larger batch, or set the learning rate by hand"
    )]
    NoDescent {
        /// The first rate.
        start: f64,
        /// The last rate that was reached.
        end: f64,
        /// The smoothed loss at the beginning.
        from: f64,
        /// How far it should have fallen: by `min_descent`, or three standard errors of the noise.
        fall: f64,
    },
}

fn advice(diverged: bool) -> &'static str {
    if diverged {
        "the loss diverged early: lower `start` and `end`, or use more `steps`"
    } else {
        "use more steps (more epochs or a smaller batch)"
    }
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        matches!(self, Self::Setting(_) | Self::TooFewPoints { diverged: false, .. })
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
