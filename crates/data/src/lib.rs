#![doc = include_str!("../README.md")]

mod archive;
mod dataset;
mod error;
pub mod fixture;
mod folder;
mod known;
mod layout;
mod loader;
mod manifest;
mod open;
#[cfg(feature = "parquet")]
mod parquet;
mod picture_cache;
mod split;
#[cfg(feature = "parquet")]
mod thrift;

pub use archive::{is_archive, open_archive, open_archives};
pub use dataset::{Content, Dataset, Ignored, PictureSource, Sample, content_sha256};
pub use error::{Error, Result};
pub use folder::{FolderUse, open_folder};
pub use known::{KnownArchive, KnownSet};
pub use loader::{Augment, Batch, Item, Loader, LoaderOptions, Screen};
pub use manifest::{is_manifest, open_manifest};
pub use open::open_path;
#[cfg(feature = "parquet")]
pub use parquet::{is_parquet, open_parquet, open_parquet_files};
pub use picture_cache::CacheOptions;
pub use split::{DEFAULT_FRACTION, Splits, ValChoice};
