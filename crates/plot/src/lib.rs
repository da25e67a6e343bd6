#![doc = include_str!("../README.md")]

mod axis;
mod error;
mod figure;
mod mark;
mod matrix;
mod picture;
mod raster;
mod sheet;
mod style;
mod svg;
mod typeface;

pub use axis::Scale;
pub use error::{Error, Result};
pub use figure::{Figure, Line, Marker, Panel, Style, Vertical};
pub use matrix::Matrix;
pub use picture::Picture;
pub use sheet::{Sheet, Tile};

/// Colours that go well together and can be distinguished by colour-blind readers.
pub mod colour {
    /// Training values.
    pub const BLUE: &str = "#2f6fb3";
    /// Validation values.
    pub const ORANGE: &str = "#e07b28";
    /// What was chosen or kept.
    pub const GREEN: &str = "#2a8c55";
    /// What ends or warns.
    pub const RED: &str = "#cc2f36";
    /// A further series.
    pub const PURPLE: &str = "#7e57a8";
    /// A further series.
    pub const TEAL: &str = "#1b8a9c";
    /// For elements in the background.
    pub const GREY: &str = "#8a929a";
}
