//! Dense convolutions through cuDNN, channels last throughout: candle's own calls store maps
//! channels first, which tensor cores do not read without a transposition.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, DType, Layout, Result, Shape,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        CudaDType, DeviceId,
        cudarc::{
            cudnn::{
                ConvForward, Cudnn, CudnnDataType, CudnnError,
                sys::{
                    cudnnConvolutionFwdAlgo_t as Algorithm, cudnnConvolutionMode_t as Mode,
                    cudnnMathType_t as Math, cudnnTensorFormat_t as Format,
                },
            },
            driver::{CudaSlice, DeviceRepr},
        },
    },
};
use half::{bf16, f16};

use super::failed;
use crate::frozen::custom::{Slide, Window};

/// A dense convolution with symmetric padding, without bias. Takes maps `[n, h, w, c]` and a filter
/// `[out, kernel, kernel, c / groups]` of the same type; gives maps `[n, oh, ow, out]`.
pub(crate) struct Conv {
    pub(crate) slide: Slide,
    /// Zeros on each side.
    pub(crate) padding: usize,
    pub(crate) groups: usize,
    /// Whether f32 may be rounded to TF32 on the way into tensor cores.
    pub(crate) tf32: bool,
}

thread_local! {
    // cuDNN's handles belong to a thread.
    static HANDLES: RefCell<HashMap<DeviceId, Arc<Cudnn>>> = RefCell::default();
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "cudnn-convolution"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("cuDNN computes on CUDA only")
    }

    fn cuda_fwd(
        &self,
        maps: &CudaStorage,
        maps_layout: &Layout,
        filter: &CudaStorage,
        filter_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let window = self.slide.over(maps_layout.dims())?;
        let &[out, _, _, per_group] = filter_layout.dims() else {
            bail!("a filter is [out, kernel, kernel, channels], not {:?}", filter_layout.dims())
        };
        let maps = (maps, maps_layout);
        let filter = (filter, filter_layout);
        let sizes = [out, per_group];
        match maps.0.dtype() {
            DType::F32 => self.run::<f32>(window, sizes, maps, filter, (1.0, 0.0)),
            DType::F16 => self.run::<f16>(window, sizes, maps, filter, (f16::ONE, f16::ZERO)),
            DType::BF16 => self.run::<bf16>(window, sizes, maps, filter, (bf16::ONE, bf16::ZERO)),
            other => bail!("a frozen network computes in f32, f16 or bf16, not in {other:?}"),
        }
    }
}

impl Conv {
    fn run<T: CudnnDataType + CudaDType + DeviceRepr>(
        &self,
        window: Window,
        [out, per_group]: [usize; 2],
        (maps, maps_layout): (&CudaStorage, &Layout),
        (filter, filter_layout): (&CudaStorage, &Layout),
        scaling: (T, T),
    ) -> Result<(CudaStorage, Shape)> {
        let device = &maps.device;
        let (Some((from, to)), Some((filter_from, filter_to))) =
            (maps_layout.contiguous_offsets(), filter_layout.contiguous_offsets())
        else {
            bail!("a frozen network works on contiguous tensors")
        };
        let cudnn = HANDLES.with_borrow_mut(|handles| match handles.get(&device.id()) {
            Some(cudnn) => Ok(Arc::clone(cudnn)),
            None => {
                let cudnn = Cudnn::new(device.cuda_stream()).map_err(failed)?;
                handles.insert(device.id(), Arc::clone(&cudnn));
                Ok::<_, candle_core::Error>(cudnn)
            }
        })?;
        let number = |size: usize| size as i32;
        let both = |size: usize| [number(size); 2];
        let Slide { kernel, stride, dilation, .. } = self.slide;
        // Sums are f32 whatever the maps are.
        let mut conv = cudnn
            .create_conv2d::<f32>(
                both(self.padding),
                both(stride),
                both(dilation),
                Mode::CUDNN_CROSS_CORRELATION,
            )
            .map_err(failed)?;
        conv.set_group_count(number(self.groups)).map_err(failed)?;
        // The default lets f32 be rounded to TF32, and computes bf16 without tensor cores: on an
        // H200 at a fourteenth of the speed for VGG-16.
        let math = match maps.dtype() {
            DType::F32 if !self.tf32 => Math::CUDNN_FMA_MATH,
            DType::F32 => Math::CUDNN_DEFAULT_MATH,
            _ => Math::CUDNN_TENSOR_OP_MATH,
        };
        conv.set_math_type(math).map_err(failed)?;
        let format = Format::CUDNN_TENSOR_NHWC;
        let sides = [window.n, window.channels, window.height, window.width].map(|s| s as i32);
        let x = cudnn.create_4d_tensor::<T>(format, sides).map_err(failed)?;
        let sides = [number(out), number(per_group), number(kernel), number(kernel)];
        let w = cudnn.create_4d_filter::<T>(format, sides).map_err(failed)?;
        let sides =
            [window.n as i32, number(out), window.out_height as i32, window.out_width as i32];
        let y = cudnn.create_4d_tensor::<T>(format, sides).map_err(failed)?;
        let forward = ConvForward { conv: &conv, x: &x, w: &w, y: &y };
        // Both are deterministic and support channels last for every type; cuDNN's own choice would
        // depend on its version and on the free memory. The second needs no workspace and is
        // slower.
        let sized = |algorithm| Ok((algorithm, forward.get_workspace_size(algorithm)?));
        let (algorithm, bytes) = sized(Algorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM)
            .or_else(|_: CudnnError| sized(Algorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM))
            .map_err(failed)?;
        let mut workspace = match bytes {
            0 => None,
            // SAFETY: a workspace needs no content.
            bytes => Some(unsafe { device.alloc::<u8>(bytes) }?),
        };
        let shape = Shape::from((
            window.n as usize,
            window.out_height as usize,
            window.out_width as usize,
            out,
        ));
        // SAFETY: the convolution writes every value.
        let mut values: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let source = maps.as_cuda_slice::<T>()?.slice(from..to);
        let weights = filter.as_cuda_slice::<T>()?.slice(filter_from..filter_to);
        // SAFETY: types, layouts and lengths are those of the descriptors.
        unsafe {
            forward.launch(algorithm, workspace.as_mut(), scaling, &source, &weights, &mut values)
        }
        .map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(values, device.clone()), shape))
    }
}
