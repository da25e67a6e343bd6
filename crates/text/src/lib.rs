#![doc = include_str!("../README.md")]

mod encoder;
mod error;
mod prompts;
mod tokenizer;
mod zero_shot;

pub use encoder::TextEncoder;
pub use error::{Error, Result};
pub use prompts::{Prompts, Questions, Watch, class_directions};
pub use tokenizer::Tokenizer;
pub use zero_shot::ZeroShotHead;
