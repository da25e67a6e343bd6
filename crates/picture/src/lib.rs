#![doc = include_str!("../README.md")]

mod bilinear;
mod decode;
mod defect;
mod error;
mod fill;
mod homography;
mod jpeg;
mod prepare;
mod resizer;
mod warper;

pub use decode::{
    DecodeOptions, FORMATS, Picture, decode, decode_file, format_of_extension, looks_like_picture,
    misnamed, read_file, recycle,
};
pub use defect::{Defect, DefectKind, Finding};
pub use error::{Error, Result};
pub use fill::Fill;
pub use homography::Homography;
pub use prepare::{Preparer, prepare};
pub use resizer::Resizer;
pub use warper::{Quality, Warper};
