#![doc = include_str!("../README.md")]

mod advice;
mod align;
mod by_name;
mod drift;
mod duplicates;
mod embeddings;
mod error;
mod evidence;
mod file;
mod fix;
mod header;
mod health;
mod labels;
mod look;
mod ridge;
mod scan;
mod sheets;
mod table;
mod verify;

pub use by_name::{BadlyNamed, NameFigures, Names};
pub use drift::{Drift, FeatureDrift, STRONG_DRIFT, Strength, told_apart};
pub use duplicates::{Duplicate, Likeness, Variety};
pub use embeddings::Embeddings;
pub use error::{Error, Result};
pub use evidence::Evidence;
pub use fix::{Fixed, NearCopies, fix};
pub use header::ColourMode;
pub use health::{Distribution, Health, Peculiar, Statistics, Watch, inspect, quick};
pub use labels::{LabelError, suspects};
pub use sheets::draw_sheets;
pub use verify::{Comparison, compare};
