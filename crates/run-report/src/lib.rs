#![doc = include_str!("../README.md")]

mod advice;
mod album;
mod answers;
mod comparison;
mod evaluation;
mod file;
mod inspection;
mod learning_curve;
mod search;
mod sections;
mod several;
mod training;
mod words;

pub use comparison::comparison_report;
pub use evaluation::{EvaluationOf, evaluation_report};
pub use file::{check_report, write_report};
pub use inspection::inspection_report;
pub use search::add_search;
pub use several::{write_repeated, write_study};
pub use training::{PREDICTIONS, REPORT, Reporter};
