#![doc = include_str!("../README.md")]

mod checks;
mod error;
mod pictures;
mod schema;
mod table;
mod thrift;

pub use error::{Error, Result};
pub use pictures::Pictures;
pub use schema::{Column, Kind};
pub use table::{Table, Values};
