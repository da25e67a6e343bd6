#![doc = include_str!("../README.md")]

#[cfg(feature = "warp")]
mod bilinear;
mod decode;
mod defect;
mod error;
mod file_kind;
#[cfg(feature = "warp")]
mod fill;
#[cfg(feature = "warp")]
mod homography;
mod jpeg;
mod limits;
mod prepare;
mod resizer;
mod spare;
mod tiff;
#[cfg(feature = "warp")]
mod warper;

pub use decode::{
    FORMATS, Picture, decode, decode_file, foreign_format, format_of_extension, looks_like_picture,
    misnamed, over_white, read_file,
};
pub use defect::{Defect, DefectKind, Finding};
pub use error::{Error, Result};
pub use file_kind::{FileKind, unsupported};
#[cfg(feature = "warp")]
pub use fill::Fill;
#[cfg(feature = "warp")]
pub use homography::Homography;
pub use limits::DecodeOptions;
pub use prepare::{Preparer, prepare};
pub use resizer::Resizer;
pub use spare::recycle;
#[cfg(feature = "warp")]
pub use warper::{Quality, Warper};
