//! The operations of the forward pass on CUDA.

use candle_core::{
    CudaStorage, DType, Layout, Result, Shape, Storage,
    backend::BackendStorage,
    bail,
    cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, PushKernelArg},
};
use half::{bf16, f16};

use super::{failed, grid, kernel, suffix, view};
use crate::custom::{
    Affine, Depthwise, MaxPool, Normalise, Pointwise, Unfold, Window, by_type, code,
};

// SAFETY: `Window` is `repr(C)` and holds nothing but u32, as in kernels.cu.
unsafe impl DeviceRepr for Window {}
// SAFETY: `Affine` is `repr(C)` and holds nothing but f32, as in kernels.cu.
unsafe impl DeviceRepr for Affine {}

/// Pixels that a thread of `pointwise` takes together: TOGETHER in kernels.cu.
const TOGETHER: usize = 4;

/// How many neighbouring channels a thread takes: 16 bytes where the channels allow it.
pub(super) fn vector(channels: usize, size: usize, offsets: &[usize]) -> usize {
    let wide = 16 / size;
    let mut divided = offsets.iter().copied().chain([channels]);
    let fits = divided.all(|size| size.is_multiple_of(wide));
    if fits { wide } else { 1 }
}

pub(crate) fn normalise(
    op: &Normalise,
    storage: &CudaStorage,
    layout: &Layout,
) -> Result<(CudaStorage, Shape)> {
    let shape = op.output(layout.dims())?;
    let (device, items) = (&storage.device, shape.elem_count());
    let pixels = view::<u8>(storage, layout)?;
    let function = kernel(device, &format!("normalise_{}", suffix(op.dtype)))?;
    let (count, channels) = ((items / op.channels) as u32, op.channels as u32);
    by_type!(op.dtype, T => {
        // SAFETY: the kernel writes every value.
        let y: CudaSlice<T> = unsafe { device.alloc(items)? };
        let mut launch = function.builder();
        launch.arg(&pixels).arg(&y).arg(&count).arg(&channels).arg(&op.affine);
        // SAFETY: the arguments are those of `normalise_*` in kernels.cu, and as long as it reads
        // and writes.
        unsafe { launch.launch(grid(items)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    })
}

/// Runs a kernel that reads maps, writes maps and takes a window.
fn slide(
    name: &str,
    window: Window,
    storage: &CudaStorage,
    layout: &Layout,
    shape: Shape,
) -> Result<(CudaStorage, Shape)> {
    let (device, dtype, channels) = (&storage.device, storage.dtype(), window.channels as usize);
    let vector = vector(channels, dtype.size_in_bytes(), &[layout.start_offset()]);
    let function = kernel(device, &format!("{name}_{}_{vector}", suffix(dtype)))?;
    by_type!(dtype, T => {
        let x = view::<T>(storage, layout)?;
        // SAFETY: the kernel writes every value.
        let y: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&y).arg(&window);
        // SAFETY: the arguments are those of the kernel in kernels.cu, and as long as the window
        // says.
        unsafe { launch.launch(grid(shape.elem_count() / vector)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    })
}

pub(crate) fn unfold(
    op: &Unfold,
    storage: &CudaStorage,
    layout: &Layout,
) -> Result<(CudaStorage, Shape)> {
    let window = op.0.over(layout.dims())?;
    slide("unfold", window, storage, layout, Unfold::output(&window))
}

pub(crate) fn max_pool(
    op: &MaxPool,
    storage: &CudaStorage,
    layout: &Layout,
) -> Result<(CudaStorage, Shape)> {
    let window = op.0.over(layout.dims())?;
    slide("max_pool", window, storage, layout, window.output())
}

pub(crate) fn depthwise(
    op: &Depthwise,
    (storage, layout): (&CudaStorage, &Layout),
    (weights, weights_layout): (&CudaStorage, &Layout),
    (bias, bias_layout): (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let window = op.0.over(layout.dims())?;
    let (device, dtype, shape) = (&storage.device, storage.dtype(), window.output());
    let channels = window.channels as usize;
    let vector = vector(channels, dtype.size_in_bytes(), &[layout.start_offset()]);
    let function = kernel(device, &format!("depthwise_{}_{vector}", suffix(dtype)))?;
    let (weights, bias) = (view::<f32>(weights, weights_layout)?, view::<f32>(bias, bias_layout)?);
    if weights.len() != (window.kernel * window.kernel) as usize * channels
        || bias.len() != channels
    {
        bail!("a depthwise filter has {} weights for {channels} channels", weights.len())
    }
    by_type!(dtype, T => {
        let x = view::<T>(storage, layout)?;
        // SAFETY: the kernel writes every value.
        let y: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&weights).arg(&bias).arg(&y).arg(&window);
        // SAFETY: the arguments are those of `depthwise_*` in kernels.cu; their lengths were
        // checked.
        unsafe { launch.launch(grid(shape.elem_count() / vector)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    })
}

pub(crate) fn pointwise(
    op: &Pointwise<'_>,
    (storage, layout): (&CudaStorage, &Layout),
    (weights, weights_layout): (&CudaStorage, &Layout),
    (bias, bias_layout): (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let shape = op.output(layout.dims(), weights_layout.dims(), bias_layout.dims())?;
    let (device, dtype) = (&storage.device, storage.dtype());
    let (weights, bias) = (view::<f32>(weights, weights_layout)?, view::<f32>(bias, bias_layout)?);
    let (outputs, items) = (bias.len(), shape.elem_count());
    let (inputs, pixels) = (weights.len() / outputs.max(1), items / outputs.max(1));
    let other = op.residual.map(|residual| residual.storage_and_layout());
    let other = match &other {
        None => None,
        Some((storage, layout)) => match &**storage {
            Storage::Cuda(storage) => Some((storage, *layout)),
            _ => bail!("a residual must be where the maps are"),
        },
    };
    let offsets = [layout.start_offset(), inputs, other.map_or(0, |(_, l)| l.start_offset())];
    let vector = vector(outputs, dtype.size_in_bytes(), &offsets);
    let function = kernel(device, &format!("pointwise_{}_{vector}", suffix(dtype)))?;
    let [count, inputs, outputs] = [pixels, inputs, outputs].map(|size| size as u32);
    let activation = code(op.activation);
    // A kernel counts the vectors of both sides.
    grid(layout.shape().elem_count() / vector)?;
    grid(items / vector)?;
    let threads = grid(pixels.div_ceil(TOGETHER) * (bias.len() / vector))?;
    by_type!(dtype, T => {
        let x = view::<T>(storage, layout)?;
        let other = other.map(|(s, l)| view::<T>(s, l)).transpose()?;
        // SAFETY: the kernel writes every value.
        let y: CudaSlice<T> = unsafe { device.alloc(items)? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&weights).arg(&bias);
        match &other {
            Some(other) => launch.arg(other),
            None => launch.arg(&0u64),
        };
        launch.arg(&y).arg(&count).arg(&inputs).arg(&outputs).arg(&activation);
        // SAFETY: the arguments are those of `pointwise_*` in kernels.cu; their shapes were
        // checked; 0 is its null.
        unsafe { launch.launch(threads) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    })
}

pub(crate) fn finish(
    activation: u32,
    (y, y_layout): (&mut CudaStorage, &Layout),
    (bias, bias_layout): (&CudaStorage, &Layout),
    residual: Option<(&CudaStorage, &Layout)>,
) -> Result<()> {
    let (device, dtype) = (y.device.clone(), y.dtype());
    let bias = view::<f32>(bias, bias_layout)?;
    let (channels, items) = (bias.len(), y_layout.shape().elem_count());
    if !items.is_multiple_of(channels.max(1))
        || residual.is_some_and(|(_, l)| l.shape().elem_count() != items)
    {
        bail!("{items} values cannot take {channels} biases and this residual")
    }
    let Some((start, end)) = y_layout.contiguous_offsets() else {
        bail!("maps must be contiguous")
    };
    let offsets = [start, residual.map_or(0, |(_, l)| l.start_offset())];
    let vector = vector(channels, dtype.size_in_bytes(), &offsets);
    let function = kernel(&device, &format!("finish_{}_{vector}", suffix(dtype)))?;
    let (rows, width) = ((items / channels.max(1)) as u32, channels as u32);
    by_type!(dtype, T => {
        let other = residual.map(|(s, l)| view::<T>(s, l)).transpose()?;
        let mut values = y.as_cuda_slice_mut::<T>()?.slice_mut(start..end);
        let mut launch = function.builder();
        launch.arg(&mut values).arg(&bias);
        match &other {
            Some(other) => launch.arg(other),
            None => launch.arg(&0u64),
        };
        launch.arg(&rows).arg(&width).arg(&activation);
        // SAFETY: the arguments are those of `finish_*` in kernels.cu; their lengths were checked;
        // 0 is its null.
        unsafe { launch.launch(grid(items / vector)?) }.map_err(failed)?;
        Ok(())
    })
}

pub(crate) fn layer_norm(
    eps: f32,
    (storage, layout): (&CudaStorage, &Layout),
    (scale, scale_layout): (&CudaStorage, &Layout),
    (bias, bias_layout): (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let (device, dtype, shape) = (&storage.device, storage.dtype(), layout.shape().clone());
    let (scale, bias) = (view::<f32>(scale, scale_layout)?, view::<f32>(bias, bias_layout)?);
    let (channels, items) = (scale.len(), shape.elem_count());
    if bias.len() != channels || channels == 0 || !items.is_multiple_of(channels) {
        bail!("{items} values cannot take {channels} scales and {} biases", bias.len())
    }
    let vector = vector(channels, dtype.size_in_bytes(), &[layout.start_offset()]);
    let function = kernel(device, &format!("layer_norm_{}_{vector}", suffix(dtype)))?;
    let (rows, width) = (items / channels, channels as u32);
    // A kernel counts vectors, and a warp takes a row.
    grid(items / vector)?;
    let threads = grid(rows * 32)?;
    let count = rows as u32;
    by_type!(dtype, T => {
        let x = view::<T>(storage, layout)?;
        // SAFETY: the kernel writes every value.
        let y: CudaSlice<T> = unsafe { device.alloc(items)? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&scale).arg(&bias).arg(&y).arg(&count).arg(&width).arg(&eps);
        // SAFETY: the arguments are those of `layer_norm_*` in kernels.cu; their lengths were
        // checked.
        unsafe { launch.launch(threads) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    })
}

pub(crate) fn global_average(
    storage: &CudaStorage,
    layout: &Layout,
) -> Result<(CudaStorage, Shape)> {
    let &[n, height, width, channels] = layout.dims() else {
        bail!("a mean over pixels needs [n, height, width, channels]")
    };
    let (device, dtype) = (&storage.device, storage.dtype());
    let function = kernel(device, &format!("global_average_{}", suffix(dtype)))?;
    let [count, pixels, width] = [n, height * width, channels].map(|size| size as u32);
    by_type!(dtype, T => {
        let x = view::<T>(storage, layout)?;
        // SAFETY: the kernel writes every value.
        let y: CudaSlice<f32> = unsafe { device.alloc(n * channels)? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&y).arg(&count).arg(&pixels).arg(&width);
        // SAFETY: the arguments are those of `global_average_*` in kernels.cu, and as long as it
        // reads and writes.
        unsafe { launch.launch(grid(n * channels)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), Shape::from((n, channels))))
    })
}
