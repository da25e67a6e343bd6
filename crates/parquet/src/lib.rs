#![doc = include_str!("../README.md")]

mod checks;
mod columns;
mod error;
mod pictures;
mod schema;
mod splits;
mod table;
mod thrift;

pub use columns::{Columns, Wrong, choose_columns};
pub use error::{Error, Result};
pub use pictures::Pictures;
pub use schema::{Column, Kind};
pub use splits::find_splits;
pub use table::{Table, Values};
