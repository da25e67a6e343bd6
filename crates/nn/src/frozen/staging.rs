//! The way of pixels to a device. On CUDA they are copied into page-locked memory first, from where the transfer runs beside
//! the caller; from ordinary memory the driver would make the caller wait for everything that is queued before.

use candle_core::{Device, Result, Tensor};

/// Buffers that pixels go through, two in turns: while one is on its way, the next batch is written.
#[derive(Debug, Default)]
pub(super) struct Staging {
    #[cfg(feature = "cuda")]
    buffers: Vec<cuda::Buffer>,
    #[cfg(feature = "cuda")]
    next: usize,
}

impl Staging {
    /// u8 `[n, height, width, 3]` on the device.
    pub(super) fn send(
        &mut self,
        pixels: &[u8],
        shape: (usize, usize, usize, usize),
        device: &Device,
    ) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(cuda) = device {
            const BUFFERS: usize = 2;
            if self.buffers.first().is_none_or(|buffer| buffer.len() < pixels.len()) {
                self.buffers.clear();
                for _ in 0..BUFFERS {
                    self.buffers.push(cuda::Buffer::new(cuda, pixels.len())?);
                }
            }
            self.next = (self.next + 1) % BUFFERS;
            return self.buffers[self.next].send(pixels, shape);
        }
        Tensor::from_slice(pixels, shape, device)
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::sync::{Mutex, PoisonError};

    use candle_core::{
        CpuStorage, CudaDevice, CudaStorage, DType, Device, InplaceOp1, Layout, Result, Tensor,
        bail, cuda_backend::cudarc::driver::PinnedHostSlice,
    };

    /// Page-locked memory, and as much on the device.
    #[derive(Debug)]
    pub(super) struct Buffer {
        pinned: Mutex<PinnedHostSlice<u8>>,
        there: Tensor,
    }

    impl Buffer {
        pub(super) fn new(device: &CudaDevice, bytes: usize) -> Result<Self> {
            let context = device.cuda_stream().context().clone();
            // SAFETY: every byte that is read was written before: by the loop below, later by `send`.
            let mut pinned =
                unsafe { context.alloc_pinned::<u8>(bytes) }.map_err(candle_core::Error::wrap)?;
            pinned.as_mut_slice().map_err(candle_core::Error::wrap)?.fill(0);
            let there = Tensor::zeros(bytes, DType::U8, &Device::Cuda(device.clone()))?;
            Ok(Self { pinned: Mutex::new(pinned), there })
        }

        pub(super) fn len(&self) -> usize {
            self.there.elem_count()
        }

        pub(super) fn send(
            &mut self,
            pixels: &[u8],
            shape: (usize, usize, usize, usize),
        ) -> Result<Tensor> {
            let pinned = self.pinned.get_mut().unwrap_or_else(PoisonError::into_inner);
            // Waits until the transfer before the last has left the buffer.
            let bytes = pinned.as_mut_slice().map_err(candle_core::Error::wrap)?;
            bytes[..pixels.len()].copy_from_slice(pixels);
            self.there.inplace_op1(&Transfer(&self.pinned))?;
            // Work in a stream runs in order: what reads these pixels does so before they are overwritten.
            self.there.narrow(0, 0, pixels.len())?.reshape(shape)
        }
    }

    struct Transfer<'a>(&'a Mutex<PinnedHostSlice<u8>>);

    impl InplaceOp1 for Transfer<'_> {
        fn name(&self) -> &'static str {
            "transfer"
        }

        fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
            bail!("page-locked memory is for CUDA only")
        }

        fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
            let stream = storage.device.cuda_stream();
            let pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = storage.as_cuda_slice_mut::<u8>()?;
            stream.memcpy_htod(&*pinned, bytes).map_err(candle_core::Error::wrap)
        }
    }
}
