//! The layers of transformers, and squeeze and excitation, with their gradients.

use candle_core::{D, DType, Tensor};
use taper_candle_ops::{column_sums, product};
use taper_core::Precision;
use taper_graph::{Attention, AttentionPool, PatchTokens};

use crate::{Result, layers};

/// Attention itself is in f32: TF32 represents bf16 and f16 exactly, and only the weights after
/// the softmax are rounded.
fn tf32(precision: Precision) -> bool {
    precision != Precision::F32
}

/// softmax(Q Kᵀ / √d) V for each head: `[n, tokens, 3 · width]` to `[n, tokens, width]`.
pub(super) fn attention(
    qkv: &Tensor,
    attention: &Attention,
    precision: Precision,
) -> Result<Tensor> {
    let product = |a: &Tensor, b: &Tensor| product(a, b, tf32(precision));
    let softmax = candle_nn::ops::softmax_last_dim;
    let mut shape = qkv.dims().to_vec();
    // The positions of a map are its tokens.
    let x = qkv.reshape((qkv.dim(0)?, (), qkv.dim(D::Minus1)?))?.to_dtype(DType::F32)?;
    let y = layers::attention(&x, attention, softmax, product)?;
    if let Some(width) = shape.last_mut() {
        *width = attention.width;
    }
    Ok(y.reshape(shape)?.to_dtype(qkv.dtype())?)
}

/// Its gradient with respect to queries, keys and values. The weights are computed again: they
/// would take more memory than everything else.
pub(super) fn attention_gradient(
    qkv: &Tensor,
    dy: &Tensor,
    &Attention { width, heads }: &Attention,
    precision: Precision,
) -> Result<Tensor> {
    let shape = qkv.dims().to_vec();
    let (n, wide) = (qkv.dim(0)?, qkv.dim(D::Minus1)?);
    let tokens = qkv.elem_count() / (n * wide).max(1);
    let depth = width / heads;
    let scale = 1.0 / (depth as f64).sqrt();
    let product = |a: &Tensor, b: &Tensor| product(a, b, tf32(precision));
    let turned = |x: &Tensor| x.transpose(2, 3)?.contiguous();
    let split = qkv.to_dtype(DType::F32)?.reshape((n, tokens, 3, heads, depth))?;
    let split = split.permute((2, 0, 3, 1, 4))?;
    let part = |i: usize| split.get(i)?.contiguous();
    let (query, key, value) = ((part(0)? * scale)?, part(1)?, part(2)?);
    let weights = candle_nn::ops::softmax_last_dim(&product(&query, &turned(&key)?)?)?;
    let dy = dy.to_dtype(DType::F32)?.reshape((n, tokens, heads, depth))?;
    let dy = dy.transpose(1, 2)?.contiguous()?;
    let d_value = product(&turned(&weights)?, &dy)?;
    let slopes = product(&dy, &turned(&value)?)?;
    let mean = (&slopes * &weights)?.sum_keepdim(D::Minus1)?;
    let scores = (slopes.broadcast_sub(&mean)? * &weights)?;
    let d_query = (product(&scores, &key)? * scale)?;
    let d_key = product(&turned(&scores)?, &query)?;
    let all = Tensor::stack(&[d_query, d_key, d_value], 0)?.permute((1, 3, 0, 2, 4))?;
    let all = all.contiguous()?.reshape(shape)?;
    Ok(all.to_dtype(qkv.dtype())?)
}

/// Squeeze and excitation of maps `[n, rows, columns, channels]`. `tensors`: weight and bias of the
/// first layer, then of the second.
pub(super) fn squeeze_excite(x: &Tensor, tensors: &[Tensor; 4]) -> Result<Tensor> {
    let means = taper_candle_ops::global_average(x)?.to_dtype(DType::F32)?;
    let factors = layers::excitation(&means, tensors.each_ref())?;
    Ok(x.broadcast_mul(&factors.to_dtype(x.dtype())?.unsqueeze(1)?.unsqueeze(1)?)?)
}

/// Its gradients: of the map, and of the tensors.
pub(super) fn squeeze_excite_gradient(
    x: &Tensor,
    dy: &Tensor,
    [w1, b1, w2, b2]: &[Tensor; 4],
) -> Result<(Tensor, [Tensor; 4])> {
    let (n, rows, columns, channels) = x.dims4()?;
    let pixels = rows * columns;
    let (w1, w2) = (w1.flatten_from(1)?, w2.flatten_from(1)?);
    let flat = |x: &Tensor| x.to_dtype(DType::F32)?.reshape((n, pixels, channels));
    let (wide, slopes) = (flat(x)?, flat(dy)?);
    let means = wide.mean(1)?;
    let between = layers::linear(&means, &w1, Some(b1))?.relu()?;
    let factors = candle_nn::ops::sigmoid(&layers::linear(&between, &w2, Some(b2))?)?;
    let of_factors = (&wide * &slopes)?.sum(1)?;
    let of_sums = (of_factors * (&factors * (1.0 - &factors)?)?)?;
    let open = between.gt(&between.zeros_like()?)?.to_dtype(DType::F32)?;
    let of_between = (of_sums.matmul(&w2)? * open)?;
    let of_means = (of_between.matmul(&w1)? * (1.0 / pixels as f64))?;
    let dx =
        slopes.broadcast_mul(&factors.unsqueeze(1)?)?.broadcast_add(&of_means.unsqueeze(1)?)?;
    let outer = |slopes: &Tensor, values: &Tensor| -> candle_core::Result<Tensor> {
        let weight = slopes.t()?.contiguous()?.matmul(values)?;
        let (outputs, inputs) = weight.dims2()?;
        weight.reshape((outputs, inputs, 1, 1))
    };
    let tensors = [
        outer(&of_between, &means)?,
        of_between.sum(0)?,
        outer(&of_sums, &between)?,
        of_sums.sum(0)?,
    ];
    Ok((dx.reshape(x.dims())?.to_dtype(x.dtype())?, tensors))
}

/// One token from tokens `[n, tokens, heads + width]`: `[n, 1, width]`.
pub(super) fn attention_pool(
    x: &Tensor,
    pool: &AttentionPool,
    precision: Precision,
) -> Result<Tensor> {
    let product = |a: &Tensor, b: &Tensor| product(a, b, tf32(precision));
    let softmax = candle_nn::ops::softmax_last_dim;
    let y = layers::attention_pool(&x.to_dtype(DType::F32)?, pool, softmax, product)?;
    Ok(y.to_dtype(x.dtype())?)
}

/// Its gradient with respect to scores and values.
pub(super) fn attention_pool_gradient(
    x: &Tensor,
    dy: &Tensor,
    &AttentionPool { width, heads }: &AttentionPool,
    precision: Precision,
) -> Result<Tensor> {
    let (n, tokens, _) = x.dims3()?;
    let product = |a: &Tensor, b: &Tensor| product(a, b, tf32(precision));
    let (scores, values) = layers::scores_and_values(&x.to_dtype(DType::F32)?, width, heads)?;
    let weights = candle_nn::ops::softmax_last_dim(&scores)?;
    let dy = dy.to_dtype(DType::F32)?.reshape((n, heads, 1, width / heads))?;
    let d_values = product(&weights.transpose(2, 3)?.contiguous()?, &dy)?;
    let slopes = product(&dy, &values.transpose(2, 3)?.contiguous()?)?;
    let mean = (&slopes * &weights)?.sum_keepdim(D::Minus1)?;
    let d_scores = (slopes.broadcast_sub(&mean)? * &weights)?.squeeze(2)?.transpose(1, 2)?;
    let d_values = d_values.transpose(1, 2)?.contiguous()?.reshape((n, tokens, width))?;
    Ok(Tensor::cat(&[d_scores.contiguous()?, d_values], 2)?.contiguous()?.to_dtype(x.dtype())?)
}

/// A table `[from_rows · from_columns, width]` on another grid: each row of `by_row`, `[rows,
/// from_rows]`, and of `by_column` says how an output is made of inputs.
fn resampled(table: &Tensor, by_row: &Tensor, by_column: &Tensor) -> Result<Tensor> {
    let (rows, from_rows) = by_row.dims2()?;
    let (columns, from_columns) = by_column.dims2()?;
    let width = table.dim(1)?;
    let lines = by_row.matmul(&table.reshape((from_rows, from_columns * width))?)?;
    let lines = lines.reshape((rows, from_columns, width))?.transpose(0, 1)?.contiguous()?;
    let places = by_column.matmul(&lines.reshape((from_columns, rows * width))?)?;
    let places = places.reshape((columns, rows, width))?.transpose(0, 1)?.contiguous()?;
    Ok(places.reshape((rows * columns, width))?)
}

/// The matrices of a resampling, `[rows, from_rows]` and `[columns, from_columns]`, if the grid is
/// not the learned one.
fn matrices(
    patches: &PatchTokens,
    [rows, columns]: [usize; 2],
    like: &Tensor,
) -> Result<Option<[Tensor; 2]>> {
    let Some([by_row, by_column]) = patches.resampling([rows, columns]) else { return Ok(None) };
    let [from_rows, from_columns] = patches.grid;
    let by_row = Tensor::from_vec(by_row, (rows, from_rows), like.device())?;
    let by_column = Tensor::from_vec(by_column, (columns, from_columns), like.device())?;
    Ok(Some([by_row, by_column]))
}

/// From patches `[n, rows, columns, width]` to tokens `[n, prefix + rows · columns, width]`;
/// `class`: `[1, prefix, width]`, `positions`: `[1, prefix + learned, width]`.
pub(super) fn patches(
    x: &Tensor,
    class: Option<&Tensor>,
    positions: &Tensor,
    patches: &PatchTokens,
) -> Result<Tensor> {
    let (n, rows, columns, width) = x.dims4()?;
    let prefix = patches.prefix;
    let positions = positions.squeeze(0)?;
    let positions = match matrices(patches, [rows, columns], x)? {
        None => positions,
        Some([by_row, by_column]) => {
            let count = positions.dim(0)? - prefix;
            let learned = positions.narrow(0, prefix, count)?.contiguous()?;
            let places = resampled(&learned, &by_row, &by_column)?;
            match prefix {
                0 => places,
                _ => Tensor::cat(&[positions.narrow(0, 0, prefix)?, places], 0)?,
            }
        }
    };
    let own = x.reshape((n, rows * columns, width))?.to_dtype(DType::F32)?;
    let tokens = match class {
        None => own,
        Some(class) => Tensor::cat(&[class.expand((n, prefix, width))?.contiguous()?, own], 1)?,
    };
    Ok(tokens.broadcast_add(&positions)?.to_dtype(x.dtype())?)
}

/// The gradients of the patches, `dims`, and of learned tokens, if there are any, and positions.
pub(super) fn patches_gradient(
    dy: &Tensor,
    dims: &[usize],
    patches: &PatchTokens,
) -> Result<(Tensor, Vec<Tensor>)> {
    let &[n, rows, columns, width] = dims else {
        return Err(candle_core::Error::Msg(format!("patches are a map, not {dims:?}")).into());
    };
    let (count, prefix) = (rows * columns, patches.prefix);
    let dx = dy.narrow(1, prefix, count)?.contiguous()?.reshape(dims)?;
    let table = column_sums(&dy.reshape((n, (prefix + count) * width))?)?;
    let table = table.reshape((prefix + count, width))?;
    let places = table.narrow(0, prefix, count)?.contiguous()?;
    let places = match matrices(patches, [rows, columns], dy)? {
        None => places,
        Some([by_row, by_column]) => {
            let turned = |matrix: &Tensor| matrix.t()?.contiguous();
            resampled(&places, &turned(&by_row)?, &turned(&by_column)?)?
        }
    };
    if prefix == 0 {
        return Ok((dx, vec![places.unsqueeze(0)?]));
    }
    let class = table.narrow(0, 0, prefix)?;
    let positions = Tensor::cat(&[class.clone(), places], 0)?.unsqueeze(0)?;
    Ok((dx, vec![class.reshape((1, prefix, width))?, positions]))
}
