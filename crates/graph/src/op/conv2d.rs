use serde::{Deserialize, Serialize};

use super::operation::{
    Form, Fusing, Operation, Tensor, View, expect_channels, needs_map, product_tensors,
};
use crate::{FusedOp, Padding, Shape};

/// A two-dimensional convolution. Its weight is `[out_channels, in_channels / groups, kernel,
/// kernel]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2d {
    /// Channels that go in.
    pub in_channels: usize,
    /// Channels that come out.
    pub out_channels: usize,
    /// Side of the square window.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros at the border.
    pub padding: Padding,
    /// Distance between the taps of the window; 1 is an ordinary convolution.
    pub dilation: usize,
    /// Number of independent groups of channels; `in_channels` makes it a depthwise convolution.
    pub groups: usize,
    /// Whether a bias of `[out_channels]` is added.
    pub bias: bool,
}

impl Conv2d {
    /// An ordinary convolution: stride 1, no padding, no dilation, one group, no bias.
    pub fn new(in_channels: usize, out_channels: usize, kernel: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel,
            stride: 1,
            padding: Padding::Symmetric(0),
            dilation: 1,
            groups: 1,
            bias: false,
        }
    }

    /// With another step.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With zeros at the border.
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// In groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// With a bias.
    pub fn bias(self) -> Self {
        Self { bias: true, ..self }
    }
}

impl Conv2d {
    /// Whether each channel is convolved on its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels
    }
}

/// The shape of the output of a window that slides over a map.
pub(super) fn slide(
    input: Shape,
    (kernel, stride, dilation): (usize, usize, usize),
    padding: Padding,
    channels: usize,
) -> Result<Shape, String> {
    let Shape::Map { height, width, .. } = input else { return Err(needs_map(input)) };
    let fit = |n| padding.output(n, kernel, stride, dilation);
    match (fit(height), fit(width)) {
        (Some(height), Some(width)) => Ok(Shape::Map { height, width, channels }),
        _ => Err(format!("a window of {kernel} does not fit into {height} × {width}")),
    }
}

impl Operation for Conv2d {
    fn kind(&self) -> &'static str {
        if self.is_depthwise() { "DepthwiseConv2d" } else { "Conv2d" }
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        expect_channels(inputs[0], self.in_channels)?;
        let window = (self.kernel, self.stride, self.dilation);
        slide(inputs[0], window, self.padding, self.out_channels)
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.out_channels
    }

    fn form(&self, _inputs: &[Form]) -> Form {
        Form::Map
    }

    fn tensors(&self, layer: &str) -> Vec<Tensor> {
        let per_group = self.in_channels / self.groups;
        let shape = vec![self.out_channels, per_group, self.kernel, self.kernel];
        product_tensors(layer, shape, self.bias)
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        let taps = (self.kernel * self.kernel * self.in_channels / self.groups) as u64;
        output.elements() as u64 * (2 * taps + u64::from(self.bias))
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        let Self { kernel, stride, dilation, .. } = *self;
        View::Window { kernel, stride, dilation }
    }

    fn description(&self, _first: bool) -> Option<String> {
        let depthwise = if self.is_depthwise() { "depthwise " } else { "" };
        let stride = if self.stride > 1 { format!(" / {}", self.stride) } else { String::new() };
        Some(format!("{depthwise}{0} × {0}{stride}, {1}", self.kernel, self.out_channels))
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        let op = FusedOp::Conv2d(*self);
        Fusing::Step { op, channels: self.out_channels, bias: self.bias, open: true }
    }
}
