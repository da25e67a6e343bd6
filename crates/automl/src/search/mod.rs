//! The best classifier within a time: candidates judged by folds, the best of them trained on
//! everything.

mod costs;
mod judge;
mod near_copies;
mod place;
mod preset;
mod score;
mod searched;
mod stages;
mod steps;

pub use preset::{ModelChoice, Preset, SearchSettings};
pub use score::Gain;
pub use searched::{SearchEnd, SearchReport, Searched, Step, Tried};
pub use steps::{is_search, resume_search, search};
