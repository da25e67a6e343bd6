#![doc = include_str!("../README.md")]

mod batcher;
mod connections;
mod error;
mod metrics;
mod models;
mod options;
mod reload;
mod routes;
mod server;

pub use error::{Error, Result};
pub use models::{Opener, Source};
pub use options::{CheckedOptions, ServeOptions};
pub use server::{Server, StopHandle};
