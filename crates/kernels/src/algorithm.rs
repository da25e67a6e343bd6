//! How a convolution is computed: chosen by its shape alone.

use std::fmt;

use crate::{Conv2dShape, Element, KernelError};

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Sum over taps and channels, for every shape.
    Direct,
    /// One filter per channel, vectors over channels.
    Depthwise,
}

impl Algorithm {
    /// The algorithm for a shape. It depends on nothing else, so that results can be repeated.
    #[must_use]
    pub fn for_shape<E: Element>(shape: &Conv2dShape) -> Self {
        if shape.is_depthwise() { Self::Depthwise } else { Self::Direct }
    }

    pub(crate) fn check(self, shape: &Conv2dShape) -> Result<(), KernelError> {
        let fits = match self {
            Self::Direct => true,
            Self::Depthwise => shape.is_depthwise(),
        };
        if fits {
            Ok(())
        } else {
            Err(KernelError::UnsupportedAlgorithm {
                algorithm: self.name(),
                shape: shape.to_string(),
            })
        }
    }

    /// The name: `direct`, `depthwise`, ….
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Depthwise => "depthwise",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
