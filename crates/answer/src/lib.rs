#![doc = include_str!("../README.md")]

mod answer;
mod fine_tuned;

pub use answer::{Answer, Counted, FromNames, HeadCount, Outcome};
pub use fine_tuned::FineTuned;
