#![doc = include_str!("../README.md")]

mod archives;
mod error;
mod kind;
mod names;
mod tar;
mod unpack;
mod zip;

pub use archives::{Archives, Listing, lfs_pointer};
pub use error::{Error, Result};
pub use kind::{ARCHIVES, is_archive, stem};
pub use names::with_escapes;
