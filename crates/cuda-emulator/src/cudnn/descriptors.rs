//! Handles and descriptors.

use std::{
    collections::HashMap,
    ffi::c_int,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{counters::complain, driver::put, matrix::Precision};

pub(super) const NOT_INITIALIZED: c_int = 1001;
pub(super) const BAD_PARAM: c_int = 2000;
pub(super) const NOT_SUPPORTED: c_int = 3000;
pub(super) const EXECUTION_FAILED: c_int = 5000;

/// A tensor, or a filter: sizes in the order n, c, h, w (k, c, h, w), and the distances between
/// neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) precision: Precision,
    pub(super) sizes: [usize; 4],
    pub(super) strides: [usize; 4],
}

impl Tensor {
    pub(super) fn packed(precision: Precision, sizes: [usize; 4], channels_last: bool) -> Self {
        let [_, c, h, w] = sizes;
        let strides =
            if channels_last { [h * w * c, 1, w * c, c] } else { [c * h * w, h * w, w, 1] };
        Self { precision, sizes, strides }
    }

    /// Whether it is contiguous, channels last or first; both if they are the same.
    pub(super) fn layouts(&self) -> [bool; 2] {
        [false, true].map(|channels_last| {
            let strides = Self::packed(self.precision, self.sizes, channels_last).strides;
            // The stride of a dimension of size 1 does not matter.
            (0..4).all(|axis| self.sizes[axis] == 1 || strides[axis] == self.strides[axis])
        })
    }

    /// Where a value lies.
    pub(super) fn at(&self, place: [usize; 4]) -> usize {
        place.iter().zip(&self.strides).map(|(a, b)| a * b).sum()
    }

    /// How many values it spans.
    pub(super) fn extent(&self) -> usize {
        let last = |(size, stride): (&usize, &usize)| (size - 1) * stride;
        self.sizes.iter().zip(&self.strides).map(last).sum::<usize>() + 1
    }
}

/// How a window slides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slide {
    pub(super) padding: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) groups: usize,
    pub(super) cross_correlation: bool,
    pub(super) compute: Precision,
    pub(super) math: c_int,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Descriptor {
    Handle {
        stream: u64,
    },
    EmptyTensor,
    Tensor(Tensor),
    EmptyFilter,
    /// The filter, and whether its format is channels last.
    Filter(Tensor, bool),
    EmptyConvolution,
    Convolution(Slide),
    Activation {
        mode: c_int,
        ceiling: f64,
    },
}

fn all() -> MutexGuard<'static, HashMap<u64, Descriptor>> {
    static ALL: OnceLock<Mutex<HashMap<u64, Descriptor>>> = OnceLock::new();
    ALL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn get(handle: u64) -> Option<Descriptor> {
    all().get(&handle).copied()
}

fn create(place: *mut u64, descriptor: Descriptor) -> c_int {
    static NEXT: AtomicU64 = AtomicU64::new(0xD00_0000);
    let handle = NEXT.fetch_add(0x10, Ordering::Relaxed);
    all().insert(handle, descriptor);
    put(place, handle).map_or(BAD_PARAM, |()| 0)
}

fn destroy(handle: u64) -> c_int {
    all().remove(&handle).map_or(BAD_PARAM, |_| 0)
}

/// Says why a call is refused.
pub(super) fn refuse(what: &str) -> c_int {
    complain(format_args!("cuDNN: {what}"));
    BAD_PARAM
}

pub(super) fn precision(kind: c_int) -> Option<Precision> {
    Some(match kind {
        0 => Precision::F32,
        1 => Precision::F64,
        2 => Precision::F16,
        9 => Precision::BF16,
        _ => return None,
    })
}

fn sizes<const N: usize>(given: [c_int; N], least: c_int) -> Option<[usize; N]> {
    given.iter().all(|size| *size >= least).then(|| given.map(|size| size as usize))
}

macro_rules! creation {
    ($($create:ident, $destroy:ident, $empty:expr;)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $create(place: *mut u64) -> c_int {
            create(place, $empty)
        }

        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $destroy(handle: u64) -> c_int {
            destroy(handle)
        }
    )*};
}

creation! {
    cudnnCreate, cudnnDestroy, Descriptor::Handle { stream: 0 };
    cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor, Descriptor::EmptyTensor;
    cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor, Descriptor::EmptyFilter;
    cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor,
    Descriptor::EmptyConvolution;
    cudnnCreateActivationDescriptor, cudnnDestroyActivationDescriptor,
        Descriptor::Activation { mode: 5, ceiling: 0.0 };
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetVersion() -> usize {
    91300
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetCudartVersion() -> usize {
    13000
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetStream(handle: u64, stream: u64) -> c_int {
    match all().get_mut(&handle) {
        Some(Descriptor::Handle { stream: place }) => {
            *place = stream;
            0
        }
        _ => NOT_INITIALIZED,
    }
}

fn set_tensor(
    handle: u64,
    kind: c_int,
    sides: [c_int; 4],
    distances: Result<bool, [c_int; 4]>,
) -> c_int {
    let (Some(precision), Some(sides)) = (precision(kind), sizes(sides, 1)) else {
        return refuse(&format!("tensor of type {kind} and sides {sides:?}"));
    };
    let tensor = match distances {
        Ok(channels_last) => Tensor::packed(precision, sides, channels_last),
        Err(distances) => match sizes(distances, 0) {
            Some(strides) => Tensor { precision, sizes: sides, strides },
            None => return refuse(&format!("strides {distances:?}")),
        },
    };
    match all().get_mut(&handle) {
        Some(place @ (Descriptor::EmptyTensor | Descriptor::Tensor(_))) => {
            *place = Descriptor::Tensor(tensor);
            0
        }
        _ => refuse("this is not the descriptor of a tensor"),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetTensor4dDescriptor(
    handle: u64,
    format: c_int,
    kind: c_int,
    n: c_int,
    c: c_int,
    h: c_int,
    w: c_int,
) -> c_int {
    match format {
        0 | 1 => set_tensor(handle, kind, [n, c, h, w], Ok(format == 1)),
        _ => refuse(&format!("format {format} of a tensor")),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetTensor4dDescriptorEx(
    handle: u64,
    kind: c_int,
    n: c_int,
    c: c_int,
    h: c_int,
    w: c_int,
    n_stride: c_int,
    c_stride: c_int,
    h_stride: c_int,
    w_stride: c_int,
) -> c_int {
    set_tensor(handle, kind, [n, c, h, w], Err([n_stride, c_stride, h_stride, w_stride]))
}

/// Four numbers behind a pointer.
fn four(count: c_int, from: *const c_int) -> Option<[c_int; 4]> {
    if count != 4 || from.is_null() {
        return None;
    }
    // SAFETY: cuDNN's interface: there are as many numbers as it says.
    Some(unsafe { from.cast::<[c_int; 4]>().read() })
}

fn two(count: c_int, from: *const c_int) -> Option<[c_int; 2]> {
    if count != 2 || from.is_null() {
        return None;
    }
    // SAFETY: cuDNN's interface: there are as many numbers as it says.
    Some(unsafe { from.cast::<[c_int; 2]>().read() })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetTensorNdDescriptor(
    handle: u64,
    kind: c_int,
    count: c_int,
    sides: *const c_int,
    strides: *const c_int,
) -> c_int {
    match (four(count, sides), four(count, strides)) {
        (Some(sides), Some(strides)) => set_tensor(handle, kind, sides, Err(strides)),
        _ => refuse(&format!("tensors of {count} dimensions are not emulated")),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetFilter4dDescriptor(
    handle: u64,
    kind: c_int,
    format: c_int,
    k: c_int,
    c: c_int,
    h: c_int,
    w: c_int,
) -> c_int {
    let given = [k, c, h, w];
    let (Some(precision), Some(sides), 0 | 1) = (precision(kind), sizes(given, 1), format) else {
        return refuse(&format!("filter of type {kind}, format {format} and sides {given:?}"));
    };
    match all().get_mut(&handle) {
        Some(place @ (Descriptor::EmptyFilter | Descriptor::Filter(..))) => {
            let filter = Tensor::packed(precision, sides, format == 1);
            *place = Descriptor::Filter(filter, format == 1);
            0
        }
        _ => refuse("this is not the descriptor of a filter"),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetFilterNdDescriptor(
    handle: u64,
    kind: c_int,
    format: c_int,
    count: c_int,
    sides: *const c_int,
) -> c_int {
    match four(count, sides) {
        Some([k, c, h, w]) => cudnnSetFilter4dDescriptor(handle, kind, format, k, c, h, w),
        None => refuse(&format!("filters of {count} dimensions are not emulated")),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetConvolution2dDescriptor(
    handle: u64,
    pad_height: c_int,
    pad_width: c_int,
    stride_height: c_int,
    stride_width: c_int,
    dilation_height: c_int,
    dilation_width: c_int,
    mode: c_int,
    compute: c_int,
) -> c_int {
    let (padding, stride) = ([pad_height, pad_width], [stride_height, stride_width]);
    let dilation = [dilation_height, dilation_width];
    let (Some(compute), Some(padding), Some(stride), Some(dilation), 0 | 1) =
        (precision(compute), sizes(padding, 0), sizes(stride, 1), sizes(dilation, 1), mode)
    else {
        return refuse(&format!(
            "convolution: padding {padding:?}, stride {stride:?}, dilation {dilation:?}, mode {mode}, \
             compute type {compute}"
        ));
    };
    let slide = Slide {
        padding,
        stride,
        dilation,
        groups: 1,
        cross_correlation: mode == 1,
        compute,
        math: 0,
    };
    match all().get_mut(&handle) {
        Some(place @ (Descriptor::EmptyConvolution | Descriptor::Convolution(_))) => {
            *place = Descriptor::Convolution(slide);
            0
        }
        _ => refuse("this is not the descriptor of a convolution"),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetConvolutionNdDescriptor(
    handle: u64,
    count: c_int,
    padding: *const c_int,
    stride: *const c_int,
    dilation: *const c_int,
    mode: c_int,
    compute: c_int,
) -> c_int {
    match (two(count, padding), two(count, stride), two(count, dilation)) {
        (Some([a, b]), Some([c, d]), Some([e, f])) => {
            cudnnSetConvolution2dDescriptor(handle, a, b, c, d, e, f, mode, compute)
        }
        _ => refuse(&format!("convolutions over {count} dimensions are not emulated")),
    }
}

fn convolution(handle: u64, change: impl FnOnce(&mut Slide) -> bool) -> c_int {
    match all().get_mut(&handle) {
        Some(Descriptor::Convolution(slide)) => {
            if change(slide) {
                0
            } else {
                BAD_PARAM
            }
        }
        _ => refuse("this descriptor of a convolution is not set"),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetConvolutionGroupCount(handle: u64, groups: c_int) -> c_int {
    convolution(handle, |slide| {
        slide.groups = groups.max(1) as usize;
        groups >= 1
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetConvolutionMathType(handle: u64, math: c_int) -> c_int {
    convolution(handle, |slide| {
        slide.math = math;
        (0..=3).contains(&math)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnSetActivationDescriptor(
    handle: u64,
    mode: c_int,
    _nan: c_int,
    ceiling: f64,
) -> c_int {
    match all().get_mut(&handle) {
        Some(place @ Descriptor::Activation { .. }) => {
            *place = Descriptor::Activation { mode, ceiling };
            0
        }
        _ => refuse("this is not the descriptor of an activation"),
    }
}
