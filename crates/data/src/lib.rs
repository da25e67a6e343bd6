#![doc = include_str!("../README.md")]

mod class_key;
mod dataset;
mod error;
pub mod fixture;
mod groups;
mod loader;
mod picture_cache;
mod record;
mod split;
mod window;

pub use class_key::class_key;
pub use dataset::{Content, Dataset, Ignored, PictureSource, Sample, content_sha256};
pub use error::{Error, Result};
pub use loader::{Augment, Batch, Item, Loader, LoaderOptions, Screen};
pub use picture_cache::CacheOptions;
pub use record::DataRecord;
pub use split::{DEFAULT_FRACTION, Splits, ValChoice};
pub use window::Window;
