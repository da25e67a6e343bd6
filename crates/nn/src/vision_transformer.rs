//! The vision transformer of timm over candle. candle-transformers has one too, with the approximate GELU, another ε and positions of
//! nearest neighbours: its features differ from timm's in the third digit.

use candle_core::{D, Result, Tensor};
use taper_graph::VisionTransformer;

const EPS: f64 = 1e-6;

/// `x`: `[n, 3, image, image]`; `tensors` in the order of [`VisionTransformer::tensors`]. Gives `[n, width]`.
pub(crate) fn forward(
    x: &Tensor,
    config: &VisionTransformer,
    tensors: &[&Tensor],
) -> Result<Tensor> {
    let mut tensors = tensors.iter().copied();
    let mut next =
        || tensors.next().ok_or_else(|| candle_core::Error::Msg("a tensor is missing".into()));
    let (class, positions) = (next()?, next()?);
    let n = x.dim(0)?;
    let patches = x.conv2d(next()?, 0, config.patch, 1, 1)?;
    let patches = patches.flatten_from(2)?.transpose(1, 2)?.broadcast_add(next()?)?;
    let class = class.expand((n, 1, config.width))?;
    let mut x = Tensor::cat(&[&class, &patches.contiguous()?], 1)?.broadcast_add(positions)?;
    for _ in 0..config.depth {
        let y = layer_norm(&x, next()?, next()?)?;
        let y = attention(&linear(&y, next()?, next()?)?, config)?;
        let mut y = linear(&y, next()?, next()?)?;
        if config.layer_scale {
            y = y.broadcast_mul(next()?)?;
        }
        x = (x + y)?;
        let y = layer_norm(&x, next()?, next()?)?;
        let y = linear(&y, next()?, next()?)?.gelu_erf()?;
        let mut y = linear(&y, next()?, next()?)?;
        if config.layer_scale {
            y = y.broadcast_mul(next()?)?;
        }
        x = (x + y)?;
    }
    let token = x.narrow(1, 0, 1)?.squeeze(1)?;
    layer_norm(&token, next()?, next()?)
}

/// `x`: `[…, in]`, `weight`: `[out, in]`.
fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let width = shape.pop().unwrap_or(1);
    let rows: usize = shape.iter().product();
    shape.push(weight.dim(0)?);
    x.reshape((rows, width))?.matmul(&weight.t()?)?.broadcast_add(bias)?.reshape(shape)
}

/// Over the last dimension.
fn layer_norm(x: &Tensor, scale: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + EPS)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(scale)?.broadcast_add(bias)
}

/// `qkv`: `[n, tokens, 3 · width]`. Gives `[n, tokens, width]`.
fn attention(qkv: &Tensor, config: &VisionTransformer) -> Result<Tensor> {
    let (n, tokens, _) = qkv.dims3()?;
    let size = config.width / config.heads;
    let qkv = qkv.reshape((n, tokens, 3, config.heads, size))?.permute((2, 0, 3, 1, 4))?;
    let part = |i: usize| qkv.get(i)?.contiguous();
    let query = (part(0)? * (1.0 / (size as f64).sqrt()))?;
    let scores = query.matmul(&part(1)?.transpose(2, 3)?.contiguous()?)?;
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let weights = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
    let mixed = weights.matmul(&part(2)?)?;
    mixed.transpose(1, 2)?.contiguous()?.reshape((n, tokens, config.width))
}
