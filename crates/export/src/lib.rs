#![doc = include_str!("../README.md")]

mod error;
mod export;
mod onnx;
mod repvgg;
mod timm;
mod web;

pub use error::{Error, Result};
pub use export::{Exported, Format, Port, TimmOptions, export};
pub use web::{ExportedFile, ExportedWeb, WebOptions, export_web};
