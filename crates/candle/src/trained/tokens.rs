//! The layers of transformers with their gradients.

use candle_core::{D, DType, Tensor};
use taper_candle_ops::{column_sums, product};
use taper_core::Precision;
use taper_graph::{Attention, PatchTokens};

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
    let x = qkv.to_dtype(DType::F32)?;
    Ok(layers::attention(&x, attention, softmax, product)?.to_dtype(qkv.dtype())?)
}

/// Its gradient with respect to queries, keys and values. The weights are computed again: they
/// would take more memory than everything else.
pub(super) fn attention_gradient(
    qkv: &Tensor,
    dy: &Tensor,
    &Attention { width, heads }: &Attention,
    precision: Precision,
) -> Result<Tensor> {
    let (n, tokens, _) = qkv.dims3()?;
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
    let all = all.contiguous()?.reshape((n, tokens, 3 * width))?;
    Ok(all.to_dtype(qkv.dtype())?)
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

/// From patches `[n, rows, columns, width]` to tokens `[n, 1 + rows · columns, width]`; `class`:
/// `[1, 1, width]`, `positions`: `[1, 1 + learned, width]`.
pub(super) fn patches(
    x: &Tensor,
    class: &Tensor,
    positions: &Tensor,
    patches: &PatchTokens,
) -> Result<Tensor> {
    let (n, rows, columns, width) = x.dims4()?;
    let positions = positions.squeeze(0)?;
    let positions = match matrices(patches, [rows, columns], x)? {
        None => positions,
        Some([by_row, by_column]) => {
            let learned = positions.narrow(0, 1, positions.dim(0)? - 1)?.contiguous()?;
            let places = resampled(&learned, &by_row, &by_column)?;
            Tensor::cat(&[positions.narrow(0, 0, 1)?, places], 0)?
        }
    };
    let class = class.expand((n, 1, width))?.contiguous()?;
    let own = x.reshape((n, rows * columns, width))?.to_dtype(DType::F32)?;
    let tokens = Tensor::cat(&[class, own], 1)?.broadcast_add(&positions)?;
    Ok(tokens.to_dtype(x.dtype())?)
}

/// The gradients of the patches, `dims`, and of class token and positions.
pub(super) fn patches_gradient(
    dy: &Tensor,
    dims: &[usize],
    patches: &PatchTokens,
) -> Result<(Tensor, [Tensor; 2])> {
    let &[n, rows, columns, width] = dims else {
        return Err(candle_core::Error::Msg(format!("patches are a map, not {dims:?}")).into());
    };
    let count = rows * columns;
    let dx = dy.narrow(1, 1, count)?.contiguous()?.reshape(dims)?;
    let table = column_sums(&dy.reshape((n, (1 + count) * width))?)?.reshape((1 + count, width))?;
    let class = table.narrow(0, 0, 1)?;
    let places = table.narrow(0, 1, count)?.contiguous()?;
    let places = match matrices(patches, [rows, columns], dy)? {
        None => places,
        Some([by_row, by_column]) => {
            let turned = |matrix: &Tensor| matrix.t()?.contiguous();
            resampled(&places, &turned(&by_row)?, &turned(&by_column)?)?
        }
    };
    let positions = Tensor::cat(&[class.clone(), places], 0)?.unsqueeze(0)?;
    Ok((dx, [class.reshape((1, 1, width))?, positions]))
}
