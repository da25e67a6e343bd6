//! The layers of a head, forward and backward, over rows in memory. All maps are f32 `[n, width]`,
//! row-major.

use rayon::prelude::*;
use taper_core::random::Key;
use taper_kernels::{Matrix, matmul};

use crate::Result;

/// How many columns a thread takes at a time in sums over rows.
const COLUMNS: usize = 64;

/// y ← x · Wᵀ + b; W is `[outputs, inputs]`.
pub(crate) fn linear(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    [n, inputs, outputs]: [usize; 3],
    y: &mut [f32],
) -> Result<()> {
    if let Some(bias) = bias {
        y.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(bias));
    }
    let (x, weight) = (Matrix::new(x, n, inputs)?, Matrix::new(weight, outputs, inputs)?);
    Ok(matmul(y, x, weight.t(), bias.is_some())?)
}

/// Sums over the rows, column by column: out\[c\] ← (out\[c\] if `add`) + Σ_r of(r · width + c).
/// The rows' order is fixed.
fn column_sums(
    n: usize,
    width: usize,
    out: &mut [f32],
    add: bool,
    of: impl Fn(usize) -> f32 + Sync,
) {
    out.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, out)| {
        if !add {
            out.fill(0.0);
        }
        for row in 0..n {
            let start = row * width + block * COLUMNS;
            for (c, sum) in out.iter_mut().enumerate() {
                *sum += of(start + c);
            }
        }
    });
}

/// Gradients of [`linear`]: into `d_weight`, `d_bias` (added with `add`), and into `d_x` if
/// requested.
pub(crate) struct LinearGradients<'a> {
    pub(crate) d_weight: &'a mut [f32],
    pub(crate) d_bias: Option<&'a mut [f32]>,
    pub(crate) d_x: Option<&'a mut [f32]>,
    pub(crate) add: bool,
}

pub(crate) fn linear_backward(
    x: &[f32],
    weight: &[f32],
    d_y: &[f32],
    [n, inputs, outputs]: [usize; 3],
    gradients: LinearGradients<'_>,
) -> Result<()> {
    let LinearGradients { d_weight, d_bias, d_x, add } = gradients;
    let d = Matrix::new(d_y, n, outputs)?;
    matmul(d_weight, d.t(), Matrix::new(x, n, inputs)?, add)?;
    if let Some(d_bias) = d_bias {
        column_sums(n, outputs, d_bias, add, |i| d_y[i]);
    }
    match d_x {
        Some(d_x) => linear_inputs(weight, d_y, [n, inputs, outputs], d_x),
        None => Ok(()),
    }
}

/// The gradient of [`linear`] with respect to its input: d_x ← d_y · W.
pub(crate) fn linear_inputs(
    weight: &[f32],
    d_y: &[f32],
    [n, inputs, outputs]: [usize; 3],
    d_x: &mut [f32],
) -> Result<()> {
    let (d, weight) = (Matrix::new(d_y, n, outputs)?, Matrix::new(weight, outputs, inputs)?);
    Ok(matmul(d_x, d, weight, false)?)
}

/// What BatchNorm keeps from a batch for its backward pass, each `[width]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchStatistics {
    pub(crate) mean: Vec<f32>,
    /// Biased: divided by n.
    pub(crate) variance: Vec<f32>,
    /// 1 / √(variance + ε).
    inverse: Vec<f32>,
    factor: Vec<f32>,
    shift: Vec<f32>,
}

/// y ← (x − mean) / √(variance + ε) · scale + bias, with the batch's own mean and variance.
pub(crate) fn batch_norm(
    x: &[f32],
    (scale, bias): (&[f32], &[f32]),
    eps: f64,
    statistics: &mut BatchStatistics,
    y: &mut [f32],
) {
    let width = scale.len();
    let n = x.len() / width;
    let s = statistics;
    for v in [&mut s.mean, &mut s.variance, &mut s.inverse, &mut s.factor, &mut s.shift] {
        v.resize(width, 0.0);
    }
    let share = 1.0 / n as f32;
    column_sums(n, width, &mut s.mean, false, |i| x[i]);
    s.mean.iter_mut().for_each(|m| *m *= share);
    let mean = &s.mean;
    s.variance.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, out)| {
        out.fill(0.0);
        let mean = &mean[block * COLUMNS..];
        for row in 0..n {
            let x = &x[row * width + block * COLUMNS..];
            for ((sum, x), mean) in out.iter_mut().zip(x).zip(mean) {
                *sum += (x - mean) * (x - mean);
            }
        }
    });
    s.variance.iter_mut().for_each(|v| *v *= share);
    for c in 0..width {
        s.inverse[c] = 1.0 / (s.variance[c] + eps as f32).sqrt();
        s.factor[c] = s.inverse[c] * scale[c];
        s.shift[c] = bias[c] - s.mean[c] * s.factor[c];
    }
    affine(x, &s.factor, &s.shift, y);
}

/// The same with a running mean and variance instead of the batch's own.
pub(crate) fn batch_norm_frozen(
    x: &[f32],
    (scale, bias): (&[f32], &[f32]),
    (mean, variance): (&[f32], &[f32]),
    eps: f64,
    s: &mut BatchStatistics,
    y: &mut [f32],
) {
    s.mean.clear();
    s.mean.extend_from_slice(mean);
    s.variance.clear();
    s.variance.extend_from_slice(variance);
    for v in [&mut s.inverse, &mut s.factor, &mut s.shift] {
        v.resize(scale.len(), 0.0);
    }
    for c in 0..scale.len() {
        s.inverse[c] = 1.0 / (variance[c] + eps as f32).sqrt();
        s.factor[c] = s.inverse[c] * scale[c];
        s.shift[c] = bias[c] - mean[c] * s.factor[c];
    }
    affine(x, &s.factor, &s.shift, y);
}

/// y ← x · factor + shift, column by column.
pub(crate) fn affine(x: &[f32], factor: &[f32], shift: &[f32], y: &mut [f32]) {
    let width = factor.len();
    y.par_chunks_mut(width).zip(x.par_chunks(width)).for_each(|(y, x)| {
        for (((y, x), f), s) in y.iter_mut().zip(x).zip(factor).zip(shift) {
            *y = x * f + s;
        }
    });
}

/// Gradients of [`batch_norm`], or with `frozen` of [`batch_norm_frozen`].
pub(crate) fn batch_norm_backward(
    x: &[f32],
    d_y: &[f32],
    (s, frozen): (&BatchStatistics, bool),
    (d_scale, d_bias): (&mut [f32], &mut [f32]),
    d_x: Option<&mut [f32]>,
    add: bool,
) {
    let width = s.mean.len();
    let n = x.len() / width;
    // Below, the sums of this batch alone are needed, even when gradients accumulate.
    let mut sums = vec![0.0; 2 * width];
    let (sum_bias, sum_scale) = sums.split_at_mut(width);
    column_sums(n, width, sum_bias, false, |i| d_y[i]);
    sum_scale.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, out)| {
        let at = block * COLUMNS;
        for row in 0..n {
            let (x, d) = (&x[row * width + at..], &d_y[row * width + at..]);
            for (((sum, x), d), mean) in out.iter_mut().zip(x).zip(d).zip(&s.mean[at..]) {
                *sum += d * (x - mean);
            }
        }
        out.iter_mut().zip(&s.inverse[at..]).for_each(|(sum, inverse)| *sum *= inverse);
    });
    for (out, sum) in [(d_scale, &*sum_scale), (d_bias, &*sum_bias)] {
        for (out, sum) in out.iter_mut().zip(sum) {
            *out = if add { *out + sum } else { *sum };
        }
    }
    let Some(d_x) = d_x else { return };
    if frozen {
        d_x.par_chunks_mut(width).zip(d_y.par_chunks(width)).for_each(|(d_x, d_y)| {
            multiply(d_y, &s.factor, d_x);
        });
        return;
    }
    let share = 1.0 / n as f32;
    d_x.par_chunks_mut(width).zip(x.par_chunks(width)).zip(d_y.par_chunks(width)).for_each(
        |((d_x, x), d_y)| {
            for c in 0..width {
                let normal = (x[c] - s.mean[c]) * s.inverse[c];
                let centred = d_y[c] - (sum_bias[c] + normal * sum_scale[c]) * share;
                d_x[c] = s.factor[c] * centred;
            }
        },
    );
}

/// Draws the mask of a dropout: 0 with probability `p`, else 1 / (1 − p). Row i of the batch has
/// the stream (step, i), as in `taper-candle`.
pub(crate) fn dropout_mask(mask: &mut [f32], width: usize, p: f32, key: Key, step: u32) {
    let kept = 1.0 / (1.0 - p);
    mask.par_chunks_mut(width).enumerate().for_each(|(row, values)| {
        key.stream(step, row as u64).fill_bernoulli(p, 0.0, kept, values);
    });
}

/// y ← x · m, element by element.
pub(crate) fn multiply(x: &[f32], m: &[f32], y: &mut [f32]) {
    for ((y, x), m) in y.iter_mut().zip(x).zip(m) {
        *y = x * m;
    }
}
