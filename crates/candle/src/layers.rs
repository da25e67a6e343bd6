//! The forward pass of each kind of layer, composed of differentiable candle operations that run on
//! every device. Maps are `[n, channels, h, w]`, tokens `[n, count, width]`, vectors `[n, width]`.

use candle_core::{D, Result, Tensor};
use taper_graph::{Attention, AttentionPool, Conv2d, MaxPool, Padding, PatchTokens};

/// `x`: `[…, in]`, `weight`: `[out, in]`.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let width = shape.pop().unwrap_or(1);
    shape.push(weight.dim(0)?);
    let rows = x.elem_count() / width.max(1);
    let y = x.reshape((rows, width))?.matmul(&weight.t()?)?.reshape(shape)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// `x`: `[n, channels, h, w]`, `weight`: `[out, channels / groups, k, k]`.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    conv: &Conv2d,
) -> Result<Tensor> {
    let depthwise = conv.groups > 1 && conv.groups == conv.in_channels;
    let y = if depthwise && conv.out_channels == conv.in_channels {
        depthwise_conv2d(x, weight, conv)?
    } else {
        let (x, rest) = match conv.padding {
            Padding::Symmetric(n) => (x.clone(), n),
            Padding::Same | Padding::End => (zero_padded(x, conv)?, 0),
        };
        x.conv2d(weight, rest, conv.stride, conv.dilation, conv.groups)?
    };
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, conv.out_channels, 1, 1))?),
        None => Ok(y),
    }
}

fn zero_padded(x: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let amounts = |n| conv.padding.amounts(n, conv.kernel, conv.stride, conv.dilation);
    let (top, bottom) = amounts(height);
    let (left, right) = amounts(width);
    x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)
}

/// One multiply-add over the whole map per tap: candle's own grouped convolution is a loop over
/// groups.
fn depthwise_conv2d(x: &Tensor, weight: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    let x = zero_padded(x, conv)?;
    let mut sum: Option<Tensor> = None;
    for row in 0..conv.kernel {
        for column in 0..conv.kernel {
            let offsets = (row * conv.dilation, column * conv.dilation);
            let reach = (conv.kernel - 1) * conv.dilation + 1;
            let tap = weight.narrow(2, row, 1)?.narrow(3, column, 1)?;
            let tap = tap.reshape((1, conv.out_channels, 1, 1))?;
            let product = window(&x, offsets, reach, conv.stride)?.broadcast_mul(&tap)?;
            sum = Some(match sum {
                Some(sum) => (sum + product)?,
                None => product,
            });
        }
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a kernel of 0 has no taps".into()))
}

/// The input of one tap of a sliding window: every `stride`-th row and column from `offsets` on.
fn window(x: &Tensor, offsets: (usize, usize), reach: usize, stride: usize) -> Result<Tensor> {
    let along = |x: &Tensor, dim: usize, offset: usize| {
        let count = (x.dim(dim)? - reach) / stride + 1;
        if stride == 1 {
            return x.narrow(dim, offset, count);
        }
        let positions: Vec<u32> = (0..count).map(|i| (offset + i * stride) as u32).collect();
        x.index_select(&Tensor::new(positions, x.device())?, dim)
    };
    along(&along(x, 2, offsets.0)?, 3, offsets.1)
}

/// Over the channels of each position. `scale` and `bias`: `[channels]`.
pub(crate) fn layer_norm(x: &Tensor, scale: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    // Tokens have their channels last.
    let channels = if x.rank() == 3 { 2 } else { 1 };
    let centred = x.broadcast_sub(&x.mean_keepdim(channels)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(channels)? + eps)?.sqrt()?;
    let y = layer_scale(&centred.broadcast_div(&deviation)?, scale)?;
    y.broadcast_add(&per_channel(&y, bias)?)
}

/// `scale`: `[channels]`.
pub(crate) fn layer_scale(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    x.broadcast_mul(&per_channel(x, scale)?)
}

/// x / ‖x‖ for each vector of `[…, width]`, and 1 / ‖x‖, `[…, 1]`. Zeros stay zeros, with gradients
/// of 0, and have an inverse of 0; what is not finite becomes NaN.
pub(crate) fn directions(x: &Tensor) -> Result<(Tensor, Tensor)> {
    // Squares of f32 can be too large or too small for f32. The divisor needs no history, since a
    // direction does not depend on it.
    let largest = x.detach().abs()?.max_keepdim(D::Minus1)?;
    let zeros = largest.eq(&largest.zeros_like()?)?.to_dtype(x.dtype())?;
    let (largest, is_any) = ((largest + &zeros)?, (1.0 - &zeros)?);
    let x = x.broadcast_div(&largest)?.broadcast_mul(&is_any)?;
    let length = (x.sqr()?.sum_keepdim(D::Minus1)? + zeros)?.sqrt()?;
    Ok((x.broadcast_div(&length)?, ((is_any / largest)? / length)?))
}

/// scale · gamma · cos(x, w) for each row w of `weight`; `[n, in]` → `[n, out]`, `gamma`: `[1]`.
pub(crate) fn cosine(x: &Tensor, weight: &Tensor, gamma: &Tensor, scale: f32) -> Result<Tensor> {
    let cosines = directions(x)?.0.matmul(&directions(weight)?.0.t()?)?;
    cosines.broadcast_mul(&(gamma * f64::from(scale))?)
}

/// From patches `[n, width, rows, columns]` to tokens `[n, prefix + rows · columns, width]`;
/// `class`: `[1, prefix, width]`, `positions`: `[1, prefix + learned, width]`.
pub(crate) fn patch_tokens(
    x: &Tensor,
    class: Option<&Tensor>,
    positions: &Tensor,
    tokens: &PatchTokens,
) -> Result<Tensor> {
    let (n, width, rows, columns) = x.dims4()?;
    let patches = x.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
    let prefix = tokens.prefix;
    let positions = match tokens.resampling([rows, columns]) {
        None => positions.clone(),
        Some([by_row, by_column]) => {
            let [from_rows, from_columns] = tokens.grid;
            let learned = positions.narrow(1, prefix, from_rows * from_columns)?.contiguous()?;
            // [rows, from_rows] · [from_rows, from_columns · width], then the same for the columns.
            let by_row = Tensor::from_vec(by_row, (rows, from_rows), x.device())?;
            let lines = by_row.matmul(&learned.reshape((from_rows, from_columns * width))?)?;
            let lines = lines.reshape((rows, from_columns, width))?.transpose(0, 1)?;
            let lines = lines.contiguous()?.reshape((from_columns, rows * width))?;
            let by_column = Tensor::from_vec(by_column, (columns, from_columns), x.device())?;
            let places = by_column.matmul(&lines)?.reshape((columns, rows, width))?;
            let places = places.transpose(0, 1)?.contiguous()?;
            let places = places.reshape((1, rows * columns, width))?;
            match prefix {
                0 => places,
                _ => Tensor::cat(&[positions.narrow(1, 0, prefix)?, places], 1)?,
            }
        }
    };
    let tokens = match class {
        None => patches,
        Some(class) => Tensor::cat(&[class.expand((n, prefix, width))?.contiguous()?, patches], 1)?,
    };
    tokens.broadcast_add(&positions)
}

/// The factor of each channel from the means of all, both `[n, channels]`. `tensors`: weight and
/// bias of the first layer, then of the second.
pub(crate) fn excitation(means: &Tensor, tensors: [&Tensor; 4]) -> Result<Tensor> {
    let [w1, b1, w2, b2] = tensors;
    let between = linear(means, &w1.flatten_from(1)?, Some(b1))?.relu()?;
    candle_nn::ops::sigmoid(&linear(&between, &w2.flatten_from(1)?, Some(b2))?)
}

/// softmax(Q Kᵀ / √d) V for each head. `qkv`: `[n, tokens, 3 · width]`; gives `[n, tokens, width]`.
/// `softmax` is over the last dimension, `product` a matrix product.
pub(crate) fn attention(
    qkv: &Tensor,
    &Attention { width, heads }: &Attention,
    softmax: impl Fn(&Tensor) -> Result<Tensor>,
    product: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (n, tokens, _) = qkv.dims3()?;
    let depth = width / heads;
    let qkv = qkv.reshape((n, tokens, 3, heads, depth))?.permute((2, 0, 3, 1, 4))?;
    let part = |i: usize| qkv.get(i)?.contiguous();
    let query = (part(0)? * (1.0 / (depth as f64).sqrt()))?;
    let scores = product(&query, &part(1)?.transpose(2, 3)?.contiguous()?)?;
    let mixed = product(&softmax(&scores)?, &part(2)?)?;
    mixed.transpose(1, 2)?.contiguous()?.reshape((n, tokens, width))
}

/// One token from tokens `[n, tokens, heads + width]`: `[n, 1, width]`. `softmax` and `product` as
/// for [`attention`].
pub(crate) fn attention_pool(
    x: &Tensor,
    &AttentionPool { width, heads }: &AttentionPool,
    softmax: impl Fn(&Tensor) -> Result<Tensor>,
    product: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let n = x.dim(0)?;
    let (scores, values) = scores_and_values(x, width, heads)?;
    product(&softmax(&scores)?, &values)?.reshape((n, 1, width))
}

/// The scores `[n, heads, 1, tokens]` and values `[n, heads, tokens, width / heads]` of tokens that
/// are pooled.
pub(crate) fn scores_and_values(
    x: &Tensor,
    width: usize,
    heads: usize,
) -> Result<(Tensor, Tensor)> {
    let (n, tokens, _) = x.dims3()?;
    let scores = x.narrow(2, 0, heads)?.transpose(1, 2)?.contiguous()?;
    let values = x.narrow(2, heads, width)?.contiguous()?;
    let values = values.reshape((n, tokens, heads, width / heads))?.transpose(1, 2)?;
    Ok((scores.unsqueeze(2)?, values.contiguous()?))
}

/// Over the last dimension, with gradients; candle's own kernel has none.
pub(crate) fn softmax(scores: &Tensor) -> Result<Tensor> {
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)
}

/// `[n, tokens, width]` → `[n, width]`.
pub(crate) fn class_token(x: &Tensor) -> Result<Tensor> {
    x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()
}

/// candle's own max pooling has no padding, and its gradient is wrong where windows overlap: a
/// maximum over the taps handles both correctly.
pub(crate) fn max_pool2d(x: &Tensor, pool: &MaxPool) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let amounts = |n| pool.padding.amounts(n, pool.kernel, pool.stride, 1);
    // Every window that reaches into the padding also holds the edge, so that repeating the edge
    // changes no maximum.
    let (top, bottom) = amounts(height);
    let (left, right) = amounts(width);
    let x = x.pad_with_same(2, top, bottom)?.pad_with_same(3, left, right)?;
    let mut highest: Option<Tensor> = None;
    for row in 0..pool.kernel {
        for column in 0..pool.kernel {
            let tap = window(&x, (row, column), pool.kernel, pool.stride)?;
            highest = Some(match highest {
                Some(highest) => highest.maximum(&tap)?,
                None => tap,
            });
        }
    }
    highest.ok_or_else(|| candle_core::Error::Msg("a window of 0 has no maximum".into()))
}

pub(crate) fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    x.mean(D::Minus1)?.mean(D::Minus1)
}

/// The parts of a normalisation, each `[channels]`.
pub(crate) struct Norm<'a> {
    pub(crate) scale: &'a Tensor,
    pub(crate) bias: &'a Tensor,
    pub(crate) eps: f64,
}

impl Norm<'_> {
    /// Normalises with the running statistics.
    pub(crate) fn evaluate(&self, x: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
        let factor = (self.scale / (variance + self.eps)?.sqrt()?)?;
        let shift = (self.bias - (mean * &factor)?)?;
        x.broadcast_mul(&per_channel(x, &factor)?)?.broadcast_add(&per_channel(x, &shift)?)
    }

    /// Normalises with the batch's own statistics and returns them: the mean and the biased
    /// variance, `[channels]`.
    pub(crate) fn train(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let mean = channel_mean(x)?;
        let centred = x.broadcast_sub(&mean)?;
        let variance = channel_mean(&centred.sqr()?)?;
        let deviation = (&variance + self.eps)?.sqrt()?;
        let factor = (per_channel(x, self.scale)? / deviation)?;
        let y = centred.broadcast_mul(&factor)?.broadcast_add(&per_channel(x, self.bias)?)?;
        Ok((y, mean.flatten_all()?.detach(), variance.flatten_all()?.detach()))
    }
}

/// The mean over everything except the channels (dimension 1), with dimensions kept.
fn channel_mean(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        2 => x.mean_keepdim(0),
        _ => x.mean_keepdim((0, 2, 3)),
    }
}

fn per_channel(x: &Tensor, values: &Tensor) -> Result<Tensor> {
    match x.rank() {
        2 => values.reshape((1, ())),
        3 => values.reshape((1, 1, ())),
        _ => values.reshape((1, (), 1, 1)),
    }
}

#[cfg(test)]
mod tests {
    use taper_core::random::{Key, Purpose};

    use candle_core::{Device, Tensor};
    use taper_candle_ops::dropout_mask;

    #[test]
    fn masks_are_the_same_on_every_device() {
        let key = Key::new(3, Purpose::new("layers/dropout"));
        for (shape, p) in [([3, 1], 0.5f32), ([5, 7], 0.1), ([64, 1280], 0.5), ([2, 4], 0.0)] {
            let here = dropout_mask(&shape, p, key, 9, &Device::Cpu).unwrap();
            let there = dropout_mask(&shape, p, key, 9, &crate::test_device()).unwrap();
            let values = |mask: Tensor| mask.to_vec2::<f32>().unwrap();
            let (here, there) = (values(here), values(there));
            assert_eq!(here, there);
            for (row, mask) in here.iter().enumerate() {
                let mut stream = key.stream(9, row as u64);
                let expected = |_| if stream.bernoulli(p) { 0.0 } else { 1.0 / (1.0 - p) };
                assert_eq!(*mask, mask.iter().map(expected).collect::<Vec<f32>>());
            }
        }
    }
}
