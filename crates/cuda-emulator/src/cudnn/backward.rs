//! The gradients of a convolution.

use std::ffi::{c_int, c_void};

use super::{
    call::{code, convolution, factor, handle},
    convolution::{Convolution, Sizes},
    descriptors::{BAD_PARAM, EXECUTION_FAILED, NOT_SUPPORTED, Tensor, refuse},
};
use crate::{
    counters::{self, Counter, log},
    driver::put,
    matrix::{Precision, Sum, Values, product},
    memory,
    status::{ERROR_ILLEGAL_ADDRESS, Status},
    stream,
};

/// Which gradient.
#[derive(Clone, Copy, Debug)]
enum Of {
    Maps,
    Filter,
}

/// The addresses of a call, and its factors.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// The filter for the maps' gradient, the maps for the filter's.
    given: Values,
    dy: Values,
    result: Values,
    workspace: (u64, usize),
    alpha: f64,
    beta: f64,
}

/// The only algorithm for both that is deterministic and knows all sizes.
const ALGORITHM_1: c_int = 1;

/// The workspace size of an algorithm, made up, so that no caller relies on there being none.
fn workspace(convolution: &Convolution, of: Of, algorithm: c_int) -> Result<usize, String> {
    if algorithm != ALGORITHM_1 {
        return Err(format!("algorithm {algorithm} for {of:?} adds in any order, or is not here"));
    }
    let [out, per_group, height, width] = convolution.w.sizes;
    Ok(match of {
        Of::Maps => per_group * height * width * 8 + 32,
        Of::Filter => out * per_group * 4 + 16,
    })
}

fn size(
    own: u64,
    descriptors: [u64; 4],
    of: Of,
    algorithm: c_int,
    bytes: *mut usize,
) -> Result<(), c_int> {
    handle(own)?;
    if std::env::var("TAPER_EMULATED_CUDNN").is_ok_and(|choice| choice == "none") {
        return Err(NOT_SUPPORTED);
    }
    let [x, w, slide, y] = descriptors;
    let size = workspace(&convolution(x, w, slide, y)?, of, algorithm);
    let size = size.map_err(|why| {
        refuse(&why);
        NOT_SUPPORTED
    })?;
    put(bytes, size).map_err(|_| BAD_PARAM)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetConvolutionBackwardDataWorkspaceSize(
    own: u64,
    w: u64,
    dy: u64,
    slide: u64,
    dx: u64,
    algorithm: c_int,
    bytes: *mut usize,
) -> c_int {
    code(size(own, [dx, w, slide, dy], Of::Maps, algorithm, bytes))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetConvolutionBackwardFilterWorkspaceSize(
    own: u64,
    x: u64,
    dy: u64,
    slide: u64,
    dw: u64,
    algorithm: c_int,
    bytes: *mut usize,
) -> c_int {
    code(size(own, [x, dw, slide, dy], Of::Filter, algorithm, bytes))
}

/// Queues it after checking that its workspace is large enough.
fn launch(
    own: u64,
    convolution: Convolution,
    of: Of,
    algorithm: c_int,
    places: Places,
) -> Result<(), c_int> {
    let needed = workspace(&convolution, of, algorithm).map_err(|why| {
        refuse(&why);
        NOT_SUPPORTED
    })?;
    let (address, bytes) = places.workspace;
    if bytes < needed || address == 0 {
        return Err(refuse(&format!("a workspace of {bytes} bytes, {needed} are needed")));
    }
    let stream = stream::stream(handle(own)?).map_err(|_| EXECUTION_FAILED)?;
    log(|| format!("cuDNN gradient of {of:?}, {convolution:?} {places:?} on {stream:?}"));
    counters::add(Counter::Launches);
    let job = move || run(&convolution, of, &places);
    stream::give(stream, Box::new(job)).map_err(|_| EXECUTION_FAILED)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnConvolutionBackwardData(
    own: u64,
    alpha: *const c_void,
    w: u64,
    w_values: u64,
    dy: u64,
    dy_values: u64,
    slide: u64,
    algorithm: c_int,
    workspace: u64,
    workspace_bytes: usize,
    beta: *const c_void,
    dx: u64,
    dx_values: u64,
) -> c_int {
    let backward = || {
        handle(own)?;
        let convolution = convolution(dx, w, slide, dy)?;
        let precision = convolution.x.precision;
        let at = |address: u64| Values { address, precision };
        let places = Places {
            given: at(w_values),
            dy: at(dy_values),
            result: at(dx_values),
            workspace: (workspace, workspace_bytes),
            alpha: factor(alpha, precision)?,
            beta: factor(beta, precision)?,
        };
        launch(own, convolution, Of::Maps, algorithm, places)
    };
    code(backward())
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnConvolutionBackwardFilter(
    own: u64,
    alpha: *const c_void,
    x: u64,
    x_values: u64,
    dy: u64,
    dy_values: u64,
    slide: u64,
    algorithm: c_int,
    workspace: u64,
    workspace_bytes: usize,
    beta: *const c_void,
    dw: u64,
    dw_values: u64,
) -> c_int {
    let backward = || {
        handle(own)?;
        let convolution = convolution(x, dw, slide, dy)?;
        let precision = convolution.x.precision;
        let at = |address: u64| Values { address, precision };
        let places = Places {
            given: at(x_values),
            dy: at(dy_values),
            result: at(dw_values),
            workspace: (workspace, workspace_bytes),
            alpha: factor(alpha, precision)?,
            beta: factor(beta, precision)?,
        };
        launch(own, convolution, Of::Filter, algorithm, places)
    };
    code(backward())
}

fn run(convolution: &Convolution, of: Of, places: &Places) -> Result<(), Status> {
    let (given, result): (Tensor, Tensor) = match of {
        Of::Maps => (convolution.w, convolution.x),
        Of::Filter => (convolution.x, convolution.w),
    };
    let (address, bytes) = places.workspace;
    let allocated = places.given.allocated("what a gradient of cuDNN reads", given.extent())
        && places.dy.allocated("dy of cuDNN", convolution.y.extent())
        && places.result.allocated("a gradient of cuDNN", result.extent())
        && memory::inside("workspace of cuDNN", address, bytes as u64);
    if !allocated {
        return Err(ERROR_ILLEGAL_ADDRESS);
    }
    // SAFETY: it was just found in a live allocation. What was there is lost.
    unsafe { std::ptr::write_bytes(address as *mut u8, 0xEE, bytes) };
    match (of, convolution.x.precision) {
        (Of::Maps, Precision::F64) => maps::<f64>(convolution, places),
        (Of::Maps, _) => maps::<f32>(convolution, places),
        (Of::Filter, Precision::F64) => filter::<f64>(convolution, places),
        (Of::Filter, _) => filter::<f32>(convolution, places),
    }
    Ok(())
}

/// A group's gradients of a picture, `[pixels, out]`.
fn slopes<T: Sum>(convolution: &Convolution, dy: Values, picture: usize, group: usize) -> Vec<T> {
    let Sizes { pixels, out_per_group, .. } = convolution.sizes();
    let width = convolution.y.sizes[3];
    let all = (0..pixels).flat_map(|pixel| (0..out_per_group).map(move |k| (pixel, k)));
    all.map(|(pixel, k)| {
        let channel = group * out_per_group + k;
        let place = convolution.y.at([picture, channel, pixel / width, pixel % width]);
        // SAFETY: within the gradient, which is in a live allocation.
        T::from_f64(unsafe { dy.get(place) })
    })
    .collect()
}

/// `result = alpha × sum + beta × result`
fn put_sum<T: Sum>(places: &Places, place: usize, sum: T) {
    // SAFETY: within the result, which is in a live allocation. A value multiplied by 0 is not
    // read.
    unsafe {
        let before = match places.beta {
            0.0 => 0.0,
            beta => beta * places.result.get(place),
        };
        places.result.set(place, T::from_f64(places.alpha * sum.to_f64() + before).to_f64());
    }
}

fn maps<T: Sum>(convolution: &Convolution, places: &Places) {
    let Sizes { taps, pixels, out_per_group } = convolution.sizes();
    let [n, channels, height, width] = convolution.x.sizes;
    let mut windows = vec![T::default(); pixels * taps];
    for picture in 0..n {
        let mut sums = vec![0.0; channels * height * width];
        for group in 0..convolution.slide.groups {
            let filter = convolution.filter::<T>(places.given, group);
            product(
                [pixels, taps, out_per_group],
                (&slopes::<T>(convolution, places.dy, picture, group), 1, out_per_group),
                (&filter, 1, taps),
                (&mut windows, 1, taps),
            );
            convolution.visit(group, |next, (c, iy, ix)| {
                if let (Some(iy), Some(ix)) = (iy, ix) {
                    sums[(c * height + iy) * width + ix] += windows[next].to_f64();
                }
            });
        }
        for (at, sum) in sums.into_iter().enumerate() {
            let place = [picture, at / (height * width), at / width % height, at % width];
            put_sum(places, convolution.x.at(place), T::from_f64(sum));
        }
    }
}

fn filter<T: Sum>(convolution: &Convolution, places: &Places) {
    let Sizes { taps, pixels, out_per_group } = convolution.sizes();
    let mut windows = vec![T::default(); pixels * taps];
    let mut own = vec![T::default(); out_per_group * taps];
    for group in 0..convolution.slide.groups {
        let mut sums = vec![0.0; out_per_group * taps];
        for picture in 0..convolution.x.sizes[0] {
            convolution.visit(group, |next, (c, iy, ix)| {
                windows[next] = match (iy, ix) {
                    (Some(iy), Some(ix)) => {
                        let place = convolution.x.at([picture, c, iy, ix]);
                        // SAFETY: within the maps, which are in a live allocation.
                        T::from_f64(unsafe { places.given.get(place) })
                    }
                    _ => T::default(),
                };
            });
            product(
                [out_per_group, taps, pixels],
                (&slopes::<T>(convolution, places.dy, picture, group), out_per_group, 1),
                (&windows, 1, taps),
                (&mut own, 1, taps),
            );
            sums.iter_mut().zip(&own).for_each(|(sum, value)| *sum += value.to_f64());
        }
        for (place, sum) in convolution.places_of_filter(group).into_iter().zip(sums) {
            put_sum(places, place, T::from_f64(sum));
        }
    }
}

/// Runs a gradient on values that lie somewhere, for tests.
#[cfg(test)]
pub(super) fn gradient(
    convolution: &Convolution,
    of_filter: bool,
    [given, dy, result]: [Values; 3],
) {
    let of = if of_filter { Of::Filter } else { Of::Maps };
    let bytes = workspace(convolution, of, ALGORITHM_1).unwrap();
    let space = memory::allocate(bytes, memory::Place::Device, 0).unwrap();
    let places = Places { given, dy, result, workspace: (space, bytes), alpha: 1.0, beta: 0.0 };
    run(convolution, of, &places).unwrap();
}
