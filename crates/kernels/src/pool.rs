//! Maximum, average and global average pooling.

use crate::error::product;
use crate::error::{bad_shape, check_len};
use crate::team::SharedMut;
use crate::{Element, KernelClass, KernelError, Team, Window};
use taper_simd::{Simd, Task, dispatch};

const OPERATION: &str = "pooling";

/// How a pool combines a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// The largest value; the border is ignored.
    Max,
    /// The mean.
    Average {
        /// Whether the border counts as zeros (PyTorch's default) or not at all (TensorFlow).
        count_include_pad: bool,
    },
}

/// A pool over maps `[n, height, width, channels]`.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    class: KernelClass,
    kind: PoolKind,
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    window: Window,
}

impl Pool {
    /// Checks the shape.
    ///
    /// # Errors
    /// [`KernelError::BadShape`], also if a window would lie entirely in the border.
    pub fn new(
        class: KernelClass,
        kind: PoolKind,
        input: [usize; 2],
        channels: usize,
        window: Window,
    ) -> Result<Self, KernelError> {
        let output = window.output(OPERATION, input)?;
        if channels == 0 {
            return Err(bad_shape(OPERATION, "no channels".to_owned()));
        }
        let values = [input, output]
            .map(|[h, w]| product(h, w).and_then(|pixels| product(pixels, channels)));
        for values in values {
            values?;
        }
        for axis in 0..2 {
            for at in 0..output[axis] {
                if taps(&window, axis, input[axis], at).next().is_none() {
                    return Err(bad_shape(
                        OPERATION,
                        format!(
                            "window {at} along axis {axis} lies in the border altogether: \
                             {window:?}"
                        ),
                    ));
                }
            }
        }
        Ok(Self { class, kind, input, output, channels, window })
    }

    /// Height and width of the output.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        self.output
    }

    /// Pools a batch. No scratch is needed.
    ///
    /// `input`: `[n, height, width, channels]`; `out`: `[n, out_height, out_width, channels]`.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`].
    pub fn run<E: Element>(
        &self,
        team: &mut Team<'_>,
        n: usize,
        input: &[E],
        out: &mut [E],
    ) -> Result<(), KernelError> {
        let [height, width] = self.input;
        let [oh, ow] = self.output;
        check_len(OPERATION, "input", input.len(), product(n, height * width * self.channels)?)?;
        check_len(OPERATION, "output", out.len(), product(n, oh * ow * self.channels)?)?;
        let out = SharedMut::new(out);
        team.run(n * oh, &|item, _| {
            let task = PoolRow { pool: self, input: input.as_ptr(), out: out.get(), row: item };
            // SAFETY: input and output hold `n` maps, as just checked, and `row` is one of their
            // rows, written by this item only.
            unsafe { dispatch(self.class, task) }
        });
        Ok(())
    }
}

/// The positions along one axis that window `at` covers, without the border.
#[inline(always)]
fn taps(
    window: &Window,
    axis: usize,
    len: usize,
    at: usize,
) -> impl Iterator<Item = usize> + Clone {
    let before = [window.padding.top, window.padding.left][axis];
    let start = at * window.stride[axis];
    let step = window.dilation[axis];
    (0..window.kernel[axis])
        .filter_map(move |k| (start + k * step).checked_sub(before).filter(|&i| i < len))
}

#[derive(Clone, Copy)]
struct PoolRow<'a, E: Element> {
    pool: &'a Pool,
    input: *const E,
    out: *mut E,
    row: usize,
}

impl<E: Element> Task for PoolRow<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let Pool { kind, input: [height, width], output: [oh, ow], channels, ref window, .. } =
            *self.pool;
        let (picture, row) = (self.row / oh, self.row % oh);
        for column in 0..ow {
            let to = self.out.wrapping_add((self.row * ow + column) * channels);
            let first = [row * window.stride[0], column * window.stride[1]];
            let inside = (0..2).all(|axis| {
                let before = [window.padding.top, window.padding.left][axis];
                let reach = (window.kernel[axis] - 1) * window.dilation[axis];
                first[axis] >= before && first[axis] + reach < before + [height, width][axis]
            });
            if inside && kind == PoolKind::Max && window.kernel == [3, 3] && channels >= S::LANES {
                let (y, x) = (first[0] - window.padding.top, first[1] - window.padding.left);
                let from = self.input.wrapping_add(((picture * height + y) * width + x) * channels);
                let steps = [window.dilation[0] * width * channels, window.dilation[1] * channels];
                let mut channel = 0;
                loop {
                    // SAFETY: the nine taps lie inside the map, and `channel + LANES ≤ channels`.
                    unsafe {
                        let mut value = S::load(from.add(channel));
                        for tap in 1..9 {
                            let at = tap / 3 * steps[0] + tap % 3 * steps[1] + channel;
                            value = S::max(value, S::load(from.add(at)));
                        }
                        S::store(to.add(channel), value);
                    }
                    if channel + S::LANES == channels {
                        break;
                    }
                    // The last vector ends with the pixel, and may overlap the one before.
                    channel = (channel + S::LANES).min(channels - S::LANES);
                }
                continue;
            }
            let ys = taps(window, 0, height, row);
            let xs = taps(window, 1, width, column);
            let count = match kind {
                PoolKind::Average { count_include_pad: true } => window.taps(),
                _ => ys.clone().count() * xs.clone().count(),
            };
            let mut channel = 0;
            while channel < channels {
                let n = S::LANES.min(channels - channel);
                let full = n == S::LANES;
                // SAFETY: `y < height`, `x < width`, `channel + n ≤ channels`: all within the maps.
                unsafe {
                    let start = if kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 };
                    let mut value = S::splat(start);
                    for y in ys.clone() {
                        for x in xs.clone() {
                            let from = self
                                .input
                                .add(((picture * height + y) * width + x) * channels + channel);
                            let tap = if full { S::load(from) } else { S::load_n(from, n) };
                            value = if kind == PoolKind::Max {
                                S::max(value, tap)
                            } else {
                                S::add(value, tap)
                            };
                        }
                    }
                    if kind != PoolKind::Max {
                        value = S::mul(value, S::splat(1.0 / count as f32));
                    }
                    let to = to.add(channel);
                    if full {
                        S::store(to, value);
                    } else {
                        S::store_n(to, value, n);
                    }
                }
                channel += n;
            }
        }
    }
}

/// The mean of every channel over a map: `[n, pixels, channels]` to `[n, channels]` in f32.
///
/// # Errors
/// [`KernelError::BadShape`] for a map without pixels, [`KernelError::BufferLength`].
pub fn global_average_pool<E: Element>(
    class: KernelClass,
    team: &mut Team<'_>,
    n: usize,
    [pixels, channels]: [usize; 2],
    input: &[E],
    out: &mut [f32],
) -> Result<(), KernelError> {
    const OPERATION: &str = "global average pooling";
    if pixels == 0 || channels == 0 {
        return Err(bad_shape(OPERATION, format!("{pixels} pixels of {channels} channels")));
    }
    check_len(OPERATION, "input", input.len(), product(n, product(pixels, channels)?)?)?;
    check_len(OPERATION, "output", out.len(), product(n, channels)?)?;
    let out = SharedMut::new(out);
    team.run(n, &|item, _| {
        let task = Global {
            // SAFETY: the input holds `n` maps and the output `n × channels` values, as just
            // checked.
            input: unsafe { input.as_ptr().add(item * pixels * channels) },
            // SAFETY: as above.
            out: unsafe { out.get().add(item * channels) },
            pixels,
            channels,
        };
        // SAFETY: the map holds `pixels × channels` values, the output `channels`, written by this
        // item only.
        unsafe { dispatch(class, task) }
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct Global<E: Element> {
    input: *const E,
    out: *mut f32,
    pixels: usize,
    channels: usize,
}

impl<E: Element> Task for Global<E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let factor = 1.0 / self.pixels as f32;
        let mut channel = 0;
        // SAFETY: `channel + n ≤ channels` and `pixel < pixels`: within the map and the output.
        unsafe {
            while channel + S::LANES <= self.channels {
                let mut sum = S::splat(0.0);
                for pixel in 0..self.pixels {
                    sum = S::add(sum, S::load(self.input.add(pixel * self.channels + channel)));
                }
                S::store32(self.out.add(channel), S::mul(sum, S::splat(factor)));
                channel += S::LANES;
            }
            for channel in channel..self.channels {
                let mut sum = 0.0;
                for pixel in 0..self.pixels {
                    sum += (*self.input.add(pixel * self.channels + channel)).to_f32();
                }
                *self.out.add(channel) = sum * factor;
            }
        }
    }
}
