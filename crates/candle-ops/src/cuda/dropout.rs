//! Dropout masks, drawn on the device: the same bits as on the CPU, and nothing goes over the bus.

use candle_core::{
    CpuStorage, CudaStorage, InplaceOp1, Layout, Result, bail, cuda_backend::cudarc,
};
use cudarc::driver::PushKernelArg;

use super::{failed, grid, kernel};

/// Fills f32 `[rows, columns]` with the mask of a dropout: 0 with its probability, else `kept`. Row
/// i has the stream (step, i) of the key.
pub(crate) struct DropoutMask {
    /// The words of the key.
    pub(crate) key: [u32; 2],
    pub(crate) step: u32,
    /// A value is dropped if its 24 random bits are below it.
    pub(crate) threshold: u32,
    pub(crate) kept: f32,
}

impl InplaceOp1 for DropoutMask {
    fn name(&self) -> &'static str {
        "dropout-mask"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("the CPU draws its masks by taper_core::random")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let &[rows, columns] = layout.dims() else {
            bail!("a mask is [rows, columns], not {:?}", layout.dims())
        };
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a mask is contiguous") };
        let device = storage.device.clone();
        let function = kernel(&device, "dropout_mask")?;
        let mut values = storage.as_cuda_slice_mut::<f32>()?.slice_mut(start..end);
        let [low, high] = self.key;
        let (count, width) = (rows as u32, columns as u32);
        let mut launch = function.builder();
        launch.arg(&mut values).arg(&count).arg(&width);
        launch.arg(&low).arg(&high).arg(&self.step).arg(&self.threshold).arg(&self.kept);
        // Each thread draws a block of four values.
        let blocks = rows * columns.div_ceil(4);
        // SAFETY: the arguments are those of `dropout_mask` in kernels.cu, which writes rows ·
        // columns values.
        unsafe { launch.launch(grid(blocks)?) }.map_err(failed)?;
        Ok(())
    }
}
