//! Shapes of convolutions and pools, checked before anything runs.

use std::fmt;

use crate::KernelError;
use crate::error::bad_shape;

/// Rows and columns of zeros (for pooling: of nothing) around a map, separately for each side.
///
/// TensorFlow's `SAME` pads more at the bottom and right when the sum is odd; PyTorch pads both
/// sides equally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Border {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Border {
    /// The same on all four sides.
    #[must_use]
    pub fn uniform(size: usize) -> Self {
        Self { top: size, bottom: size, left: size, right: size }
    }
}

/// The window that slides over a map: kernel, stride, dilation, padding. All pairs are (vertical,
/// horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Taps, at least 1.
    pub kernel: [usize; 2],
    /// Steps between windows, at least 1.
    pub stride: [usize; 2],
    /// Steps between taps, at least 1.
    pub dilation: [usize; 2],
    /// What surrounds the map.
    pub padding: Border,
}

impl Window {
    /// A square window with stride 1, no dilation and no padding.
    #[must_use]
    pub fn square(kernel: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [1; 2], dilation: [1; 2], padding: Border::default() }
    }

    /// The same window with another stride in both directions.
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// The same window with another dilation in both directions.
    #[must_use]
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = [dilation; 2];
        self
    }

    /// The same window with another padding.
    #[must_use]
    pub fn padding(mut self, padding: Border) -> Self {
        self.padding = padding;
        self
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Height and width of the output over a map of this height and width.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] if a size is zero, does not fit, or is so large that indices
    /// overflow.
    pub fn output(
        &self,
        operation: &'static str,
        input: [usize; 2],
    ) -> Result<[usize; 2], KernelError> {
        const LIMIT: usize = 1 << 24;
        let Border { top, bottom, left, right } = self.padding;
        let before = [top, left];
        let after = [bottom, right];
        let mut output = [0; 2];
        for axis in 0..2 {
            let name = ["height", "width"][axis];
            let numbers = [input[axis], self.kernel[axis], self.stride[axis], self.dilation[axis]];
            if numbers.contains(&0) {
                return Err(bad_shape(
                    operation,
                    format!(
                        "{name}, kernel, stride and dilation must be positive, got {numbers:?}"
                    ),
                ));
            }
            if numbers.iter().chain([&before[axis], &after[axis]]).any(|&n| n > LIMIT) {
                return Err(bad_shape(
                    operation,
                    format!("a size along the {name} is above {LIMIT}"),
                ));
            }
            let extent = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            let padded = input[axis] + before[axis] + after[axis];
            if extent > padded {
                return Err(bad_shape(
                    operation,
                    format!("a window of {extent} does not fit into a padded {name} of {padded}"),
                ));
            }
            output[axis] = (padded - extent) / self.stride[axis] + 1;
        }
        Ok(output)
    }
}

/// The shape of a convolution over one picture; the batch size is given when it runs.
///
/// Input `[n, height, width, in_channels]`, output `[n, out_height, out_width, out_channels]`, both
/// channels-last (NHWC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dShape {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel, stride, dilation and padding.
    pub window: Window,
    /// Groups; both channel counts are multiples of it. Default 1.
    pub groups: usize,
}

impl Conv2dShape {
    /// A convolution with one group.
    #[must_use]
    pub fn new(input: [usize; 2], in_channels: usize, out_channels: usize, window: Window) -> Self {
        Self { input, in_channels, out_channels, window, groups: 1 }
    }

    /// A depthwise convolution: as many groups as channels, one filter each.
    #[must_use]
    pub fn depthwise(input: [usize; 2], channels: usize, window: Window) -> Self {
        Self { input, in_channels: channels, out_channels: channels, window, groups: channels }
    }

    /// A linear layer, as a 1 × 1 convolution over a map of one pixel.
    #[must_use]
    pub fn linear(in_features: usize, out_features: usize) -> Self {
        Self::new([1, 1], in_features, out_features, Window::square(1))
    }

    /// Whether every channel is convolved on its own.
    #[must_use]
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// Height and width of the output.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] if the shape makes no sense.
    pub fn output(&self) -> Result<[usize; 2], KernelError> {
        const OPERATION: &str = "convolution";
        let Self { in_channels, out_channels, groups, .. } = *self;
        let output = self.window.output(OPERATION, self.input)?;
        if in_channels == 0 || out_channels == 0 || groups == 0 {
            return Err(bad_shape(
                OPERATION,
                format!(
                    "channels and groups must be positive, got {in_channels} in, \
                     {out_channels} out, {groups} groups"
                ),
            ));
        }
        if in_channels % groups != 0 || out_channels % groups != 0 {
            return Err(bad_shape(
                OPERATION,
                format!(
                    "{in_channels} channels in and {out_channels} out do not divide into \
                     {groups} groups"
                ),
            ));
        }
        let [oh, ow] = output;
        let too_large = [
            [self.input[0], self.input[1], in_channels],
            [oh, ow, out_channels],
            [self.window.taps(), in_channels / groups, out_channels],
        ]
        .into_iter()
        .any(|sizes| {
            sizes
                .into_iter()
                .try_fold(1_usize, |a, b| a.checked_mul(b))
                .is_none_or(|p| p > isize::MAX as usize / 64)
        });
        if too_large {
            return Err(bad_shape(OPERATION, format!("{self} does not fit into memory")));
        }
        Ok(output)
    }

    /// Values of the input of one picture.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.input[0] * self.input[1] * self.in_channels
    }

    /// Values of the output of one picture.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] as for [`output`](Self::output).
    pub fn output_len(&self) -> Result<usize, KernelError> {
        let [height, width] = self.output()?;
        Ok(height * width * self.out_channels)
    }

    /// Values of the filter: `out_channels × in_channels / groups × kernel height × kernel width`.
    #[must_use]
    pub fn filter_len(&self) -> usize {
        self.out_channels * (self.in_channels / self.groups.max(1)) * self.window.taps()
    }

    /// Floating-point operations per picture of the direct convolution, a multiplication and an
    /// addition counting 2.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] as for [`output`](Self::output).
    pub fn flops(&self) -> Result<u64, KernelError> {
        let [height, width] = self.output()?;
        Ok(2 * (height * width) as u64 * self.filter_len() as u64)
    }
}

impl fmt::Display for Conv2dShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input: [h, w], in_channels, out_channels, window, groups } = self;
        let Window { kernel, stride, dilation, padding } = window;
        write!(f, "{h}×{w}×{in_channels} → {out_channels}, kernel {}×{}", kernel[0], kernel[1])?;
        if *stride != [1, 1] {
            write!(f, ", stride {}×{}", stride[0], stride[1])?;
        }
        if *dilation != [1, 1] {
            write!(f, ", dilation {}×{}", dilation[0], dilation[1])?;
        }
        if *padding != Border::default() {
            let Border { top, bottom, left, right } = padding;
            write!(f, ", padding {top},{bottom},{left},{right}")?;
        }
        if *groups != 1 {
            write!(f, ", {groups} groups")?;
        }
        Ok(())
    }
}
