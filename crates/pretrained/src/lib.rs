#![doc = include_str!("../README.md")]

mod by_name;
mod classifiers;
mod embed;
mod inspect;

pub use by_name::ByName;
pub use classifiers::pretrained_classifier;
pub use embed::{EmbedAnswer, Through, embed};
pub use inspect::{EmbedWith, TextWith, check_fix, inspect};
