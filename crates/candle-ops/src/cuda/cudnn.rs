//! Dense convolutions through cuDNN, channels last throughout: candle's own calls store maps
//! channels first, which tensor cores do not read without a transposition.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp2, DType, Layout, Result, Shape, WithDType,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        CudaDType, DeviceId,
        cudarc::{
            cudnn::{
                ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn,
                CudnnDataType, CudnnError, FilterDescriptor, TensorDescriptor,
                sys::{
                    cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 as DATA,
                    cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 as FILTER,
                    cudnnConvolutionFwdAlgo_t as Algorithm, cudnnConvolutionMode_t as Mode,
                    cudnnMathType_t as Math, cudnnTensorFormat_t as Format,
                },
            },
            driver::{CudaSlice, DeviceRepr},
        },
    },
};
use half::{bf16, f16};

use super::{failed, view};
use crate::custom::{Slide, Window};

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

/// The maps' gradient: takes that of the output and the filter; gives maps of the shape `dims`.
pub(crate) struct ConvData {
    pub(crate) conv: Conv,
    pub(crate) dims: [usize; 4],
}

/// The filters' gradient: takes the maps and the gradient of the output; gives filters of the
/// shape `dims`.
pub(crate) struct ConvFilter<'a> {
    pub(crate) conv: Conv,
    pub(crate) dims: &'a [usize],
}

thread_local! {
    // cuDNN's handles belong to a thread.
    static HANDLES: RefCell<HashMap<DeviceId, Arc<Cudnn>>> = RefCell::default();
}

type On<'a> = (&'a CudaStorage, &'a Layout);

/// Types of maps that cuDNN knows.
trait Value: CudnnDataType + CudaDType + DeviceRepr + WithDType {
    /// The factors of the result and of what was there before.
    const SCALING: (Self, Self);
}

impl Value for f32 {
    const SCALING: (Self, Self) = (1.0, 0.0);
}

impl Value for f16 {
    const SCALING: (Self, Self) = (f16::ONE, f16::ZERO);
}

impl Value for bf16 {
    const SCALING: (Self, Self) = (bf16::ONE, bf16::ZERO);
}

/// The descriptors of a call.
struct Described<T: Value> {
    conv: ConvDescriptor<f32>,
    x: TensorDescriptor<T>,
    w: FilterDescriptor<T>,
    y: TensorDescriptor<T>,
}

impl Conv {
    /// The descriptors for maps `x` under a filter `[out, kernel, kernel, per group]`.
    fn described<T: Value>(
        &self,
        device: &CudaDevice,
        window: Window,
        filter: &[usize],
    ) -> Result<Described<T>> {
        let &[out, height, width, per_group] = filter else {
            bail!("a filter is [out, kernel, kernel, channels], not {filter:?}")
        };
        let Slide { kernel, stride, dilation, .. } = self.slide;
        if [height, width] != [kernel; 2] {
            bail!("a filter of {height} × {width} for windows of {kernel}")
        }
        let cudnn = HANDLES.with_borrow_mut(|handles| match handles.get(&device.id()) {
            Some(cudnn) => Ok(Arc::clone(cudnn)),
            None => {
                let cudnn = Cudnn::new(device.cuda_stream()).map_err(failed)?;
                handles.insert(device.id(), Arc::clone(&cudnn));
                Ok::<_, candle_core::Error>(cudnn)
            }
        })?;
        let both = |size: usize| [size as i32; 2];
        // Sums are f32 whatever the maps are.
        let mode = Mode::CUDNN_CROSS_CORRELATION;
        let mut conv = cudnn
            .create_conv2d::<f32>(both(self.padding), both(stride), both(dilation), mode)
            .map_err(failed)?;
        conv.set_group_count(self.groups as i32).map_err(failed)?;
        // As PyTorch asks for it (aten/src/ATen/cudnn/Descriptors.h): the default lets f32 be
        // rounded to TF32.
        let math = match T::DTYPE {
            DType::F32 if !self.tf32 => Math::CUDNN_FMA_MATH,
            DType::F16 | DType::BF16 => Math::CUDNN_TENSOR_OP_MATH,
            _ => Math::CUDNN_DEFAULT_MATH,
        };
        conv.set_math_type(math).map_err(failed)?;
        let format = Format::CUDNN_TENSOR_NHWC;
        let sides = [window.n, window.channels, window.height, window.width].map(|s| s as i32);
        let x = cudnn.create_4d_tensor::<T>(format, sides).map_err(failed)?;
        let sides = [out, per_group, kernel, kernel].map(|s| s as i32);
        let w = cudnn.create_4d_filter::<T>(format, sides).map_err(failed)?;
        let sides = [window.n, out as u32, window.out_height, window.out_width].map(|s| s as i32);
        let y = cudnn.create_4d_tensor::<T>(format, sides).map_err(failed)?;
        Ok(Described { conv, x, w, y })
    }

    fn forward<T: Value>(&self, maps: On<'_>, filter: On<'_>) -> Result<(CudaStorage, Shape)> {
        let device = &maps.0.device;
        let window = self.slide.over(maps.1.dims())?;
        let Described { conv, x, w, y } = self.described::<T>(device, window, filter.1.dims())?;
        let forward = ConvForward { conv: &conv, x: &x, w: &w, y: &y };
        // Both are deterministic and support channels last for every type; cuDNN's own choice would
        // depend on its version and on the free memory. The second needs no workspace and is
        // slower.
        let sized = |algorithm| Ok((algorithm, forward.get_workspace_size(algorithm)?));
        let (algorithm, bytes) = sized(Algorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM)
            .or_else(|_: CudnnError| sized(Algorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM))
            .map_err(failed)?;
        let mut workspace = workspace(device, bytes)?;
        let shape = Shape::from(output(window, filter.1.dims()[0]).to_vec());
        // SAFETY: the convolution writes every value.
        let mut values: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let (source, weights) = (view::<T>(maps.0, maps.1)?, view::<T>(filter.0, filter.1)?);
        let workspace = workspace.as_mut();
        // SAFETY: types, layouts and lengths are those of the descriptors.
        unsafe { forward.launch(algorithm, workspace, T::SCALING, &source, &weights, &mut values) }
            .map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(values, device.clone()), shape))
    }
}

impl ConvData {
    fn run<T: Value>(&self, dy: On<'_>, filter: On<'_>) -> Result<(CudaStorage, Shape)> {
        let device = &dy.0.device;
        let window = self.conv.slide.over(&self.dims)?;
        let Described { conv, x, w, y } =
            self.conv.described::<T>(device, window, filter.1.dims())?;
        if dy.1.dims() != output(window, filter.1.dims()[0]) {
            bail!("a gradient {:?} of a convolution of {:?}", dy.1.dims(), self.dims)
        }
        let data = ConvBackwardData { conv: &conv, dx: &x, w: &w, dy: &y };
        // Deterministic, unlike algorithm 0.
        let bytes = data.get_workspace_size(DATA).map_err(failed)?;
        let mut workspace = workspace(device, bytes)?;
        let shape = Shape::from(self.dims.to_vec());
        // SAFETY: the convolution writes every value.
        let mut values: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let (slopes, weights) = (view::<T>(dy.0, dy.1)?, view::<T>(filter.0, filter.1)?);
        let workspace = workspace.as_mut();
        // SAFETY: types, layouts and lengths are those of the descriptors.
        unsafe { data.launch(DATA, workspace, T::SCALING, &mut values, &weights, &slopes) }
            .map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(values, device.clone()), shape))
    }
}

impl ConvFilter<'_> {
    fn run<T: Value>(&self, maps: On<'_>, dy: On<'_>) -> Result<(CudaStorage, Shape)> {
        let device = &maps.0.device;
        let window = self.conv.slide.over(maps.1.dims())?;
        let Described { conv, x, w, y } = self.conv.described::<T>(device, window, self.dims)?;
        if dy.1.dims() != output(window, self.dims[0]) {
            bail!("a gradient {:?} of a convolution of {:?}", dy.1.dims(), maps.1.dims())
        }
        let filter = ConvBackwardFilter { conv: &conv, x: &x, dw: &w, dy: &y };
        // Deterministic, unlike algorithms 0 and 3.
        let bytes = filter.get_workspace_size(FILTER).map_err(failed)?;
        let mut workspace = workspace(device, bytes)?;
        let shape = Shape::from(self.dims.to_vec());
        // SAFETY: the convolution writes every value.
        let mut values: CudaSlice<T> = unsafe { device.alloc(shape.elem_count())? };
        let (source, slopes) = (view::<T>(maps.0, maps.1)?, view::<T>(dy.0, dy.1)?);
        let workspace = workspace.as_mut();
        // SAFETY: types, layouts and lengths are those of the descriptors.
        unsafe { filter.launch(FILTER, workspace, T::SCALING, &source, &mut values, &slopes) }
            .map_err(failed)?;
        Ok((CudaStorage::wrap_cuda_slice(values, device.clone()), shape))
    }
}

/// The shape of a convolution's output.
fn output(window: Window, out: usize) -> [usize; 4] {
    [window.n as usize, window.out_height as usize, window.out_width as usize, out]
}

fn workspace(device: &CudaDevice, bytes: usize) -> Result<Option<CudaSlice<u8>>> {
    match bytes {
        0 => Ok(None),
        // SAFETY: a workspace needs no content.
        bytes => Ok(Some(unsafe { device.alloc::<u8>(bytes) }?)),
    }
}

/// Connects an operation with its form for each type of maps.
macro_rules! operation {
    ($Op:ty, $name:literal, $run:ident) => {
        impl CustomOp2 for $Op {
            fn name(&self) -> &'static str {
                $name
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
                a: &CudaStorage,
                a_layout: &Layout,
                b: &CudaStorage,
                b_layout: &Layout,
            ) -> Result<(CudaStorage, Shape)> {
                let (first, second) = ((a, a_layout), (b, b_layout));
                match a.dtype() {
                    DType::F32 => self.$run::<f32>(first, second),
                    DType::F16 => self.$run::<f16>(first, second),
                    DType::BF16 => self.$run::<bf16>(first, second),
                    other => bail!("maps are f32, f16 or bf16, not {other:?}"),
                }
            }
        }
    };
}

operation!(Conv, "cudnn-convolution", forward);
operation!(ConvData, "cudnn-convolution-data", run);
operation!(ConvFilter<'_>, "cudnn-convolution-filter", run);
