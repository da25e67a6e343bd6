#![doc = include_str!("../README.md")]

mod archive;
mod error;
mod folder;
mod known;
mod layout;
mod manifest;
mod open;
mod options;
mod own_files;
#[cfg(feature = "parquet")]
mod parquet;
mod rows;
mod tables;

pub use archive::{open_archive, open_archives};
pub use error::{Error, Result};
pub use folder::{is_hidden, open_folder};
pub use known::{KnownArchive, KnownSet};
pub use manifest::{MANIFESTS, is_manifest, open_manifest};
pub use open::open_path;
pub use options::{FolderUse, LayoutChoice, NO_GROUPS, Reading, SourceOptions};
pub use own_files::{FOLDER_MARK, is_own_file};
#[cfg(feature = "parquet")]
pub use parquet::{is_parquet, open_parquet, open_parquet_files};
pub use taper_archive::{ARCHIVES, is_archive};
pub use taper_names::{columns::path_column, splits::split_named};
