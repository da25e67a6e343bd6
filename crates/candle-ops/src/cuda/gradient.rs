//! The operations of the backward pass on CUDA.

use candle_core::{
    CudaStorage, DType, Layout, Result, Shape, Storage, Tensor,
    backend::BackendStorage,
    bail,
    cuda_backend::cudarc::driver::{CudaSlice, PushKernelArg},
};
use half::{bf16, f16};

use super::{failed, frozen::vector, grid, kernel, suffix, view};
use crate::{
    adam::{AdamStep, Moments, count},
    custom::by_type,
    gradient::{
        Activated, ActivationGradient, ColumnSums, Combine, DepthwiseData, DepthwiseWeights, Fold,
        LayerNormGradient, MaxPoolGradient, Total, chunks,
    },
};

type On<'a> = (&'a CudaStorage, &'a Layout);
type Made = Result<(CudaStorage, Shape)>;

/// How many neighbouring channels of both a thread takes.
fn width(channels: usize, a: On<'_>, b: On<'_>) -> Result<usize> {
    if a.0.dtype() != b.0.dtype() {
        bail!("types {:?} and {:?} are not the same", a.0.dtype(), b.0.dtype())
    }
    let offsets = [a.1.start_offset(), b.1.start_offset()];
    Ok(vector(channels, a.0.dtype().size_in_bytes(), &offsets))
}

fn same(a: On<'_>, b: On<'_>) -> Result<()> {
    if a.1.shape() != b.1.shape() {
        bail!("shapes {:?} and {:?} are not the same", a.1.shape(), b.1.shape())
    }
    Ok(())
}

pub(crate) fn depthwise_data(op: &DepthwiseData, dy: On<'_>, weights: On<'_>) -> Made {
    let (device, dtype, shape) = (&dy.0.device, dy.0.dtype(), op.0.input());
    let vector = width(op.0.channels as usize, dy, dy)?;
    let function = kernel(device, &format!("depthwise_data_{}_{vector}", suffix(dtype)))?;
    let weights = view::<f32>(weights.0, weights.1)?;
    if weights.len() != (op.0.kernel * op.0.kernel * op.0.channels) as usize {
        bail!("a depthwise filter has {} weights", weights.len())
    }
    by_type!(dtype, T => {
        let dy = view::<T>(dy.0, dy.1)?;
        // SAFETY: the kernel writes every value.
        let dx: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let mut launch = function.builder();
        launch.arg(&dy).arg(&weights).arg(&dx).arg(&op.0);
        // SAFETY: the arguments are those of the kernel in kernels.cu; their lengths were checked.
        unsafe { launch.launch(grid(shape.elem_count() / vector)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(dx, device.clone()), shape))
    })
}

pub(crate) fn depthwise_weights(op: &DepthwiseWeights, x: On<'_>, dy: On<'_>) -> Made {
    let window = op.0.over(x.1.dims())?;
    let (chunks, columns) = op.sizes(&window);
    let (device, dtype) = (&x.0.device, x.0.dtype());
    let vector = width(window.channels as usize, x, dy)?;
    let function = kernel(device, &format!("depthwise_weights_{}_{vector}", suffix(dtype)))?;
    let count = chunks as u32;
    // A kernel counts windows and the values of both maps.
    grid(x.1.shape().elem_count().max(dy.1.shape().elem_count()) / vector)?;
    by_type!(dtype, T => {
        let (x, dy) = (view::<T>(x.0, x.1)?, view::<T>(dy.0, dy.1)?);
        // SAFETY: the kernel writes every value.
        let sums: CudaSlice<f32> = unsafe { device.alloc(chunks * columns)? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&dy).arg(&sums).arg(&window).arg(&count);
        // SAFETY: the arguments are those of the kernel in kernels.cu; their shapes were checked.
        unsafe { launch.launch(grid(chunks * columns / vector)?) }.map_err(failed)?;
        let shape = Shape::from((chunks, columns));
        Ok((CudaStorage::wrap_cuda_slice(sums, device.clone()), shape))
    })
}

pub(crate) fn fold(op: &Fold, columns: On<'_>) -> Made {
    let (device, dtype, shape) = (&columns.0.device, columns.0.dtype(), op.0.input());
    let vector = width(op.0.channels as usize, columns, columns)?;
    let function = kernel(device, &format!("fold_{}_{vector}", suffix(dtype)))?;
    grid(columns.1.shape().elem_count() / vector)?;
    by_type!(dtype, T => {
        let columns = view::<T>(columns.0, columns.1)?;
        // SAFETY: the kernel writes every value.
        let dx: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let mut launch = function.builder();
        launch.arg(&columns).arg(&dx).arg(&op.0);
        // SAFETY: the arguments are those of the kernel in kernels.cu; their lengths were checked.
        unsafe { launch.launch(grid(shape.elem_count() / vector)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(dx, device.clone()), shape))
    })
}

pub(crate) fn max_pool_gradient(op: &MaxPoolGradient, x: On<'_>, dy: On<'_>) -> Made {
    let window = op.0.over(x.1.dims())?;
    let (device, dtype, shape) = (&x.0.device, x.0.dtype(), window.input());
    let vector = width(window.channels as usize, x, dy)?;
    let function = kernel(device, &format!("max_pool_gradient_{}_{vector}", suffix(dtype)))?;
    by_type!(dtype, T => {
        let (x, dy) = (view::<T>(x.0, x.1)?, view::<T>(dy.0, dy.1)?);
        // SAFETY: the kernel writes every value.
        let dx: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&dy).arg(&dx).arg(&window);
        // SAFETY: the arguments are those of the kernel in kernels.cu; their shapes were checked.
        unsafe { launch.launch(grid(shape.elem_count() / vector)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(dx, device.clone()), shape))
    })
}

/// Works with an optional f32 tensor on the device.
fn with_shift<R>(
    shift: Option<&Tensor>,
    work: impl FnOnce(Option<On<'_>>) -> Result<R>,
) -> Result<R> {
    let Some(shift) = shift else { return work(None) };
    let (storage, layout) = shift.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => work(Some((storage, layout))),
        _ => bail!("a shift must be where the maps are"),
    }
}

pub(crate) fn column_sums(op: &ColumnSums<'_>, a: On<'_>, b: On<'_>) -> Made {
    same(a, b)?;
    let [rows, channels] = op.sizes(a.1.dims())?;
    let chunks = chunks(rows, channels);
    let (device, dtype) = (&a.0.device, a.0.dtype());
    let mut vector = width(channels, a, b)?;
    for shift in op.shifts.into_iter().flatten() {
        let (_, layout) = shift.storage_and_layout();
        if !layout.start_offset().is_multiple_of(4) {
            vector = 1;
        }
    }
    let function = kernel(device, &format!("column_sums_{}_{vector}", suffix(dtype)))?;
    let [count, width, parts] = [rows, channels, chunks].map(|size| size as u32);
    grid(rows * channels / vector)?;
    with_shift(op.shifts[0], |shift_a| {
        with_shift(op.shifts[1], |shift_b| {
            let [shift_a, shift_b] =
                [shift_a, shift_b].map(|shift| shift.map(|(s, l)| view::<f32>(s, l)).transpose());
            let (shift_a, shift_b) = (shift_a?, shift_b?);
            by_type!(dtype, T => {
                let (a, b) = (view::<T>(a.0, a.1)?, view::<T>(b.0, b.1)?);
                // SAFETY: the kernel writes every value.
                let sums: CudaSlice<f32> = unsafe { device.alloc(chunks * 2 * channels)? };
                let mut launch = function.builder();
                launch.arg(&a);
                if op.single { launch.arg(&0u64) } else { launch.arg(&b) };
                for shift in [&shift_a, &shift_b] {
                    match shift {
                        Some(shift) => launch.arg(shift),
                        None => launch.arg(&0u64),
                    };
                }
                launch.arg(&sums).arg(&count).arg(&width).arg(&parts);
                // SAFETY: the arguments are those of the kernel in kernels.cu; their shapes were
                // checked; 0 is its null.
                unsafe { launch.launch(grid(chunks * channels / vector)?) }.map_err(failed)?;
                let shape = Shape::from((chunks, 2 * channels));
                Ok((CudaStorage::wrap_cuda_slice(sums, device.clone()), shape))
            })
        })
    })
}

pub(crate) fn total(op: &Total, x: On<'_>) -> Made {
    let &[rows, columns] = x.1.dims() else { bail!("sums are [rows, columns]") };
    let device = &x.0.device;
    let function = kernel(device, "total")?;
    let values = view::<f32>(x.0, x.1)?;
    let [count, width, groups] = [rows, columns, op.groups].map(|size| size as u32);
    // SAFETY: the kernel writes every value.
    let y: CudaSlice<f32> = unsafe { device.alloc(op.groups * columns)? };
    let mut launch = function.builder();
    launch.arg(&values).arg(&y).arg(&count).arg(&width).arg(&groups);
    // SAFETY: the arguments are those of `total` in kernels.cu, and as long as it reads and writes.
    unsafe { launch.launch(grid(op.groups * columns)?) }.map_err(failed)?;
    let shape = Shape::from((op.groups, columns));
    Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
}

pub(crate) fn combine(op: &Combine, a: On<'_>, b: On<'_>, factors: On<'_>) -> Made {
    same(a, b)?;
    let (device, dtype, shape) = (&a.0.device, a.0.dtype(), a.1.shape().clone());
    let factors = view::<f32>(factors.0, factors.1)?;
    let (channels, items) = (factors.len() / 3, shape.elem_count());
    let vector = width(channels, a, b)?;
    let function = kernel(device, &format!("combine_{}_{vector}", suffix(dtype)))?;
    let (rows, columns) = ((items / channels.max(1)) as u32, channels as u32);
    by_type!(dtype, T => {
        let (a, b) = (view::<T>(a.0, a.1)?, view::<T>(b.0, b.1)?);
        // SAFETY: the kernel writes every value.
        let y: CudaSlice<T> = unsafe { device.alloc(items)? };
        let mut launch = function.builder();
        launch.arg(&a);
        if op.single { launch.arg(&0u64) } else { launch.arg(&b) };
        launch.arg(&factors).arg(&y).arg(&rows).arg(&columns);
        // SAFETY: the arguments are those of the kernel in kernels.cu; their shapes were checked; 0
        // is its null.
        unsafe { launch.launch(grid(items / vector)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    })
}

pub(crate) fn activated(op: &Activated, x: On<'_>) -> Made {
    let (device, dtype, shape) = (&x.0.device, x.0.dtype(), x.1.shape().clone());
    let items = shape.elem_count();
    let vector = width(items, x, x)?;
    let function = kernel(device, &format!("activated_{}_{vector}", suffix(dtype)))?;
    let count = items as u32;
    by_type!(dtype, T => {
        let x = view::<T>(x.0, x.1)?;
        // SAFETY: the kernel writes every value.
        let y: CudaSlice<T> = unsafe { device.alloc(items)? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&y).arg(&count).arg(&op.0);
        // SAFETY: the arguments are those of the kernel in kernels.cu, and as long as `count`.
        unsafe { launch.launch(grid(items)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), shape))
    })
}

pub(crate) fn activation_gradient(op: &ActivationGradient, kept: On<'_>, dy: On<'_>) -> Made {
    same(kept, dy)?;
    let (device, dtype, shape) = (&dy.0.device, dy.0.dtype(), dy.1.shape().clone());
    let items = shape.elem_count();
    let vector = width(items, kept, dy)?;
    let function = kernel(device, &format!("activation_gradient_{}_{vector}", suffix(dtype)))?;
    let count = items as u32;
    by_type!(dtype, T => {
        let (kept, dy) = (view::<T>(kept.0, kept.1)?, view::<T>(dy.0, dy.1)?);
        // SAFETY: the kernel writes every value.
        let dx: CudaSlice<T> = unsafe { device.alloc(items)? };
        let mut launch = function.builder();
        launch.arg(&kept).arg(&dy).arg(&dx).arg(&count).arg(&op.0);
        // SAFETY: the arguments are those of the kernel in kernels.cu, and as long as `count`.
        unsafe { launch.launch(grid(items)?) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(dx, device.clone()), shape))
    })
}

pub(crate) fn layer_norm_gradient(
    op: &LayerNormGradient,
    x: On<'_>,
    dy: On<'_>,
    scale: On<'_>,
) -> Made {
    same(x, dy)?;
    let (device, dtype) = (&x.0.device, x.0.dtype());
    let scale = view::<f32>(scale.0, scale.1)?;
    let shape = LayerNormGradient::output(x.1, scale.len())?;
    let (rows, channels) = (shape.dims()[1], scale.len());
    let vector = width(channels, x, dy)?;
    let function = kernel(device, &format!("layer_norm_gradient_{}_{vector}", suffix(dtype)))?;
    // A kernel counts vectors of both outputs, and a warp takes a row.
    grid(shape.elem_count() / vector)?;
    let threads = grid(rows * 32)?;
    let (count, columns) = (rows as u32, channels as u32);
    by_type!(dtype, T => {
        let (x, dy) = (view::<T>(x.0, x.1)?, view::<T>(dy.0, dy.1)?);
        // SAFETY: the kernel writes every value.
        let dx: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let mut launch = function.builder();
        launch.arg(&x).arg(&dy).arg(&scale).arg(&dx).arg(&count).arg(&columns).arg(&op.eps);
        // SAFETY: the arguments are those of the kernel in kernels.cu; their lengths were checked.
        unsafe { launch.launch(threads) }.map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(dx, device.clone()), shape))
    })
}

/// The place of a contiguous tensor that is changed.
fn place(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("an optimizer works on contiguous f32 tensors"),
    }
}

pub(crate) fn moments(
    op: &Moments,
    (moments, layout): (&mut CudaStorage, &Layout),
    (gradient, gradient_layout): On<'_>,
) -> Result<()> {
    let items = count(gradient_layout, layout)?;
    let function = kernel(&moments.device, "moments")?;
    let gradient = view::<f32>(gradient, gradient_layout)?;
    let mut values = moments.as_cuda_slice_mut::<f32>()?.slice_mut(place(layout)?);
    let ([share1, share2], count) = (op.0, items as u32);
    let mut launch = function.builder();
    launch.arg(&mut values).arg(&gradient).arg(&count).arg(&share1).arg(&share2);
    // SAFETY: the arguments are those of `moments` in kernels.cu; their lengths were checked.
    unsafe { launch.launch(grid(items)?) }.map_err(failed)?;
    Ok(())
}

pub(crate) fn adam_step(
    op: &AdamStep,
    (values, layout): (&mut CudaStorage, &Layout),
    (moments, moments_layout): On<'_>,
) -> Result<()> {
    let items = count(layout, moments_layout)?;
    let function = kernel(&values.device, "adam_step")?;
    let moments = view::<f32>(moments, moments_layout)?;
    let mut values = values.as_cuda_slice_mut::<f32>()?.slice_mut(place(layout)?);
    let count = items as u32;
    let mut launch = function.builder();
    launch.arg(&mut values).arg(&moments).arg(&count);
    launch.arg(&op.kept).arg(&op.step).arg(&op.eps);
    // SAFETY: the arguments are those of `adam_step` in kernels.cu; their lengths were checked.
    unsafe { launch.launch(grid(items)?) }.map_err(failed)?;
    Ok(())
}
