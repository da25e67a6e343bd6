mod asha;
mod median;

pub(crate) use asha::current_rung;
pub use asha::{AshaConfig, CheckedAsha};
pub use median::{CheckedMedian, MedianConfig};

/// Which trials end early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pruning {
    /// None.
    #[default]
    None,
    /// Those whose best value so far is worse than the median of the others at the same step.
    Median(CheckedMedian),
    /// Asynchronous successive halving: trials pause at the end of a rung, and the best ones go
    /// on from there.
    Asha(CheckedAsha),
}
