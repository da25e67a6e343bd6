//! One filter per channel: vectors over channels, the sums of a row of taps in registers.
// Loops over registers count with constants, so that the compiler unrolls them.
#![allow(clippy::needless_range_loop)]

use taper_kernels::Team;
use taper_kernels::parts::SharedMut;
use taper_simd::{Simd, Task, dispatch};

use super::{Gradients, WeightGradient};
use crate::partial::{AddUp, add_up};
use crate::rows::{load, store};

/// Output rows of an item, at most: a band of them stays in the second-level cache while each row
/// of taps reads it.
const ROWS: usize = 16;

/// Channels that the sums of all items are added up for at a time.
const CHANNELS: usize = 64;

fn bands(kernel: &WeightGradient) -> usize {
    kernel.output[0].div_ceil(ROWS)
}

/// Sums of an item: `[taps + 1][channels]`, those of the gradient last.
fn sums(kernel: &WeightGradient) -> usize {
    (kernel.shape.window.kernel.iter().product::<usize>() + 1) * kernel.shape.out_channels
}

pub(super) fn scratch_len(kernel: &WeightGradient) -> usize {
    // The sums of all items, before they are transposed.
    CHANNELS.min(kernel.shape.out_channels)
}

pub(super) fn shared_len(kernel: &WeightGradient, n: usize) -> usize {
    n * bands(kernel) * sums(kernel)
}

pub(super) fn run(
    kernel: &WeightGradient,
    team: &mut Team<'_>,
    shared: &mut [f32],
    n: usize,
    [input, gradient]: [&[f32]; 2],
    into: Gradients<'_>,
) {
    let (bands, sums) = (bands(kernel), sums(kernel));
    let [oh, _] = kernel.output;
    let parts = SharedMut::new(shared);
    team.run(n * bands, &|item, _| {
        let band = item % bands;
        let task = Band {
            kernel,
            input: input.as_ptr(),
            gradient: gradient.as_ptr(),
            picture: item / bands,
            rows: (band * oh / bands, (band + 1) * oh / bands),
            out: parts.get().wrapping_add(item * sums),
        };
        // SAFETY: `WeightGradient::run` has checked that the input holds `n` pictures, the gradient
        // `n` maps, and that the shared memory has room for the sums of each item.
        unsafe { dispatch(kernel.class, task) }
    });
    let channels = kernel.shape.out_channels;
    let taps = sums / channels - 1;
    let weights = SharedMut::new(into.weights);
    team.run(channels.div_ceil(CHANNELS), &|item, scratch| {
        let first = item * CHANNELS;
        let len = CHANNELS.min(channels - first);
        for tap in 0..taps {
            let task = AddUp {
                parts: parts.get().wrapping_add(tap * channels + first),
                count: n * bands,
                step: sums,
                out: scratch.as_mut_ptr(),
                len,
                accumulate: false,
            };
            // SAFETY: each part has the sums of these channels, and the scratch has room for them;
            // the gradients of a channel are written by this item only.
            unsafe {
                dispatch(kernel.class, task);
                for (channel, &sum) in scratch[..len].iter().enumerate() {
                    let to = weights.get().add((first + channel) * taps + tap);
                    *to = if into.accumulate { *to + sum } else { sum };
                }
            }
        }
    });
    if let Some(bias) = into.bias {
        // One after the other, into the first: there are only as many as channels.
        let (first, rest) = shared.split_at_mut(sums);
        let first = &mut first[taps * channels..];
        for part in rest.chunks_exact(sums) {
            first.iter_mut().zip(&part[taps * channels..]).for_each(|(sum, part)| *sum += part);
        }
        add_up(kernel.class, team, first, 1, into.accumulate, bias);
    }
}

/// The sums over a band of output rows of one picture.
#[derive(Clone, Copy)]
struct Band<'a> {
    kernel: &'a WeightGradient,
    input: *const f32,
    gradient: *const f32,
    picture: usize,
    /// First row and the one after the last.
    rows: (usize, usize),
    out: *mut f32,
}

impl Task for Band<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let window = &self.kernel.shape.window;
        let sliding = window.stride[1] == 1 && window.dilation[1] == 1;
        // SAFETY: passed on to the caller.
        unsafe {
            match (window.kernel[1], sliding) {
                (1, true) => S::enter(Columns::<1, 2, true>(self)),
                (3, true) => S::enter(Columns::<3, 2, true>(self)),
                (5, true) => S::enter(Columns::<5, 2, true>(self)),
                (7, true) => S::enter(Columns::<7, 1, true>(self)),
                (3, false) => S::enter(Columns::<3, 2, false>(self)),
                (5, false) => S::enter(Columns::<5, 2, false>(self)),
                _ => S::enter(Columns::<1, 2, false>(self)),
            }
        }
    }
}

/// `K` taps of a row at a time, `N` vectors of channels; with `SLIDE`, the values under the taps
/// move on by one from column to column.
#[derive(Clone, Copy)]
struct Columns<'a, const K: usize, const N: usize, const SLIDE: bool>(Band<'a>);

impl<const K: usize, const N: usize, const SLIDE: bool> Task for Columns<'_, K, N, SLIDE> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Band { kernel, rows, .. } = self.0;
        let channels = kernel.shape.out_channels;
        let [kh, kw] = kernel.shape.window.kernel;
        let mut channel = 0;
        while channel < channels {
            let whole = channel + N * S::LANES <= channels;
            // SAFETY: the channels lie within the pixel, the taps within the window.
            unsafe {
                for ky in 0..kh {
                    for kx in (0..kw).step_by(K) {
                        let tap = [ky, kx];
                        if whole {
                            self.taps::<S, N>(tap, channel, S::LANES);
                        } else {
                            let n = S::LANES.min(channels - channel);
                            self.taps::<S, 1>(tap, channel, n);
                        }
                    }
                }
                self.sum_of_gradients::<S>(rows, channel, if whole { N } else { 1 });
            }
            channel += if whole { N * S::LANES } else { S::LANES };
        }
    }
}

impl<const K: usize, const N: usize, const SLIDE: bool> Columns<'_, K, N, SLIDE> {
    /// The sums of `K` taps for `V` vectors of channels, `n` lanes of each.
    ///
    /// # Safety
    /// As for the band.
    #[inline(always)]
    unsafe fn taps<S: Simd<Elem = f32>, const V: usize>(
        self,
        [ky, kx]: [usize; 2],
        channel: usize,
        n: usize,
    ) {
        let Band { kernel, picture, rows, .. } = self.0;
        let shape = &kernel.shape;
        let window = &shape.window;
        let ([height, width], [oh, ow]) = (shape.input, kernel.output);
        let channels = shape.out_channels;
        // SAFETY: arithmetic only.
        let mut sums = unsafe { [[S::splat(0.0); V]; K] };
        let size = [width, channels];
        // SAFETY: rows and columns are compared with the maps' sizes before they are read.
        unsafe {
            for y in rows.0..rows.1 {
                let iy = (y * window.stride[0] + ky * window.dilation[0])
                    .wrapping_sub(window.padding.top);
                if iy >= height {
                    continue;
                }
                let row = self.0.input.add((picture * height + iy) * width * channels + channel);
                let gradient = self.0.gradient.add(((picture * oh) + y) * ow * channels + channel);
                let left = kx.wrapping_mul(window.dilation[1]).wrapping_sub(window.padding.left);
                if SLIDE {
                    let mut under = [[S::splat(0.0); V]; K];
                    for k in 1..K {
                        under[k] = value::<S, V>(row, left.wrapping_add(k - 1), size, n);
                    }
                    for x in 0..ow {
                        for k in 1..K {
                            under[k - 1] = under[k];
                        }
                        under[K - 1] = value::<S, V>(row, left.wrapping_add(x + K - 1), size, n);
                        let g = vectors::<S, V>(gradient.add(x * channels), n);
                        for k in 0..K {
                            for v in 0..V {
                                sums[k][v] = S::fma(g[v], under[k][v], sums[k][v]);
                            }
                        }
                    }
                } else {
                    for x in 0..ow {
                        let g = vectors::<S, V>(gradient.add(x * channels), n);
                        for k in 0..K {
                            let at = x * window.stride[1] + k * window.dilation[1];
                            let under = value::<S, V>(row, left.wrapping_add(at), size, n);
                            for v in 0..V {
                                sums[k][v] = S::fma(g[v], under[v], sums[k][v]);
                            }
                        }
                    }
                }
            }
            let tap = ky * window.kernel[1] + kx;
            for k in 0..K {
                for v in 0..V {
                    let at = (tap + k) * channels + channel + v * S::LANES;
                    store::<S>(self.0.out.add(at), sums[k][v], n);
                }
            }
        }
    }

    /// # Safety
    /// As for the band.
    #[inline(always)]
    unsafe fn sum_of_gradients<S: Simd<Elem = f32>>(
        self,
        rows: (usize, usize),
        channel: usize,
        vectors: usize,
    ) {
        let Band { kernel, picture, out, .. } = self.0;
        let (channels, [oh, ow]) = (kernel.shape.out_channels, kernel.output);
        let taps = kernel.shape.window.kernel.iter().product::<usize>();
        for channel in (channel..channel + vectors * S::LANES).step_by(S::LANES) {
            let n = S::LANES.min(channels - channel);
            // SAFETY: as the caller's.
            unsafe {
                let mut sum = S::splat(0.0);
                for pixel in (picture * oh + rows.0) * ow..(picture * oh + rows.1) * ow {
                    let from = self.0.gradient.add(pixel * channels + channel);
                    sum = S::add(sum, load::<S>(from, n));
                }
                store::<S>(out.add(taps * channels + channel), sum, n);
            }
        }
    }
}

/// The pixel in column `x` of a row of `width` pixels; zeros outside.
///
/// # Safety
/// `n` lanes of each vector of each pixel are readable.
#[inline(always)]
unsafe fn value<S: Simd<Elem = f32>, const V: usize>(
    row: *const f32,
    x: usize,
    [width, channels]: [usize; 2],
    n: usize,
) -> [S::V; V] {
    // SAFETY: as the caller's.
    unsafe {
        if x < width { vectors::<S, V>(row.add(x * channels), n) } else { [S::splat(0.0); V] }
    }
}

/// # Safety
/// `n` lanes of each vector are readable.
#[inline(always)]
unsafe fn vectors<S: Simd<Elem = f32>, const V: usize>(from: *const f32, n: usize) -> [S::V; V] {
    // SAFETY: as the caller's.
    unsafe { std::array::from_fn(|v| load::<S>(from.add(v * S::LANES), n)) }
}
