//! Gradients of maximum and average pooling.

use taper_kernels::parts::{Ending, SharedMut, check_len, product};
use taper_kernels::{Epilogue, KernelClass, KernelError, Pool, PoolKind, Team, Window};
use taper_simd::{Simd, Task, dispatch};

use crate::checks::check_epilogue;
use crate::rows::{load, store};

const OPERATION: &str = "pooling gradient";

/// Channels of an item: windows overlap, so that one item computes all of a picture for some
/// channels.
const CHANNELS: usize = 64;

/// The gradient of a pool's input.
///
/// Of a maximum, it goes to the first largest value of a window in row-major order, as in torch; of
/// an average, to all values of the window (and, if it counts them, to those of the border, where
/// it is lost).
#[derive(Debug, Clone, Copy)]
pub struct PoolGradient {
    class: KernelClass,
    kind: PoolKind,
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    window: Window,
}

impl PoolGradient {
    /// Checks the shape, as [`Pool::new`] does.
    ///
    /// # Errors
    /// [`KernelError::BadShape`].
    pub fn new(
        class: KernelClass,
        kind: PoolKind,
        input: [usize; 2],
        channels: usize,
        window: Window,
    ) -> Result<Self, KernelError> {
        let output = Pool::new(class, kind, input, channels, window)?.output();
        Ok(Self { class, kind, input, output, channels, window })
    }

    /// Computes the gradients of a batch. No scratch is needed.
    ///
    /// `input`: `[n, height, width, channels]`, what the pool read (an average does not look at
    /// it); `gradient`: `[n, out_height, out_width, channels]`; `out` and the slices of `epilogue`
    /// as the input, see [`DataGradient`](crate::DataGradient).
    ///
    /// # Errors
    /// [`KernelError::BufferLength`], and [`KernelError::BadShape`] for an epilogue that makes no
    /// sense.
    pub fn run(
        &self,
        team: &mut Team<'_>,
        n: usize,
        input: &[f32],
        gradient: &[f32],
        epilogue: Epilogue<'_, f32>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let [height, width] = self.input;
        let [oh, ow] = self.output;
        let len = product(n, height * width * self.channels)?;
        check_len(OPERATION, "input", input.len(), len)?;
        check_len(OPERATION, "gradient", gradient.len(), product(n, oh * ow * self.channels)?)?;
        check_len(OPERATION, "output", out.len(), len)?;
        check_epilogue(OPERATION, epilogue, len)?;
        let parts = self.channels.div_ceil(CHANNELS);
        let out = SharedMut::new(out);
        team.run(n * parts, &|item, _| {
            let (picture, part) = (item / parts, item % parts);
            let task = Part {
                pool: self,
                input: input.as_ptr(),
                gradient: gradient.as_ptr(),
                ending: Ending::new(epilogue),
                out: out.get(),
                picture,
                channels: (part * CHANNELS, self.channels.min((part + 1) * CHANNELS)),
            };
            // SAFETY: all buffers hold `n` maps, as just checked; each item writes channels of a
            // picture of its own.
            unsafe { dispatch(self.class, task) }
        });
        Ok(())
    }
}

/// Some channels of one picture.
#[derive(Clone, Copy)]
struct Part<'a> {
    pool: &'a PoolGradient,
    input: *const f32,
    gradient: *const f32,
    ending: Ending<f32>,
    out: *mut f32,
    picture: usize,
    /// First channel and the one after the last.
    channels: (usize, usize),
}

impl Task for Part<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let [oh, ow] = self.pool.output;
        // SAFETY: passed on to the caller.
        unsafe {
            self.each_value::<S>(false);
            for row in 0..oh {
                for column in 0..ow {
                    self.window::<S>(row, column);
                }
            }
            if !(self.ending.residual.is_null() && self.ending.mask.is_null()) {
                self.each_value::<S>(true);
            }
        }
    }
}

/// The taps of a window along one axis that lie in the map.
#[inline(always)]
fn taps(window: &Window, axis: usize, len: usize, at: usize) -> (usize, usize, usize) {
    let before = [window.padding.top, window.padding.left][axis];
    let (start, step) = (at * window.stride[axis], window.dilation[axis]);
    let low = before.saturating_sub(start).div_ceil(step);
    let high = (before + len).saturating_sub(start).div_ceil(step).min(window.kernel[axis]);
    ((start + low * step).wrapping_sub(before), low, high)
}

impl Part<'_> {
    /// Sets all values to 0, or applies the ending.
    ///
    /// # Safety
    /// As for the part.
    #[inline(always)]
    unsafe fn each_value<S: Simd<Elem = f32>>(self, last: bool) {
        let PoolGradient { input: [height, width], channels, .. } = *self.pool;
        for pixel in self.picture * height * width..(self.picture + 1) * height * width {
            let mut channel = self.channels.0;
            while channel < self.channels.1 {
                let n = S::LANES.min(self.channels.1 - channel);
                let at = pixel * channels + channel;
                // SAFETY: the pixel lies in the map, and the channels within it.
                unsafe {
                    let value = if last {
                        self.ending.apply::<S>(load::<S>(self.out.add(at), n), at, n)
                    } else {
                        S::splat(0.0)
                    };
                    store::<S>(self.out.add(at), value, n);
                }
                channel += n;
            }
        }
    }

    /// Adds the gradient of one window.
    ///
    /// # Safety
    /// As for the part; the window exists.
    #[inline(always)]
    unsafe fn window<S: Simd<Elem = f32>>(self, row: usize, column: usize) {
        let pool = self.pool;
        let PoolGradient { input: [height, width], output: [oh, ow], channels, .. } = *pool;
        let window = &pool.window;
        let (top, low_y, high_y) = taps(window, 0, height, row);
        let (left, low_x, high_x) = taps(window, 1, width, column);
        let (rows, columns) = (high_y - low_y, high_x - low_x);
        let steps = [window.dilation[0] * width * channels, window.dilation[1] * channels];
        let corner = ((self.picture * height + top) * width + left) * channels;
        let pixel = (self.picture * oh + row) * ow + column;
        let share = match pool.kind {
            PoolKind::Average { count_include_pad: true } => window.kernel[0] * window.kernel[1],
            _ => rows * columns,
        };
        let is_max = pool.kind == PoolKind::Max;
        let mut channel = self.channels.0;
        while channel < self.channels.1 {
            let n = S::LANES.min(self.channels.1 - channel);
            // SAFETY: the taps lie in the map, the channels within a pixel.
            unsafe {
                let gradient = load::<S>(self.gradient.add(pixel * channels + channel), n);
                let at = corner + channel;
                let mut first = S::splat(0.0);
                if is_max {
                    let mut largest = load::<S>(self.input.add(at), n);
                    for tap in 1..rows * columns {
                        let from = at + tap / columns * steps[0] + tap % columns * steps[1];
                        let value = load::<S>(self.input.add(from), n);
                        first = S::select_le(value, largest, first, S::splat(tap as f32));
                        largest = S::select_le(value, largest, largest, value);
                    }
                }
                let part = S::mul(gradient, S::splat(1.0 / share as f32));
                for tap in 0..rows * columns {
                    let to = at + tap / columns * steps[0] + tap % columns * steps[1];
                    let part = if is_max {
                        let (zero, tap) = (S::splat(0.0), S::splat(tap as f32));
                        let from_here = S::select_le(tap, first, gradient, zero);
                        S::select_le(first, tap, from_here, zero)
                    } else {
                        part
                    };
                    let to = self.out.add(to);
                    store::<S>(to, S::add(load::<S>(to, n), part), n);
                }
            }
            channel += n;
        }
    }
}
