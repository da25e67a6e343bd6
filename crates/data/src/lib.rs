#![doc = include_str!("../README.md")]

mod dataset;
mod decode;
mod error;
mod finding;
pub mod fixture;
mod folder;
mod jpeg;
mod loader;
mod prepare;
mod split;

pub use dataset::{Content, Dataset, Ignored, PictureSource, Sample, content_sha256};
pub use decode::{DecodeOptions, FORMATS, Picture, decode, decode_file};
pub use error::{Error, Result};
pub use finding::{Defect, DefectKind, Finding};
pub use folder::{FolderUse, open_folder};
pub use loader::{Augment, Batch, Item, Loader, LoaderOptions};
pub use prepare::{Preparer, prepare};
pub use split::{DEFAULT_FRACTION, Splits, ValChoice};
