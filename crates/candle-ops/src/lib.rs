#![doc = include_str!("../README.md")]

mod adam;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod custom;
mod dense;
mod dropout;
mod gradient;
mod product;
#[cfg(test)]
mod tests;
mod training;

use candle_core::{DType, Result, Tensor};
use custom::{
    Affine, Depthwise, Finish, GlobalAverage, LayerNorm, MaxPool, Normalise, Pointwise, Unfold,
};
use taper_graph::Activation;

pub use adam::{adam_step, update_moments};
pub use custom::Slide;
pub use dense::Dense;
pub use dropout::dropout_mask;
pub use product::{UNFOLDED_BYTES, product, unfolded};
pub use training::{
    activate, activation_gradient, column_products, column_sums, combine, depthwise_data,
    depthwise_weights, fold, layer_norm_gradient, max_pool_gradient,
};

/// u8 `[n, h, w, 3]` → scale · x + shift, in `channels` channels, those beyond the third 0.
///
/// # Errors
/// If the shape does not fit, or candle fails.
pub fn normalise(
    pixels: &Tensor,
    (scale, shift): ([f32; 3], [f32; 3]),
    channels: usize,
    dtype: DType,
) -> Result<Tensor> {
    pixels.apply_op1_no_bwd(&Normalise { affine: Affine { scale, shift }, channels, dtype })
}

/// `[n, h, w, c]` → `[n · oh · ow, k · k · c]`: the rows of a convolution as a matrix product.
///
/// # Errors
/// If the window does not fit, or candle fails.
pub fn unfold(x: &Tensor, slide: &Slide) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Unfold(*slide))
}

/// The shape of a window's output over maps of this shape, with as many channels.
///
/// # Errors
/// If the window does not fit.
pub fn slid(dims: &[usize], slide: &Slide) -> Result<Vec<usize>> {
    Ok(slide.over(dims)?.output().into_dims())
}

/// Each channel with its own filter: maps, weights f32 `[k · k, c]`, bias f32 `[c]`.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn depthwise(x: &Tensor, weights: &Tensor, bias: &Tensor, slide: &Slide) -> Result<Tensor> {
    x.apply_op3_no_bwd(weights, bias, &Depthwise(*slide))
}

/// A pointwise convolution whose filter stays f32, with bias, residual and activation, rounded
/// once: maps, weights f32 `[in, out]`, bias f32 `[out]`. The residual has the type of the maps and
/// the shape of the output.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn pointwise(
    x: &Tensor,
    weights: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    x.apply_op3_no_bwd(weights, bias, &Pointwise { activation, residual })
}

/// The maximum over each window; what lies outside the map never wins.
///
/// # Errors
/// If the window does not fit, or candle fails.
pub fn max_pool(x: &Tensor, slide: &Slide) -> Result<Tensor> {
    x.apply_op1_no_bwd(&MaxPool(*slide))
}

/// y ← activation(y + bias + residual), in place. The bias is f32, as long as the last dimension;
/// the residual has the shape of y.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn finish(
    y: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<()> {
    match residual {
        Some(residual) => y.inplace_op3(bias, residual, &Finish(activation)),
        None => y.inplace_op2(bias, &Finish(activation)),
    }
}

/// Over the channels of each row, the last dimension: (x − mean) / √(variance + ε) · scale + bias,
/// with the biased variance, as `torch.nn.LayerNorm`. Scale and bias are f32 `[channels]`; the
/// output has the type of the input.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn layer_norm(x: &Tensor, scale: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op3_no_bwd(scale, bias, &LayerNorm { eps })
}

/// `[n, h, w, c]` → f32 `[n, c]`: the mean over all pixels.
///
/// # Errors
/// If it is not a map, or candle fails.
pub fn global_average(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&GlobalAverage)
}

/// A dense convolution through cuDNN: maps, a filter `[out, k, k, c / groups]` of the same type,
/// and zeros on each side, whatever the slide's padding says. `tf32`: f32 may be rounded to TF32.
///
/// # Errors
/// If the shapes do not fit, the maps are not on CUDA, or cuDNN has no kernel for it
/// ([`not_supported`]).
#[cfg(feature = "cudnn")]
pub fn cudnn_convolution(
    x: &Tensor,
    filter: &Tensor,
    slide: &Slide,
    padding: usize,
    (groups, tf32): (usize, bool),
) -> Result<Tensor> {
    let conv = cuda::cudnn::Conv { slide: *slide, padding, groups, tf32 };
    x.apply_op2_no_bwd(filter, &conv)
}

/// Whether cuDNN says that it has no kernel for a convolution; not if a part of cuDNN is missing,
/// which the user can fix.
pub fn not_supported(error: &candle_core::Error) -> bool {
    let text = error.to_string();
    let broken = ["INCOMPATIBLE", "UNAVAILABLE", "PREREQUISITE"];
    text.contains("NOT_SUPPORTED") && !broken.iter().any(|sign| text.contains(sign))
}
