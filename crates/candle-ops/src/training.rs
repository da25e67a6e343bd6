//! What a training needs besides the forward operations, as functions.

use candle_core::{Result, Tensor, bail};
use taper_graph::Activation;

use crate::{
    Slide,
    custom::code,
    gradient::{
        Activated, ActivationGradient, ColumnSums, Combine, DepthwiseData, DepthwiseWeights, Fold,
        LayerNormGradient, MaxPoolGradient, Total,
    },
};

/// The sums over the rows of f32 `[rows, columns]`: `[columns]`.
fn total(sums: &Tensor) -> Result<Tensor> {
    const TOGETHER: usize = 64;
    let mut sums = sums.clone();
    loop {
        let rows = sums.dim(0)?;
        if rows == 1 {
            return sums.flatten_all();
        }
        sums = sums.apply_op1_no_bwd(&Total { groups: rows.div_ceil(TOGETHER) })?;
    }
}

/// The maps' gradient of [`depthwise`](crate::depthwise) over maps of height and width `size`, from
/// that of its output and its weights f32 `[k · k, c]`.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn depthwise_data(
    dy: &Tensor,
    weights: &Tensor,
    slide: &Slide,
    [height, width]: [usize; 2],
) -> Result<Tensor> {
    let (n, _, _, channels) = dy.dims4()?;
    let window = slide.over(&[n, height, width, channels])?;
    if window.output().dims() != dy.dims() || !weights.elem_count().is_multiple_of(channels) {
        bail!("a gradient {:?} of windows over {height} × {width}", dy.dims())
    }
    dy.apply_op2_no_bwd(weights, &DepthwiseData(window))
}

/// The weights' gradient of [`depthwise`](crate::depthwise), f32 `[k · k, c]`, from its input and
/// the gradient of its output.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn depthwise_weights(x: &Tensor, dy: &Tensor, slide: &Slide) -> Result<Tensor> {
    if slide.over(x.dims())?.output().dims() != dy.dims() {
        bail!("a gradient {:?} of windows over {:?}", dy.dims(), x.dims())
    }
    let sums = x.apply_op2_no_bwd(dy, &DepthwiseWeights(*slide))?;
    total(&sums)?.reshape((slide.kernel * slide.kernel, x.dim(3)?))
}

/// The transpose of [`unfold`](crate::unfold): columns `[n · oh · ow, k · k · c]` to maps of the
/// shape `dims`; a pixel is the sum of its copies.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn fold(columns: &Tensor, slide: &Slide, dims: &[usize]) -> Result<Tensor> {
    let window = slide.over(dims)?;
    if columns.dims() != crate::custom::Unfold::output(&window).dims() {
        bail!("columns {:?} of maps {dims:?}", columns.dims())
    }
    columns.apply_op1_no_bwd(&Fold(window))
}

/// The gradient of [`max_pool`](crate::max_pool): each window's goes to its first maximum, row by
/// row, as in torch.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn max_pool_gradient(x: &Tensor, dy: &Tensor, slide: &Slide) -> Result<Tensor> {
    if slide.over(x.dims())?.output().dims() != dy.dims() {
        bail!("a gradient {:?} of windows over {:?}", dy.dims(), x.dims())
    }
    x.apply_op2_no_bwd(dy, &MaxPoolGradient(*slide))
}

/// Over all rows of `[…, c]`, f32 `[c]`: the sums.
///
/// # Errors
/// If candle fails.
pub fn column_sums(a: &Tensor) -> Result<Tensor> {
    let sums = ColumnSums { single: true, shifts: [None; 2] };
    total(&a.apply_op2_no_bwd(a, &sums)?)?.narrow(0, 0, a.dim(candle_core::D::Minus1)?)
}

/// Over all rows of `[…, c]`, two times f32 `[c]`: the sums of a − shift, and those of its products
/// with b − shift. Shifts are f32 `[c]`.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn column_products(
    (a, shift_a): (&Tensor, Option<&Tensor>),
    (b, shift_b): (&Tensor, Option<&Tensor>),
) -> Result<[Tensor; 2]> {
    let channels = a.dim(candle_core::D::Minus1)?;
    let sums = ColumnSums { single: false, shifts: [shift_a, shift_b] };
    let sums = total(&a.apply_op2_no_bwd(b, &sums)?)?;
    Ok([sums.narrow(0, 0, channels)?, sums.narrow(0, channels, channels)?])
}

/// a · factor + shift, or a · factor + b · factor + shift, for each channel (the last dimension):
/// factors and shift are f32 `[c]`.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn combine(
    (a, factor): (&Tensor, &Tensor),
    b: Option<(&Tensor, &Tensor)>,
    shift: Option<&Tensor>,
) -> Result<Tensor> {
    let zeros = factor.zeros_like()?;
    let other = b.map_or(&zeros, |(_, factor)| factor);
    let factors = Tensor::stack(&[factor, other, shift.unwrap_or(&zeros)], 0)?;
    if factors.dims() != [3, a.dim(candle_core::D::Minus1)?] {
        bail!("factors {:?} of the channels of {:?}", factors.dims(), a.dims())
    }
    let combine = Combine { single: b.is_none() };
    a.apply_op3_no_bwd(b.map_or(a, |(b, _)| b), &factors, &combine)
}

/// An activation of values of any shape.
///
/// # Errors
/// If candle fails.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Activated(code(Some(activation))))
}

/// The gradient before an activation. `kept` is what it gave, for GELU and the like what it was
/// given.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn activation_gradient(kept: &Tensor, dy: &Tensor, activation: Activation) -> Result<Tensor> {
    kept.apply_op2_no_bwd(dy, &ActivationGradient(code(Some(activation))))
}

/// The gradient of [`layer_norm`](crate::layer_norm): with respect to x, and to its scale and bias,
/// f32 `[c]`.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn layer_norm_gradient(
    x: &Tensor,
    dy: &Tensor,
    scale: &Tensor,
    eps: f32,
) -> Result<(Tensor, [Tensor; 2])> {
    let both = x.apply_op3_no_bwd(dy, scale, &LayerNormGradient { eps })?;
    let normalised = both.narrow(0, 1, 1)?.reshape(x.shape())?;
    let [bias, scale] = column_products((dy, None), (&normalised, None))?;
    Ok((both.narrow(0, 0, 1)?.reshape(x.shape())?, [scale, bias]))
}
