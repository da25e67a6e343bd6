use std::fmt;

use serde::{Deserialize, Serialize};

use crate::VisionTransformer;

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
    /// A vector of features, after pooling.
    Vector(usize),
}

impl Shape {
    /// The number of channels of a map, or the length of a vector.
    pub fn channels(self) -> usize {
        match self {
            Shape::Map { channels, .. } => channels,
            Shape::Vector(length) => length,
        }
    }

    /// How many numbers it holds.
    pub fn elements(self) -> usize {
        match self {
            Shape::Map { height, width, channels } => height * width * channels,
            Shape::Vector(length) => length,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Shape::Map { height, width, channels } => format!("{height} × {width} × {channels}"),
            Shape::Vector(length) => length.to_string(),
        };
        f.pad(&text)
    }
}

/// Zeros around a feature map before a window slides over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Padding {
    /// The same number of zeros on all four sides (torch's `padding=n`).
    Symmetric(usize),
    /// TensorFlow's `SAME`: the output is ⌈input / stride⌉; an odd zero goes to the bottom and to the right.
    Same,
}

impl Padding {
    /// Zeros (before, after) along one dimension of length `input`.
    pub fn amounts(
        self,
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> (usize, usize) {
        match self {
            Padding::Symmetric(n) => (n, n),
            Padding::Same => {
                let reach = (kernel - 1) * dilation + 1;
                let total = ((input.div_ceil(stride) - 1) * stride + reach).saturating_sub(input);
                (total / 2, total - total / 2)
            }
        }
    }

    /// The output's length along one dimension, or `None` if the window does not fit once.
    pub fn output(
        self,
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> Option<usize> {
        let (before, after) = self.amounts(input, kernel, stride, dilation);
        let reach = (kernel - 1) * dilation + 1;
        (input + before + after).checked_sub(reach).map(|slack| slack / stride + 1)
    }
}

/// A two-dimensional convolution. Its weight is `[out_channels, in_channels / groups, kernel, kernel]`.
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
    /// Groups of channels that do not see each other; `in_channels` is a depthwise convolution.
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

/// A maximum over a window. The padding never wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// Side of the square window.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Padding at the border; the padded values never win.
    pub padding: Padding,
}

/// A function of each value on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x · Φ(x), with the exact Φ.
    Gelu,
}

/// What a layer does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Op {
    /// The network's picture: a map of this many channels.
    Input {
        /// 3 for RGB.
        channels: usize,
    },
    /// The network's input is already a vector of features: what a head starts from.
    Features {
        /// The backbone's feature width.
        width: usize,
    },
    /// A convolution.
    Conv2d(Conv2d),
    /// Batch normalisation over the channels: `weight`, `bias`, `running_mean`, `running_var`.
    BatchNorm {
        /// Channels.
        channels: usize,
        /// Added to the variance.
        eps: f64,
        /// The share of the batch's own statistics in an update of the running ones (torch's meaning;
        /// 1 − Keras's momentum).
        momentum: f64,
        /// Whether the running variance takes the unbiased estimate (torch) or the biased one (Keras).
        unbiased: bool,
    },
    /// A function of each value.
    Activation(Activation),
    /// Maximum over a sliding window.
    MaxPool(MaxPool),
    /// Mean over all positions of a map: a vector of its channels.
    GlobalAvgPool,
    /// A fully connected layer: `weight` `[out_features, in_features]`, `bias` `[out_features]`.
    Linear {
        /// Length of the vector that goes in.
        in_features: usize,
        /// Length of the vector that comes out.
        out_features: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Sum of two inputs of the same shape.
    Add,
    /// Normalisation over the channels of each position: `weight`, `bias`.
    LayerNorm {
        /// Channels.
        channels: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// From a picture to the class token of a vision transformer. Trainable through candle; frozen plans do not have it.
    VisionTransformer(VisionTransformer),
    /// Each channel times a learned number: `gamma`.
    LayerScale {
        /// Channels.
        channels: usize,
    },
    /// In training, zeroes each value with probability `p` and divides the others by 1 − p.
    Dropout {
        /// Probability of a zero, in [0, 1).
        p: f32,
    },
}

impl Op {
    /// The kind's usual name.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Input { .. } => "Input",
            Op::Features { .. } => "Features",
            Op::Conv2d(c) if c.groups > 1 && c.groups == c.in_channels => "DepthwiseConv2d",
            Op::Conv2d(_) => "Conv2d",
            Op::BatchNorm { .. } => "BatchNorm",
            Op::Activation(Activation::Relu) => "ReLU",
            Op::Activation(Activation::Relu6) => "ReLU6",
            Op::Activation(Activation::Gelu) => "GELU",
            Op::MaxPool(_) => "MaxPool",
            Op::GlobalAvgPool => "GlobalAvgPool",
            Op::Linear { .. } => "Linear",
            Op::Add => "Add",
            Op::LayerNorm { .. } => "LayerNorm",
            Op::VisionTransformer(_) => "VisionTransformer",
            Op::LayerScale { .. } => "LayerScale",
            Op::Dropout { .. } => "Dropout",
        }
    }

    /// How many inputs it takes.
    pub fn arity(&self) -> usize {
        match self {
            Op::Input { .. } | Op::Features { .. } => 0,
            Op::Add => 2,
            _ => 1,
        }
    }

    /// The shape that comes out for the shapes that go in.
    ///
    /// # Errors
    /// A description of what does not fit.
    pub(crate) fn output(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let window = |kernel, stride, padding: Padding, dilation, channels| match inputs[0] {
            Shape::Map { height, width, .. } => {
                let fit = |n| padding.output(n, kernel, stride, dilation);
                match (fit(height), fit(width)) {
                    (Some(height), Some(width)) => Ok(Shape::Map { height, width, channels }),
                    _ => Err(format!("a window of {kernel} does not fit into {height} × {width}")),
                }
            }
            Shape::Vector(n) => Err(format!("needs a feature map, gets a vector of {n}")),
        };
        let expect = |wanted: usize| match inputs[0].channels() {
            found if found == wanted => Ok(()),
            found => Err(format!("needs {wanted} channels, gets {found}")),
        };
        match *self {
            Op::Input { .. } | Op::Features { .. } => Err("an input has no input".into()),
            Op::Conv2d(c) => {
                expect(c.in_channels)?;
                window(c.kernel, c.stride, c.padding, c.dilation, c.out_channels)
            }
            Op::MaxPool(p) => window(p.kernel, p.stride, p.padding, 1, inputs[0].channels()),
            Op::BatchNorm { channels, .. }
            | Op::LayerNorm { channels, .. }
            | Op::LayerScale { channels } => expect(channels).map(|()| inputs[0]),
            Op::Activation(_) | Op::Dropout { .. } => Ok(inputs[0]),
            Op::VisionTransformer(t) => match inputs[0] {
                Shape::Map { channels: 3, .. } => Ok(Shape::Vector(t.width)),
                other => Err(format!("needs a picture of 3 channels, gets {other}")),
            },
            Op::GlobalAvgPool => match inputs[0] {
                Shape::Map { channels, .. } => Ok(Shape::Vector(channels)),
                Shape::Vector(n) => Err(format!("needs a feature map, gets a vector of {n}")),
            },
            Op::Linear { in_features, out_features, .. } => match inputs[0] {
                Shape::Vector(n) if n == in_features => Ok(Shape::Vector(out_features)),
                other => Err(format!("needs a vector of {in_features}, gets {other}")),
            },
            Op::Add if inputs[0] == inputs[1] => Ok(inputs[0]),
            Op::Add => Err(format!("cannot add {} and {}", inputs[0], inputs[1])),
        }
    }

    /// Floating-point operations for one picture; a multiplication with its addition counts as two.
    pub(crate) fn flops(&self, input: Option<Shape>, output: Shape) -> u64 {
        let out = output.elements() as u64;
        match *self {
            Op::Conv2d(c) => {
                let taps = (c.kernel * c.kernel * c.in_channels / c.groups) as u64;
                out * (2 * taps + u64::from(c.bias))
            }
            Op::Linear { in_features, bias, .. } => {
                out * (2 * in_features as u64 + u64::from(bias))
            }
            Op::BatchNorm { .. } => 2 * out,
            // Mean, variance, scale and shift.
            Op::LayerNorm { .. } => 8 * out,
            Op::VisionTransformer(t) => match input {
                Some(Shape::Map { height, width, .. }) => t.flops(height, width),
                _ => 0,
            },
            Op::Activation(_) | Op::Add | Op::LayerScale { .. } => out,
            Op::MaxPool(p) => out * (p.kernel * p.kernel) as u64,
            Op::GlobalAvgPool => input.map_or(0, |shape| shape.elements() as u64),
            Op::Input { .. } | Op::Features { .. } | Op::Dropout { .. } => 0,
        }
    }
}
