//! Page-locked memory, a stream for copies to the device, and the events that keep both in order.

use std::{
    ptr::NonNull,
    slice,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, DType, Device, InplaceOp1, Layout, Result, Storage,
    Tensor, bail,
    cuda_backend::cudarc::driver::{
        CudaEvent, CudaStream, DevicePtr, DevicePtrMut, result, sys::CUevent_flags,
    },
};

use taper_candle_ops::cuda::{failed, view};

/// How many batches can be in flight at the same time.
const SLOTS: usize = 2;

/// Page-locked host memory, and the event after which the device is done with it.
#[derive(Debug)]
struct Pinned<T> {
    start: NonNull<T>,
    len: usize,
    done: CudaEvent,
}

// SAFETY: it owns its memory; nothing of it belongs to a thread.
unsafe impl<T: Send> Send for Pinned<T> {}
// SAFETY: shared references only read.
unsafe impl<T: Sync> Sync for Pinned<T> {}

impl<T: Copy + Default> Pinned<T> {
    fn new(stream: &CudaStream, len: usize) -> Result<Self> {
        let context = stream.context();
        // A waiting thread sleeps: the cores have pictures to decode.
        let done =
            context.new_event(Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC)).map_err(failed)?;
        // SAFETY: the memory is written below before anything reads it.
        let start = unsafe { result::malloc_host(len * size_of::<T>(), 0) }.map_err(failed)?;
        let Some(start) = NonNull::new(start.cast::<T>()) else {
            bail!("CUDA_ERROR_OUT_OF_MEMORY: the driver gave no page-locked memory")
        };
        for i in 0..len {
            // SAFETY: i lies within the allocation, which is aligned to pages.
            unsafe { start.add(i).write(T::default()) };
        }
        Ok(Self { start, len, done })
    }

    /// The memory, once the device is done with it.
    fn values(&mut self) -> Result<&mut [T]> {
        self.done.synchronize().map_err(failed)?;
        Ok(self.queued())
    }

    /// The memory for work that is queued now and recorded in `done` afterwards.
    fn queued(&mut self) -> &mut [T] {
        // SAFETY: the memory is its own, as long as that, and was written by `new`.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // What cannot be waited for is not freed: the device may still write there.
        if self.done.synchronize().is_ok() {
            // SAFETY: it came from `malloc_host`, and nobody uses it any more.
            let _ = unsafe { result::free_host(self.start.as_ptr().cast()) };
        }
    }
}

/// Memory on both sides that batches use in turn.
#[derive(Debug)]
struct Slot {
    /// Its event is recorded after the copy to the device.
    here: Pinned<u8>,
    there: Tensor,
    /// Recorded after everything that reads `there`.
    read: CudaEvent,
}

/// Transfers to a device and back.
#[derive(Debug)]
pub(crate) struct Lanes {
    device: CudaDevice,
    /// Everything is computed there.
    compute: Arc<CudaStream>,
    /// Pictures are copied to the device in this stream, in parallel with the computation.
    arrivals: Arc<CudaStream>,
    slots: Vec<Slot>,
    next: usize,
    /// Memory for results that is not in use.
    returns: Arc<Mutex<Vec<Pinned<f32>>>>,
}

impl Lanes {
    pub(crate) fn new(device: &CudaDevice) -> Result<Self> {
        let compute = device.cuda_stream();
        let arrivals = compute.context().new_stream().map_err(failed)?;
        Ok(Self {
            device: device.clone(),
            compute,
            arrivals,
            slots: Vec::new(),
            next: 0,
            returns: Arc::default(),
        })
    }

    fn slot(&self, bytes: usize) -> Result<Slot> {
        let there = Tensor::zeros(bytes, DType::U8, &Device::Cuda(self.device.clone()))?;
        let here = Pinned::new(&self.arrivals, bytes)?;
        // Behind the allocation.
        let read = self.compute.record_event(None).map_err(failed)?;
        Ok(Slot { here, there, read })
    }

    pub(crate) fn send<T>(
        &mut self,
        pixels: &[u8],
        shape: [usize; 4],
        compute: impl FnOnce(&Tensor) -> crate::Result<T>,
    ) -> crate::Result<T> {
        if self.slots.first().is_none_or(|slot| slot.here.len < pixels.len()) {
            // Work queued on the old buffers runs before they are freed: `there` in stream order,
            // `here` after waiting.
            self.slots.clear();
            let slots = (0..SLOTS).map(|_| self.slot(pixels.len()));
            self.slots = slots.collect::<Result<_>>()?;
        }
        self.next = (self.next + 1) % SLOTS;
        let Slot { here, there, read } = &mut self.slots[self.next];
        here.values()?[..pixels.len()].copy_from_slice(pixels);
        // The batch before the last has been read by then.
        self.arrivals.wait(read).map_err(failed)?;
        let arrival =
            Arrival { from: Mutex::new(&here.queued()[..pixels.len()]), stream: &self.arrivals };
        there.inplace_op1(&arrival)?;
        here.done.record(&self.arrivals).map_err(failed)?;
        self.compute.wait(&here.done).map_err(failed)?;
        let x = there.narrow(0, 0, pixels.len())?.reshape(shape.as_slice())?;
        let computed = compute(&x);
        // Even if only a part of it was queued.
        read.record(&self.compute).map_err(failed)?;
        computed
    }

    pub(crate) fn read_back(&mut self, values: &Tensor) -> Result<Return> {
        let values = values.contiguous()?;
        let len = values.elem_count();
        let kept = {
            let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = returns.iter().position(|memory| memory.len >= len);
            fits.map(|index| returns.swap_remove(index))
        };
        let mut memory = match kept {
            Some(memory) => memory,
            None => Pinned::new(&self.compute, len)?,
        };
        {
            let (storage, layout) = values.storage_and_layout();
            let Storage::Cuda(storage) = &*storage else {
                bail!("what is read back from a device must be there")
            };
            let source = view::<f32>(storage, layout)?;
            let (address, _guard) = source.device_ptr(&self.compute);
            let target = &mut memory.queued()[..len];
            // SAFETY: both sides are as long as that; the tensor is freed in the order of this
            // stream, behind the copy, and the memory is kept until `done`.
            unsafe { result::memcpy_dtoh_async(target, address, self.compute.cu_stream()) }
                .map_err(failed)?;
        }
        memory.done.record(&self.compute).map_err(failed)?;
        Ok(Return { memory, len, home: Arc::clone(&self.returns) })
    }
}

/// A copy from page-locked memory, in a stream of its own.
struct Arrival<'a> {
    from: Mutex<&'a [u8]>,
    stream: &'a CudaStream,
}

impl InplaceOp1 for Arrival<'_> {
    fn name(&self) -> &'static str {
        "arrival"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("page-locked memory is for CUDA only")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        let from = *self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = storage.as_cuda_slice_mut::<u8>()?;
        if bytes.len() < from.len() {
            bail!("{} bytes have no room in {}", from.len(), bytes.len())
        }
        let (address, _guard) = bytes.device_ptr_mut(self.stream);
        // SAFETY: there is room; the slot's events keep both sides until the copy is done.
        unsafe { result::memcpy_htod_async(address, from, self.stream.cu_stream()) }.map_err(failed)
    }
}

/// Values on their way back.
#[derive(Debug)]
pub(crate) struct Return {
    memory: Pinned<f32>,
    len: usize,
    home: Arc<Mutex<Vec<Pinned<f32>>>>,
}

impl Return {
    pub(crate) fn wait(mut self) -> Result<Vec<f32>> {
        let values = self.memory.values()?[..self.len].to_vec();
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(self.memory);
        Ok(values)
    }
}
