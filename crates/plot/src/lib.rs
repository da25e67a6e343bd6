#![doc = include_str!("../README.md")]

mod axis;
mod bars;
mod error;
mod figure;
mod letters;
mod mark;
mod matrix;
mod parallel;
mod picture;
mod raster;
mod sheet;
mod style;
mod svg;
mod system;
mod typeface;
mod unshown;

pub use axis::Scale;
pub use bars::{Bar, Bars};
pub use error::{Error, Result};
pub use figure::{Figure, Line, Marker, Panel, Style, Vertical};
pub use matrix::Matrix;
pub use parallel::{Parallel, ParallelAxis, ParallelLine};
pub use picture::Picture;
pub use sheet::{Sheet, Tile};
pub use unshown::unshown;

/// A name for use within a sentence, for the texts of charts: one that is written from right to
/// left must not pull the words around it along. Names in other scripts come back as they are.
///
/// ```
/// assert_eq!(taper_plot::isolated("cat"), "cat");
/// assert_eq!(taper_plot::isolated("قطة"), "\u{2068}قطة\u{2069}");
/// ```
pub fn isolated(name: &str) -> String {
    svg::isolated(name)
}

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
