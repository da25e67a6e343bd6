#![doc = include_str!("../README.md")]

mod error;
mod json;
mod out_file;
mod out_folder;

pub use error::{Error, Result};
pub use json::write_json;
pub use out_file::{OutFile, check_extension};
pub use out_folder::{OutFolder, remove_empty_parents};
