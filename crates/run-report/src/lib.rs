#![doc = include_str!("../README.md")]

mod advice;
mod album;
mod answers;
mod learning_curve;
mod sections;
mod training;
mod words;

pub use training::{PREDICTIONS, REPORT, Reporter};
