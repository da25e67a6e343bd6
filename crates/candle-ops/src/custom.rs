//! The operations of the forward pass: their settings and shapes. Maps are `[n, height, width,
//! channels]`.

use candle_core::{DType, Result, Shape, Tensor, bail};
use taper_graph::{Activation, Padding};

/// A window that slides over maps; the same struct as in `kernels.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Window {
    pub(crate) n: u32,
    pub(crate) height: u32,
    pub(crate) width: u32,
    pub(crate) channels: u32,
    pub(crate) out_height: u32,
    pub(crate) out_width: u32,
    pub(crate) kernel: u32,
    pub(crate) stride: u32,
    pub(crate) dilation: u32,
    pub(crate) top: u32,
    pub(crate) left: u32,
    pub(crate) activation: u32,
}

/// The normalisation of pixels, per channel: scale · x + shift; the same struct as in `kernels.cu`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub(crate) struct Affine {
    pub(crate) scale: [f32; 3],
    pub(crate) shift: [f32; 3],
}

/// How a window slides, whatever the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slide {
    /// Rows and columns of the window.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels from one tap to the next.
    pub dilation: usize,
    /// What surrounds the map.
    pub padding: Padding,
    /// What a depthwise convolution ends with; other operations ignore it.
    pub activation: Option<Activation>,
}

impl Slide {
    /// The window over maps of this shape.
    pub(crate) fn over(&self, dims: &[usize]) -> Result<Window> {
        let &[n, height, width, channels] = dims else {
            bail!("a window slides over [n, height, width, channels], not {dims:?}")
        };
        let along = |input| self.padding.output(input, self.kernel, self.stride, self.dilation);
        let before =
            |input| self.padding.amounts(input, self.kernel, self.stride, self.dilation).0 as u32;
        let (Some(out_height), Some(out_width)) = (along(height), along(width)) else {
            bail!("a window of {} does not fit into {height} × {width}", self.kernel)
        };
        Ok(Window {
            n: n as u32,
            height: height as u32,
            width: width as u32,
            channels: channels as u32,
            out_height: out_height as u32,
            out_width: out_width as u32,
            kernel: self.kernel as u32,
            stride: self.stride as u32,
            dilation: self.dilation as u32,
            top: before(height),
            left: before(width),
            activation: code(self.activation),
        })
    }
}

impl Window {
    /// The shape of the output.
    pub(crate) fn output(&self) -> Shape {
        let sizes = [self.n, self.out_height, self.out_width, self.channels];
        Shape::from(sizes.map(|size| size as usize).to_vec())
    }

    /// For each output pixel in order, its taps inside the map: (tap, pixel of the input).
    pub(crate) fn visit(
        &self,
        mut each: impl FnMut(usize, &mut dyn Iterator<Item = (usize, usize)>),
    ) {
        let w = *self;
        let mut pixel = 0;
        for n in 0..w.n {
            for oy in 0..w.out_height {
                for ox in 0..w.out_width {
                    let taps = (0..w.kernel).flat_map(|ky| (0..w.kernel).map(move |kx| (ky, kx)));
                    let mut inside = taps.filter_map(|(ky, kx)| {
                        let y = (oy * w.stride + ky * w.dilation).checked_sub(w.top)?;
                        let x = (ox * w.stride + kx * w.dilation).checked_sub(w.left)?;
                        let place = (n * w.height + y) * w.width + x;
                        (y < w.height && x < w.width)
                            .then_some(((ky * w.kernel + kx) as usize, place as usize))
                    });
                    each(pixel, &mut inside);
                    pixel += 1;
                }
            }
        }
    }
}

/// The kernels' code for an activation.
pub(crate) fn code(activation: Option<Activation>) -> u32 {
    match activation {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Relu6) => 2,
        Some(Activation::Gelu) => GELU,
        Some(Activation::QuickGelu) => QUICK_GELU,
        Some(Activation::GeluTanh) => GELU_TANH,
    }
}

pub(crate) const GELU: u32 = 3;
pub(crate) const QUICK_GELU: u32 = 4;
pub(crate) const GELU_TANH: u32 = 5;

/// GELU's approximations are x · σ(a x + b x³); the factors, for their codes.
pub(crate) fn sigmoid_factors(activation: u32) -> Option<[f32; 2]> {
    match activation {
        QUICK_GELU => Some([1.702, 0.0]),
        GELU_TANH => Some([1.595_769_2, 1.595_769_2 * 0.044_715]),
        _ => None,
    }
}

/// u8 `[n, h, w, 3]` → scale · x + shift, in `channels` channels, those beyond the third 0.
pub(crate) struct Normalise {
    pub(crate) affine: Affine,
    pub(crate) channels: usize,
    pub(crate) dtype: DType,
}

impl Normalise {
    pub(crate) fn output(&self, dims: &[usize]) -> Result<Shape> {
        match dims {
            &[n, h, w, 3] => Ok(Shape::from((n, h, w, self.channels))),
            other => bail!("pixels are [n, height, width, 3], not {other:?}"),
        }
    }
}

/// `[n, h, w, c]` → `[n · oh · ow, k · k · c]`: the rows of a convolution as a matrix product.
pub(crate) struct Unfold(pub(crate) Slide);

impl Unfold {
    pub(crate) fn output(window: &Window) -> Shape {
        let [rows, columns] = [
            [window.n, window.out_height, window.out_width],
            [window.kernel, window.kernel, window.channels],
        ]
        .map(|sizes| sizes.iter().map(|&size| size as usize).product::<usize>());
        Shape::from((rows, columns))
    }
}

/// Each channel with its own filter. Takes the maps, weights f32 `[k · k, channels]` and bias f32
/// `[channels]`.
pub(crate) struct Depthwise(pub(crate) Slide);

/// A pointwise convolution whose filter stays f32, with bias, residual and activation, rounded
/// once. Takes maps, weights f32 `[in, out]` and bias f32 `[out]`; the residual has the type of the
/// maps and the shape of the output.
pub(crate) struct Pointwise<'a> {
    pub(crate) activation: Option<Activation>,
    pub(crate) residual: Option<&'a Tensor>,
}

impl Pointwise<'_> {
    /// The output's shape for maps of this shape.
    pub(crate) fn output(
        &self,
        dims: &[usize],
        weights: &[usize],
        bias: &[usize],
    ) -> Result<Shape> {
        let (&[n, height, width, channels], &[inputs, outputs]) = (dims, weights) else {
            bail!("a pointwise convolution of {dims:?} by {weights:?}")
        };
        let shape = [n, height, width, outputs];
        let fits = self.residual.is_none_or(|residual| residual.dims() == shape);
        if inputs != channels || bias != [outputs] || !fits {
            bail!("a pointwise convolution of {dims:?} by {weights:?} and {bias:?}")
        }
        Ok(Shape::from(shape.to_vec()))
    }
}

/// The maximum over each window.
pub(crate) struct MaxPool(pub(crate) Slide);

/// y ← activation(y + bias), or with a residual of the same shape activation(y + bias + residual),
/// in place. The bias is f32, as long as the last dimension.
pub(crate) struct Finish(pub(crate) Option<Activation>);

/// Over the channels of each row, the last dimension: (x − mean) / √(variance + ε) · scale + bias,
/// with the biased variance, as `torch.nn.LayerNorm`. Takes maps or vectors, and scale and bias f32
/// `[channels]`; the output has the type of the input.
pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
}

/// `[n, h, w, c]` → f32 `[n, c]`: the mean over all pixels.
pub(crate) struct GlobalAverage;

/// Runs code for the type of a storage.
macro_rules! by_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F16 => {
                type $T = f16;
                $body
            }
            DType::BF16 => {
                type $T = bf16;
                $body
            }
            other => bail!("maps are f32, f16 or bf16, not {other:?}"),
        }
    };
}
pub(crate) use by_type;
