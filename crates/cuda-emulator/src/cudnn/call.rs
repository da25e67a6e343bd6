//! The calls that compute.

use std::ffi::{c_int, c_void};

use super::{
    convolution::{Activation, Addend, Convolution, Places},
    descriptors::{
        BAD_PARAM, Descriptor, EXECUTION_FAILED, NOT_INITIALIZED, NOT_SUPPORTED, Tensor, get,
        refuse,
    },
};
use crate::{
    counters::{self, Counter, complain, log},
    driver::put,
    matrix::{Precision, Values},
    stream,
};

pub(super) fn handle(handle: u64) -> Result<u64, c_int> {
    match get(handle) {
        Some(Descriptor::Handle { stream }) => Ok(stream),
        _ => Err(NOT_INITIALIZED),
    }
}

pub(super) fn tensor(handle: u64) -> Result<Tensor, c_int> {
    match get(handle) {
        Some(Descriptor::Tensor(tensor)) => Ok(tensor),
        _ => Err(refuse("this descriptor of a tensor is not set")),
    }
}

pub(super) fn convolution(x: u64, w: u64, slide: u64, y: u64) -> Result<Convolution, c_int> {
    let (x, y) = (tensor(x)?, tensor(y)?);
    let Some(Descriptor::Filter(w, channels_last)) = get(w) else {
        return Err(refuse("this descriptor of a filter is not set"));
    };
    let Some(Descriptor::Convolution(slide)) = get(slide) else {
        return Err(refuse("this descriptor of a convolution is not set"));
    };
    Convolution::new(x, (w, channels_last), y, slide)
        .map_err(|why| refuse(&format!("{why} (x {x:?}, w {w:?}, y {y:?}, {slide:?})")))
}

pub(super) fn code(outcome: Result<(), c_int>) -> c_int {
    outcome.err().unwrap_or(0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetConvolution2dForwardOutputDim(
    slide: u64,
    x: u64,
    w: u64,
    n: *mut c_int,
    c: *mut c_int,
    h: *mut c_int,
    width: *mut c_int,
) -> c_int {
    let (Ok(x), Some(Descriptor::Filter(w, _)), Some(Descriptor::Convolution(slide))) =
        (tensor(x), get(w), get(slide))
    else {
        return BAD_PARAM;
    };
    let Ok(sizes) = (Convolution { x, w, y: x, slide }).output() else { return BAD_PARAM };
    let mut places = [n, c, h, width].into_iter().zip(sizes);
    if places.all(|(place, size)| put(place, size as c_int).is_ok()) { 0 } else { BAD_PARAM }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetConvolutionForwardWorkspaceSize(
    own: u64,
    x: u64,
    w: u64,
    slide: u64,
    y: u64,
    algorithm: c_int,
    bytes: *mut usize,
) -> c_int {
    let size = || {
        handle(own)?;
        if std::env::var("TAPER_EMULATED_CUDNN").is_ok_and(|choice| choice == "none") {
            return Err(NOT_SUPPORTED);
        }
        let size = convolution(x, w, slide, y)?.workspace(algorithm);
        let size = size.map_err(|why| {
            refuse(&why);
            NOT_SUPPORTED
        })?;
        put(bytes, size).map_err(|_| BAD_PARAM)
    };
    code(size())
}

/// `cudnnConvolutionFwdAlgoPerf_t`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Performance {
    algorithm: c_int,
    status: c_int,
    time: f32,
    memory: usize,
    deterministic: c_int,
    math: c_int,
    reserved: [c_int; 3],
}

/// The two algorithms that compute everything; the one with a workspace first.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetConvolutionForwardAlgorithm_v7(
    own: u64,
    x: u64,
    w: u64,
    slide: u64,
    y: u64,
    wanted: c_int,
    returned: *mut c_int,
    results: *mut Performance,
) -> c_int {
    let choose = || {
        handle(own)?;
        let convolution = convolution(x, w, slide, y)?;
        if wanted < 1 || results.is_null() {
            return Err(BAD_PARAM);
        }
        let count = wanted.min(2);
        for (place, algorithm) in [1, 0].into_iter().enumerate().take(count as usize) {
            let memory = convolution.workspace(algorithm).map_err(|_| NOT_SUPPORTED)?;
            let math = convolution.slide.math;
            let result = Performance {
                algorithm,
                status: 0,
                time: 1.0 + algorithm as f32,
                memory,
                deterministic: 1,
                math,
                reserved: [0; 3],
            };
            // SAFETY: cuDNN's interface: there is room for as many results as are wanted.
            unsafe { results.add(place).write(result) };
        }
        put(returned, count).map_err(|_| BAD_PARAM)
    };
    code(choose())
}

/// A scaling factor: f64 for f64, else f32, whatever the maps are.
pub(super) fn factor(from: *const c_void, precision: Precision) -> Result<f64, c_int> {
    if from.is_null() {
        return Err(refuse("no scaling factor"));
    }
    // SAFETY: cuDNN's interface: factors are f64 for f64 and f32 for all else.
    Ok(unsafe {
        match precision {
            Precision::F64 => from.cast::<f64>().read(),
            _ => f64::from(from.cast::<f32>().read()),
        }
    })
}

/// Queues it after checking that its workspace is large enough.
fn launch(
    own: u64,
    convolution: Convolution,
    algorithm: c_int,
    places: Places,
) -> Result<(), c_int> {
    let needed = convolution.workspace(algorithm).map_err(|why| {
        refuse(&why);
        NOT_SUPPORTED
    })?;
    let (address, bytes) = places.workspace;
    if bytes < needed || needed > 0 && address == 0 {
        return Err(refuse(&format!("a workspace of {bytes} bytes, {needed} are needed")));
    }
    // An implausible factor suggests that the bits of another type were passed.
    for factor in [places.alpha, places.beta] {
        if factor != 0.0 && !(1e-6..1e6).contains(&factor.abs()) {
            complain(format_args!("cuDNN: a scaling factor of {factor}: is it an f32?"));
        }
    }
    let stream = stream::stream(handle(own)?).map_err(|_| EXECUTION_FAILED)?;
    log(|| format!("cuDNN {convolution:?} {places:?} on {stream:?}"));
    counters::add(Counter::Launches);
    let job = move || convolution.run(&places);
    stream::give(stream, Box::new(job)).map_err(|_| EXECUTION_FAILED)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnConvolutionForward(
    own: u64,
    alpha: *const c_void,
    x: u64,
    x_values: u64,
    w: u64,
    w_values: u64,
    slide: u64,
    algorithm: c_int,
    workspace: u64,
    workspace_bytes: usize,
    beta: *const c_void,
    y: u64,
    y_values: u64,
) -> c_int {
    let forward = || {
        handle(own)?;
        let convolution = convolution(x, w, slide, y)?;
        let precision = convolution.x.precision;
        let places = Places {
            x: Values { address: x_values, precision },
            w: Values { address: w_values, precision },
            y: Values { address: y_values, precision: convolution.y.precision },
            z: None,
            bias: None,
            workspace: (workspace, workspace_bytes),
            alpha: factor(alpha, precision)?,
            beta: factor(beta, precision)?,
            activation: Activation::Identity,
        };
        launch(own, convolution, algorithm, places)
    };
    code(forward())
}

/// `y = activation(alpha1 × convolution + alpha2 × z + bias)`
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnConvolutionBiasActivationForward(
    own: u64,
    alpha1: *const c_void,
    x: u64,
    x_values: u64,
    w: u64,
    w_values: u64,
    slide: u64,
    algorithm: c_int,
    workspace: u64,
    workspace_bytes: usize,
    alpha2: *const c_void,
    z: u64,
    z_values: u64,
    bias: u64,
    bias_values: u64,
    activation: u64,
    y: u64,
    y_values: u64,
) -> c_int {
    let forward = || {
        handle(own)?;
        let convolution = convolution(x, w, slide, y)?;
        let (z, bias) = (tensor(z)?, tensor(bias)?);
        let precision = convolution.x.precision;
        if z.sizes != convolution.y.sizes || z.precision != convolution.y.precision {
            return Err(refuse(&format!("z is {z:?}, y is {:?}", convolution.y)));
        }
        if bias.sizes != [1, convolution.w.sizes[0], 1, 1] || bias.strides[1] != 1 {
            return Err(refuse(&format!("the bias is {bias:?}")));
        }
        let activation = match get(activation) {
            Some(Descriptor::Activation { mode: 1, .. }) => Activation::Relu,
            Some(Descriptor::Activation { mode: 3, ceiling }) => Activation::ClippedRelu(ceiling),
            // The documentation allows the identity with this algorithm only.
            Some(Descriptor::Activation { mode: 5, .. }) if algorithm == 1 => Activation::Identity,
            other => {
                return Err(refuse(&format!("activation {other:?} with algorithm {algorithm}")));
            }
        };
        let places = Places {
            x: Values { address: x_values, precision },
            w: Values { address: w_values, precision },
            y: Values { address: y_values, precision: convolution.y.precision },
            z: Some(Addend {
                tensor: z,
                values: Values { address: z_values, precision: z.precision },
            }),
            bias: Some(Values { address: bias_values, precision: bias.precision }),
            workspace: (workspace, workspace_bytes),
            alpha: factor(alpha1, precision)?,
            beta: factor(alpha2, precision)?,
            activation,
        };
        launch(own, convolution, algorithm, places)
    };
    code(forward())
}
