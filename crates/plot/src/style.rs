//! Colours and text of a chart, as SVG and as pixels.

/// The text colour.
pub(crate) const INK: &str = "#23282d";
/// The colour of explanatory text.
pub(crate) const FADED: &str = "#5f6870";
/// The colour of grid lines.
pub(crate) const GRID: &str = "#e4e7ea";

/// The position of a text relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Type {
    pub(crate) size: f64,
    pub(crate) bold: bool,
    pub(crate) colour: &'static str,
    pub(crate) anchor: Anchor,
    /// Degrees, clockwise.
    pub(crate) turn: f64,
    /// Whether a white rim keeps lines behind it from crossing it.
    pub(crate) rim: bool,
}

impl Type {
    pub(crate) const fn new(size: f64, anchor: Anchor) -> Self {
        Self { size, bold: false, colour: INK, anchor, turn: 0.0, rim: false }
    }

    pub(crate) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(crate) const fn colour(self, colour: &'static str) -> Self {
        Self { colour, ..self }
    }

    pub(crate) const fn rim(self) -> Self {
        Self { rim: true, ..self }
    }

    pub(crate) const fn turn(self, turn: f64) -> Self {
        Self { turn, ..self }
    }
}

/// The colour that `#rrggbb` names.
pub(crate) fn rgb(colour: &str) -> [u8; 3] {
    let part = |at: usize| {
        colour.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(0)
    };
    [part(1), part(3), part(5)]
}
