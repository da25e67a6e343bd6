//! Depthwise convolution: one filter per channel, vectors over channels, a register tile over
//! output columns.
// Loops over registers count with constants, so that the compiler unrolls them.
#![allow(clippy::needless_range_loop)]

use crate::ending::Ending;
use crate::filter::{Epilogue, PackedFilter};
use crate::scratch::{table, table_len};
use crate::team::SharedMut;
use crate::{Element, Team};
use taper_simd::{Simd, Task, dispatch};

/// Output columns of the register tile for any window.
const COLUMNS: usize = 6;

/// Output columns of the register tile for 3 × 3 and 5 × 5: divides 7, 14, 28, 56, 112.
const UNROLLED: usize = 7;

/// Input columns under the widest such tile: 5 × 5 with stride 2.
const INPUT_COLUMNS: usize = (UNROLLED - 1) * 2 + 5;

pub(crate) fn scratch_len<E: Element>(filter: &PackedFilter<E>) -> usize {
    table_len(filter.output[1].next_multiple_of(COLUMNS) * filter.shape.window.taps())
}

pub(crate) fn run<E: Element>(
    filter: &PackedFilter<E>,
    team: &mut Team<'_>,
    n: usize,
    input: &[E],
    epilogue: Epilogue<'_, E>,
    out: &mut [E],
) {
    let [oh, ow] = filter.output;
    let rows = n * oh;
    let threads = team.threads();
    let band = if threads == 1 { rows } else { rows.div_ceil(8 * threads) };
    let out = SharedMut::new(out);
    let pointers = ow.next_multiple_of(COLUMNS) * filter.shape.window.taps();
    team.run(rows.div_ceil(band), &|item, scratch| {
        let table = table(scratch, pointers);
        for row in item * band..rows.min((item + 1) * band) {
            let task = Row {
                filter,
                input: input.as_ptr(),
                out: out.get(),
                ending: Ending::new(epilogue),
                row,
                table,
            };
            // SAFETY: `PackedFilter::run` has checked that the input holds `n` pictures, residual
            // and output `n` maps; `row` is one of their rows, written by this item only; the table
            // has room for a row.
            unsafe { dispatch(filter.class, task) }
        }
    });
}

#[derive(Clone, Copy)]
struct Row<'a, E: Element> {
    filter: &'a PackedFilter<E>,
    input: *const E,
    out: *mut E,
    ending: Ending<E>,
    /// Output row, counted through the batch.
    row: usize,
    table: *mut *const E,
}

impl<E: Element> Task for Row<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let window = &self.filter.shape.window;
        // SAFETY: passed on to the caller.
        unsafe {
            if window.dilation != [1, 1] || self.filter.output[1] < UNROLLED {
                return self.any_window::<S>();
            }
            match (window.kernel, window.stride) {
                ([3, 3], [_, 1]) => self.unrolled::<S, 3, 1>(),
                ([3, 3], [_, 2]) => self.unrolled::<S, 3, 2>(),
                ([5, 5], [_, 1]) => self.unrolled::<S, 5, 1>(),
                ([5, 5], [_, 2]) => self.unrolled::<S, 5, 2>(),
                ([7, 7], [_, 1]) => self.unrolled::<S, 7, 1>(),
                _ => self.any_window::<S>(),
            }
        }
    }
}

impl<E: Element> Row<'_, E> {
    /// Windows of `K × K` whose horizontal stride is `STEP`: every input column is loaded once for
    /// all taps that cover it.
    ///
    /// # Safety
    /// As for `run`; the output is at least `UNROLLED` wide.
    #[inline(always)]
    unsafe fn unrolled<S: Simd<Elem = E>, const K: usize, const STEP: usize>(self) {
        let filter = self.filter;
        let window = &filter.shape.window;
        let [height, width] = filter.shape.input;
        let [oh, ow] = filter.output;
        let channels = filter.shape.in_channels;
        let picture = self.row / oh;
        let top = (self.row % oh * window.stride[0]) as isize - window.padding.top as isize;
        let columns = (UNROLLED - 1) * STEP + K;
        let mut tile = 0;
        loop {
            let left = (tile * STEP) as isize - window.padding.left as isize;
            let mut pointers = [[filter.zeros.as_ptr(); INPUT_COLUMNS]; K];
            for (ky, pointers) in pointers.iter_mut().enumerate() {
                let y = top + ky as isize;
                if (y as usize) < height {
                    let row = ((picture * height + y as usize) * width) as isize + left;
                    let row = self.input.wrapping_offset(row * channels as isize);
                    for (j, pointer) in pointers.iter_mut().enumerate().take(columns) {
                        if ((left + j as isize) as usize) < width {
                            *pointer = row.wrapping_add(j * channels);
                        }
                    }
                }
            }
            // SAFETY: the pointers lead to pixels (or zeros) of `channels` values; the output
            // pixels exist.
            unsafe {
                S::enter(Unrolled::<E, K, STEP> {
                    pointers: &pointers,
                    channels,
                    weights: filter.depthwise.as_ptr(),
                    bias: filter.bias.as_ptr(),
                    out: self.out.add((self.row * ow + tile) * channels),
                    ending: self.ending.from((self.row * ow + tile) * channels),
                });
            }
            if tile + UNROLLED >= ow {
                break;
            }
            // The last tile ends with the row, and may compute some columns once more.
            tile = (tile + UNROLLED).min(ow - UNROLLED);
        }
    }

    /// Any kernel, stride and dilation.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn any_window<S: Simd<Elem = E>>(self) {
        let filter = self.filter;
        let window = &filter.shape.window;
        let [height, width] = filter.shape.input;
        let [oh, ow] = filter.output;
        let channels = filter.shape.in_channels;
        let taps = window.taps();
        let picture = self.row / oh;
        let top = (self.row % oh * window.stride[0]) as isize - window.padding.top as isize;
        let tiles = ow.div_ceil(COLUMNS);
        for tile in 0..tiles {
            for ky in 0..window.kernel[0] {
                let y = top + (ky * window.dilation[0]) as isize;
                let base = ((picture * height) as isize + y) * width as isize;
                for kx in 0..window.kernel[1] {
                    let tap = ky * window.kernel[1] + kx;
                    let dx = (kx * window.dilation[1]) as isize - window.padding.left as isize;
                    for t in 0..COLUMNS {
                        let column = tile * COLUMNS + t;
                        let x = (column * window.stride[1]) as isize + dx;
                        let valid = (y as usize) < height && (x as usize) < width && column < ow;
                        let pointer = if valid {
                            self.input.wrapping_offset((base + x) * channels as isize)
                        } else {
                            filter.zeros.as_ptr()
                        };
                        // SAFETY: the table has room for `tiles × taps × COLUMNS` pointers.
                        unsafe { *self.table.add((tile * taps + tap) * COLUMNS + t) = pointer };
                    }
                }
            }
        }
        for tile in 0..tiles {
            let columns = COLUMNS.min(ow - tile * COLUMNS);
            let at = (self.row * ow + tile * COLUMNS) * channels;
            // SAFETY: the table points to pixels (or zeros) of `channels` values; the output pixels
            // exist.
            unsafe {
                let tile = Columns {
                    pointers: self.table.add(tile * taps * COLUMNS),
                    taps,
                    channels,
                    weights: filter.depthwise.as_ptr(),
                    bias: filter.bias.as_ptr(),
                    out: self.out.add(at),
                    ending: self.ending.from(at),
                };
                match columns {
                    6 => S::enter(Sized::<E, 6>(tile)),
                    5 => S::enter(Sized::<E, 5>(tile)),
                    4 => S::enter(Sized::<E, 4>(tile)),
                    3 => S::enter(Sized::<E, 3>(tile)),
                    2 => S::enter(Sized::<E, 2>(tile)),
                    _ => S::enter(Sized::<E, 1>(tile)),
                }
            }
        }
    }
}

/// Neighbouring output columns, all channels.
#[derive(Clone, Copy)]
struct Columns<E: Element> {
    /// `[tap][COLUMNS]` pointers to pixels of `channels` values.
    pointers: *const *const E,
    taps: usize,
    channels: usize,
    /// `[tap][channels]`.
    weights: *const f32,
    bias: *const f32,
    out: *mut E,
    ending: Ending<E>,
}

#[derive(Clone, Copy)]
struct Sized<E: Element, const T: usize>(Columns<E>);

impl<E: Element, const T: usize> Task for Sized<E, T> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let c = self.0;
        let lanes = S::LANES;
        let mut channel = 0;
        // SAFETY: `channel + vectors × LANES ≤ channels` in both loops and `channel + rest =
        // channels` in the last step; pixels, weights of a tap and bias all hold `channels` values.
        unsafe {
            while channel + 2 * lanes <= c.channels {
                let bias = [S::load32(c.bias.add(channel)), S::load32(c.bias.add(channel + lanes))];
                let mut sums = [bias; T];
                for tap in 0..c.taps {
                    let w = c.weights.add(tap * c.channels + channel);
                    let w = [S::load32(w), S::load32(w.add(lanes))];
                    for (t, sum) in sums.iter_mut().enumerate() {
                        let pixel = (*c.pointers.add(tap * COLUMNS + t)).add(channel);
                        sum[0] = S::fma(S::load(pixel), w[0], sum[0]);
                        sum[1] = S::fma(S::load(pixel.add(lanes)), w[1], sum[1]);
                    }
                }
                for (t, sum) in sums.iter().enumerate() {
                    for (v, &sum) in sum.iter().enumerate() {
                        let at = t * c.channels + channel + v * lanes;
                        S::store(c.out.add(at), c.ending.apply::<S>(sum, at, lanes));
                    }
                }
                channel += 2 * lanes;
            }
            while channel + lanes <= c.channels {
                let mut sums = [S::load32(c.bias.add(channel)); T];
                for tap in 0..c.taps {
                    let w = S::load32(c.weights.add(tap * c.channels + channel));
                    for (t, sum) in sums.iter_mut().enumerate() {
                        let pixel = (*c.pointers.add(tap * COLUMNS + t)).add(channel);
                        *sum = S::fma(S::load(pixel), w, *sum);
                    }
                }
                for (t, &sum) in sums.iter().enumerate() {
                    let at = t * c.channels + channel;
                    S::store(c.out.add(at), c.ending.apply::<S>(sum, at, lanes));
                }
                channel += lanes;
            }
            let rest = c.channels - channel;
            if rest > 0 {
                let mut sums = [S::load32_n(c.bias.add(channel), rest); T];
                for tap in 0..c.taps {
                    let w = S::load32_n(c.weights.add(tap * c.channels + channel), rest);
                    for (t, sum) in sums.iter_mut().enumerate() {
                        let pixel = (*c.pointers.add(tap * COLUMNS + t)).add(channel);
                        *sum = S::fma(S::load_n(pixel, rest), w, *sum);
                    }
                }
                for (t, &sum) in sums.iter().enumerate() {
                    let at = t * c.channels + channel;
                    S::store_n(c.out.add(at), c.ending.apply::<S>(sum, at, rest), rest);
                }
            }
        }
    }
}

/// `UNROLLED` neighbouring output columns, all channels.
#[derive(Clone, Copy)]
struct Unrolled<'a, E: Element, const K: usize, const STEP: usize> {
    /// Pointers to pixels of `channels` values.
    pointers: &'a [[*const E; INPUT_COLUMNS]; K],
    channels: usize,
    /// `[tap][channels]`.
    weights: *const f32,
    bias: *const f32,
    out: *mut E,
    ending: Ending<E>,
}

impl<E: Element, const K: usize, const STEP: usize> Task for Unrolled<'_, E, K, STEP> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let mut channel = 0;
        // SAFETY: `channel + n ≤ channels`, and pixels, weights of a tap and bias all hold
        // `channels` values.
        unsafe {
            while channel + S::LANES <= self.channels {
                let mut sums = [S::load32(self.bias.add(channel)); UNROLLED];
                for ky in 0..K {
                    let weights: [S::V; K] = std::array::from_fn(|kx| {
                        S::load32(self.weights.add((ky * K + kx) * self.channels + channel))
                    });
                    let row = &self.pointers[ky];
                    if STEP == 1 {
                        for j in 0..UNROLLED - 1 + K {
                            let x = S::load(row[j].add(channel));
                            // Column j lies under tap kx of output j − kx.
                            for kx in 0..K {
                                if j >= kx && j - kx < UNROLLED {
                                    sums[j - kx] = S::fma(x, weights[kx], sums[j - kx]);
                                }
                            }
                        }
                    } else {
                        for kx in 0..K {
                            for t in 0..UNROLLED {
                                let x = S::load(row[t * STEP + kx].add(channel));
                                sums[t] = S::fma(x, weights[kx], sums[t]);
                            }
                        }
                    }
                }
                for t in 0..UNROLLED {
                    let at = t * self.channels + channel;
                    S::store(self.out.add(at), self.ending.apply::<S>(sums[t], at, S::LANES));
                }
                channel += S::LANES;
            }
            let n = self.channels - channel;
            if n > 0 {
                for t in 0..UNROLLED {
                    let mut sum = S::load32_n(self.bias.add(channel), n);
                    for ky in 0..K {
                        for kx in 0..K {
                            let w = S::load32_n(
                                self.weights.add((ky * K + kx) * self.channels + channel),
                                n,
                            );
                            let x = S::load_n(self.pointers[ky][t * STEP + kx].add(channel), n);
                            sum = S::fma(x, w, sum);
                        }
                    }
                    let at = t * self.channels + channel;
                    S::store_n(self.out.add(at), self.ending.apply::<S>(sum, at, n), n);
                }
            }
        }
    }
}
