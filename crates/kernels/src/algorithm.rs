//! How a convolution is computed: chosen by its shape alone.

use std::fmt;

use crate::{Conv2dShape, KernelError};

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Sum over taps and channels, for every shape.
    Direct,
    /// One filter per channel, vectors over channels.
    Depthwise,
    /// Winograd's F(2 × 2, 3 × 3), for 3 × 3 with stride 1: 2.25 times fewer multiplications, as
    /// accurate as the direct sum. The arithmetic is f32, also for bf16 activations.
    WinogradF2,
    /// Winograd's F(4 × 4, 3 × 3), for 3 × 3 with stride 1: 4 times fewer multiplications, about a
    /// digit less accurate. The arithmetic is f32, also for bf16 activations.
    WinogradF4,
}

impl Algorithm {
    /// The algorithm for a shape. It depends on nothing else, so that results can be repeated.
    #[must_use]
    pub fn for_shape(shape: &Conv2dShape) -> Self {
        if shape.is_depthwise() {
            return Self::Depthwise;
        }
        let channels = shape.in_channels.min(shape.out_channels);
        match shape.output() {
            // Below, the transforms cost more than the multiplications that they save.
            Ok([height, width]) if Self::WinogradF4.check(shape).is_ok() && channels >= 32 => {
                if height.min(width) > 2 {
                    Self::WinogradF4
                } else {
                    Self::WinogradF2
                }
            }
            _ => Self::Direct,
        }
    }

    /// Products per tile of a Winograd algorithm; 0 for the others.
    pub(crate) fn positions(self) -> usize {
        match self {
            Self::WinogradF2 => 16,
            Self::WinogradF4 => 36,
            _ => 0,
        }
    }

    pub(crate) fn check(self, shape: &Conv2dShape) -> Result<(), KernelError> {
        let fits = match self {
            Self::Direct => true,
            Self::Depthwise => shape.is_depthwise(),
            Self::WinogradF2 | Self::WinogradF4 => {
                let window = &shape.window;
                let square =
                    [window.kernel, window.stride, window.dilation] == [[3; 2], [1; 2], [1; 2]];
                square && shape.groups == 1
            }
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
            Self::WinogradF2 => "winograd-2x2",
            Self::WinogradF4 => "winograd-4x4",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
