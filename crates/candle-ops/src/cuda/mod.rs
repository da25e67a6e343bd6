//! The CUDA code besides candle: Taper's own kernels, compiled for the device at hand by NVRTC on
//! first use, cuDNN with channels last, and the device's single stream and memory.

#[cfg(feature = "cudnn")]
pub(crate) mod cudnn;
pub(crate) mod dropout;
pub(crate) mod frozen;
pub(crate) mod gradient;

use std::sync::{Arc, OnceLock};

use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result, bail,
    cuda_backend::{
        CudaDType,
        cudarc::{
            driver::{CudaFunction, CudaStream, CudaView, LaunchArgs, LaunchConfig, result, sys},
            nvrtc,
        },
    },
};

const SOURCE: &str = include_str!("kernels.cu");
const THREADS: u32 = 256;
/// The name under which candle keeps the compiled kernels.
const MODULE: &str = "taper";

/// An error of the driver as one of candle.
pub fn failed(error: impl std::error::Error + Send + Sync + 'static) -> candle_core::Error {
    candle_core::Error::wrap(error)
}

/// Prepares a device that was just opened, before anything is allocated on it.
///
/// # Errors
/// What the driver says.
pub fn prepare(device: &CudaDevice) -> Result<()> {
    // SAFETY: tensors are allocated, used and freed in the device's one stream, whichever thread
    // gives the work, so that no two uses need an event between them. The only other stream is that
    // of transfers, which keep their own events.
    unsafe { device.disable_event_tracking() };
    if let Some(pool) = memory_pool(device)? {
        let mut keep = u64::MAX;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the pool is the device's own, and this attribute is a u64. By default every wait
        // for the device gives all that is free back to the system, and the next batch has to ask
        // for it again.
        unsafe { result::mem_pool::set_attribute(pool, threshold, (&raw mut keep).cast()) }
            .map_err(failed)?;
    }
    Ok(())
}

/// The device's memory pool, if allocations are in stream order.
fn memory_pool(device: &CudaDevice) -> Result<Option<sys::CUmemoryPool>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    // SAFETY: the device is that of an open context.
    let pool = unsafe { result::device::get_default_mem_pool(context.cu_device()) };
    pool.map(Some).map_err(failed)
}

/// Bytes that can be allocated: free ones, and unused ones in the pool.
///
/// # Errors
/// What the driver says.
pub fn free_memory(device: &CudaDevice) -> Result<usize> {
    let free = device.cuda_stream().context().mem_get_info().map_err(failed)?.0;
    let Some(pool) = memory_pool(device)? else { return Ok(free) };
    let read = |attribute| {
        let mut bytes = 0u64;
        // SAFETY: the pool is the device's own, and these attributes are u64.
        unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }
            .map(|()| bytes as usize)
            .map_err(failed)
    };
    let held = read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Ok(free + held.saturating_sub(used))
}

/// The kernels as PTX.
///
/// # Errors
/// What the compiler says.
pub(crate) fn ptx() -> Result<&'static str> {
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compiled = PTX.get_or_init(|| match nvrtc::compile_ptx(SOURCE) {
        Ok(ptx) => Ok(ptx.to_src()),
        Err(error) => Err(format!("the kernels do not compile: {error}")),
    });
    match compiled {
        Ok(ptx) => Ok(ptx),
        Err(error) => bail!("{error}"),
    }
}

/// A kernel of kernels.cu, and the stream that it runs in. (candle's own type for both cannot be
/// named.)
struct Kernel {
    function: CudaFunction,
    stream: Arc<CudaStream>,
}

impl Kernel {
    fn builder(&self) -> LaunchArgs<'_> {
        self.stream.launch_builder(&self.function)
    }
}

fn kernel(device: &CudaDevice, name: &str) -> Result<Kernel> {
    let function = device.get_or_load_custom_func(name, MODULE, ptx()?)?;
    Ok(Kernel { function: function.into_cuda_function(), stream: device.cuda_stream() })
}

/// One thread for each item, within what a grid-stride loop over u32 can count.
fn grid(items: usize) -> Result<LaunchConfig> {
    let Ok(items) = u32::try_from(items) else {
        // Worded like the driver's error, so that the batch is halved.
        bail!("CUDA_ERROR_OUT_OF_MEMORY: {items} values are more than a kernel counts")
    };
    // The stride must not carry the counter past the end of u32.
    if items > u32::MAX / 2 {
        bail!("CUDA_ERROR_OUT_OF_MEMORY: {items} values are more than a kernel counts")
    }
    let blocks = items.div_ceil(THREADS).clamp(1, 1 << 16);
    Ok(LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 })
}

fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        _ => "bf16",
    }
}

/// The values of a contiguous tensor.
///
/// # Errors
/// If it is not contiguous, or of another type.
pub fn view<'a, T: CudaDType>(
    storage: &'a CudaStorage,
    layout: &Layout,
) -> Result<CudaView<'a, T>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(storage.as_cuda_slice::<T>()?.slice(start..end)),
        None => bail!("maps must be contiguous"),
    }
}
