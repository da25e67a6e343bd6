use candle_core::{DType, Result, Tensor};

use crate::{Slide, custom::Unfold, unfold};

/// The memory limit of an im2col matrix; larger batches go through it in parts.
pub const UNFOLDED_BYTES: usize = 512 << 20;

/// Queues work whose f32 products may be rounded to TF32 on the way into tensor cores; work queued
/// afterwards is exact again. candle keeps one setting for the whole process.
fn with_tf32<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(feature = "cuda")]
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    let done = work();
    #[cfg(feature = "cuda")]
    candle_core::cuda::set_gemm_reduced_precision_f32(false);
    done
}

/// `[…, m, k]` times `[…, k, n]`; `tf32`: f32 may be rounded to TF32 on CUDA.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn product(x: &Tensor, weight: &Tensor, tf32: bool) -> Result<Tensor> {
    if tf32 {
        return with_tf32(|| x.matmul(weight));
    }
    x.matmul(weight)
}

/// A convolution as a matrix product, over as many pictures at a time as fit the im2col matrix:
/// maps and a filter `[k · k · in, out]` to `[n · oh · ow, out]`.
///
/// # Errors
/// If the shapes do not fit, or candle fails.
pub fn unfolded(x: &Tensor, weight: &Tensor, slide: &Slide, tf32: bool) -> Result<Tensor> {
    let (n, part) = (x.dim(0)?, pictures_at_a_time(x.dims(), x.dtype(), slide)?);
    let run = |x: &Tensor| product(&unfold(x, slide)?, weight, tf32);
    if part >= n {
        return run(x);
    }
    let parts = (0..n).step_by(part).map(|start| run(&x.narrow(0, start, part.min(n - start))?));
    Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
}

/// Of how many pictures the im2col matrix fits into its memory, at least 1.
pub(crate) fn pictures_at_a_time(dims: &[usize], dtype: DType, slide: &Slide) -> Result<usize> {
    let mut dims = dims.to_vec();
    let n = std::mem::replace(&mut dims[0], 1);
    let values = Unfold::output(&slide.over(&dims)?).elem_count();
    let bytes = values * dtype.size_in_bytes();
    Ok((UNFOLDED_BYTES / bytes.max(1)).clamp(1, n.max(1)))
}
