//! Depthwise convolution: one filter per channel, vectors over channels, a register tile over output columns.

use crate::conv::{Epilogue, PackedFilter, table, table_len};
use crate::simd::{Simd, Task, dispatch};
use crate::team::SharedMut;
use crate::tile::activate;
use crate::{Activation, Element, Team};

/// Output columns of the register tile.
const COLUMNS: usize = 6;

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
                residual: epilogue.residual.map_or(std::ptr::null(), <[E]>::as_ptr),
                out: out.get(),
                activation: epilogue.activation,
                row,
                table,
            };
            // SAFETY: `PackedFilter::run` has checked that the input holds `n` pictures, residual and output `n` maps; `row` is
            // one of their rows, written by this item only; the table has room for a row.
            unsafe { dispatch(filter.class, task) }
        }
    });
}

#[derive(Clone, Copy)]
struct Row<'a, E: Element> {
    filter: &'a PackedFilter<E>,
    input: *const E,
    residual: *const E,
    out: *mut E,
    activation: Activation,
    /// Output row, counted through the batch.
    row: usize,
    table: *mut *const E,
}

impl<E: Element> Task for Row<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
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
            // SAFETY: the table points to pixels (or zeros) of `channels` values; the output pixels exist.
            unsafe {
                let tile = Columns {
                    pointers: self.table.add(tile * taps * COLUMNS),
                    taps,
                    channels,
                    weights: filter.depthwise.as_ptr(),
                    bias: filter.bias.as_ptr(),
                    residual: if self.residual.is_null() {
                        self.residual
                    } else {
                        self.residual.add(at)
                    },
                    out: self.out.add(at),
                    activation: self.activation,
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
    residual: *const E,
    out: *mut E,
    activation: Activation,
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
        // SAFETY: `channel + vectors × LANES ≤ channels` in both loops and `channel + rest = channels` in the last step;
        // pixels, weights of a tap and bias all hold `channels` values.
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
                        let sum = if c.residual.is_null() {
                            sum
                        } else {
                            S::add(sum, S::load(c.residual.add(at)))
                        };
                        S::store(c.out.add(at), activate::<S>(c.activation, sum));
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
                    let sum = if c.residual.is_null() {
                        sum
                    } else {
                        S::add(sum, S::load(c.residual.add(at)))
                    };
                    S::store(c.out.add(at), activate::<S>(c.activation, sum));
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
                    let sum = if c.residual.is_null() {
                        sum
                    } else {
                        S::add(sum, S::load_n(c.residual.add(at), rest))
                    };
                    S::store_n(c.out.add(at), activate::<S>(c.activation, sum), rest);
                }
            }
        }
    }
}
