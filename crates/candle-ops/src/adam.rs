//! Adam in two passes over memory.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

use crate::cpu::slice;

/// Moves Adam's moments, f32 `[2, count]`, after a gradient of `count` values: each by its share,
/// 1 − β, towards the gradient, and towards its square.
///
/// # Errors
/// If the sizes do not fit, or candle fails.
pub fn update_moments(moments: &Tensor, gradient: &Tensor, shares: [f32; 2]) -> Result<()> {
    moments.inplace_op2(gradient, &Moments(shares))
}

/// values ← values · kept − step · m / (√v + ε), with Adam's moments m and v, f32 `[2, count]`.
///
/// # Errors
/// If the sizes do not fit, or candle fails.
pub fn adam_step(values: &Tensor, moments: &Tensor, [kept, step, eps]: [f32; 3]) -> Result<()> {
    values.inplace_op2(moments, &AdamStep { kept, step, eps })
}

/// Takes the moments and a gradient.
pub(crate) struct Moments(pub(crate) [f32; 2]);

/// Takes the values and the moments.
pub(crate) struct AdamStep {
    pub(crate) kept: f32,
    pub(crate) step: f32,
    pub(crate) eps: f32,
}

/// The values of a contiguous f32 tensor that is changed in place.
fn changed<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("an optimizer works on contiguous f32 tensors"),
    }
}

/// How many parameters there are, if the sizes fit.
pub(crate) fn count(parameters: &Layout, moments: &Layout) -> Result<usize> {
    let count = parameters.shape().elem_count();
    if moments.shape().elem_count() != 2 * count {
        bail!("{count} parameters and moments {:?}", moments.shape())
    }
    Ok(count)
}

impl InplaceOp2 for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn cpu_fwd(
        &self,
        moments: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let count = count(gradient_layout, layout)?;
        let [share1, share2] = self.0;
        let (first, second) = changed(moments, layout)?.split_at_mut(count);
        let gradient = slice::<f32>(gradient, gradient_layout)?;
        for ((m, v), g) in first.iter_mut().zip(second).zip(gradient) {
            *m += (g - *m) * share1;
            *v += (g * g - *v) * share2;
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        moments: &mut CudaStorage,
        layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        crate::cuda::gradient::moments(self, (moments, layout), (gradient, gradient_layout))
    }
}

impl InplaceOp2 for AdamStep {
    fn name(&self) -> &'static str {
        "adam-step"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        layout: &Layout,
        moments: &CpuStorage,
        moments_layout: &Layout,
    ) -> Result<()> {
        let count = count(layout, moments_layout)?;
        let (first, second) = slice::<f32>(moments, moments_layout)?.split_at(count);
        for ((value, m), v) in changed(values, layout)?.iter_mut().zip(first).zip(second) {
            *value = *value * self.kept - self.step * m / (v.sqrt() + self.eps);
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        values: &mut CudaStorage,
        layout: &Layout,
        moments: &CudaStorage,
        moments_layout: &Layout,
    ) -> Result<()> {
        crate::cuda::gradient::adam_step(self, (values, layout), (moments, moments_layout))
    }
}
