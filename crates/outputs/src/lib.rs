#![doc = include_str!("../README.md")]

mod error;
mod out_folder;

pub use error::{Error, Result};
pub use out_folder::{OutFolder, check_extension, check_out_file, remove_empty_parents};
