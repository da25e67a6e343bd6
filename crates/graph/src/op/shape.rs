use std::fmt;

use serde::{Deserialize, Serialize};

/// The shape of one picture's activations, without the batch dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shape {
    /// A feature map.
    Map {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Channels.
        channels: usize,
    },
    /// A sequence of vectors, in the order in which attention sees them.
    Tokens {
        /// Tokens.
        count: usize,
        /// Numbers per token.
        width: usize,
    },
    /// A vector of features, after pooling.
    Vector(usize),
}

impl Shape {
    /// The number of channels of a map, the width of a token, or the length of a vector.
    pub fn channels(self) -> usize {
        match self {
            Shape::Map { channels, .. } => channels,
            Shape::Tokens { width, .. } => width,
            Shape::Vector(length) => length,
        }
    }

    /// The positions of a map, the tokens, or 1 for a vector.
    pub fn positions(self) -> usize {
        match self {
            Shape::Map { height, width, .. } => height * width,
            Shape::Tokens { count, .. } => count,
            Shape::Vector(_) => 1,
        }
    }

    /// How many numbers it holds.
    pub fn elements(self) -> usize {
        self.dimensions().iter().product()
    }

    /// Height, width and channels; count and width; or the length.
    pub fn dimensions(self) -> Vec<usize> {
        match self {
            Shape::Map { height, width, channels } => vec![height, width, channels],
            Shape::Tokens { count, width } => vec![count, width],
            Shape::Vector(length) => vec![length],
        }
    }

    /// A description of the shape, for messages.
    pub(crate) fn described(self) -> String {
        match self {
            Shape::Map { .. } => format!("a feature map of {self}"),
            Shape::Tokens { count, width } => format!("{count} tokens of {width}"),
            Shape::Vector(length) => format!("a vector of {length}"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides: Vec<String> = self.dimensions().iter().map(usize::to_string).collect();
        f.pad(&sides.join(" × "))
    }
}
