#![doc = include_str!("../README.md")]

mod archive;
mod dataset;
mod decode;
mod error;
mod finding;
pub mod fixture;
mod folder;
mod jpeg;
mod layout;
mod loader;
mod manifest;
mod open;
mod prepare;
mod sampling;
mod split;

pub use archive::{is_archive, open_archive, open_archives};
pub use dataset::{Content, Dataset, Ignored, PictureSource, Sample, content_sha256};
pub use decode::{DecodeOptions, FORMATS, Picture, decode, decode_file};
pub use error::{Error, Result};
pub use finding::{Defect, DefectKind, Finding};
pub use folder::{FolderUse, open_folder};
pub use loader::{Augment, Batch, Item, Loader, LoaderOptions};
pub use manifest::{is_manifest, open_manifest};
pub use open::open_path;
pub use prepare::{Preparer, prepare};
pub use sampling::{Sampling, class_weights};
pub use split::{DEFAULT_FRACTION, Splits, ValChoice};
