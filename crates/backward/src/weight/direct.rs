//! Any window: a matrix product of output gradients with the pixels under each tap.

use taper_kernels::parts::SharedMut;
use taper_kernels::{Conv2dShape, Team};
use taper_simd::{Simd, Task, dispatch};

use super::{Gradients, WeightGradient};
use crate::outer::Outer;
use crate::partial::{AddUp, add_up};
use crate::rows::{add, clear, copy};

/// Output channels and input values (taps × channels) of a block.
const ROWS: usize = 512;
const COLUMNS: usize = 512;

/// Values of two cache lines, and of two vectors of any class.
const LINES: usize = 32;

/// Values of both operands that a chunk of pixels may have, so that they stay in the second-level
/// cache.
const CHUNK: usize = 128 << 10;

/// Work items that a layer should at least be divided into.
const ITEMS: usize = 16;

/// The least number of pixels that are worth a sum of their own.
const LEAST: usize = 1024;

/// Partial sums, in values, that a layer may have.
const PARTS: usize = 4 << 20;

/// How a layer is divided into items: by blocks of output channels, blocks of input values, and
/// parts of the pixels.
#[derive(Debug, Clone, Copy)]
struct Division {
    /// Output channels and input values of a group.
    group: [usize; 2],
    /// The same of a block, and how many blocks there are.
    block: [usize; 2],
    blocks: [usize; 2],
    /// Pixels of a chunk and of a part.
    chunk: usize,
    part: usize,
    parts: usize,
    pixels: usize,
    /// Values from one row of a chunk to the next.
    pitch: [usize; 2],
}

impl Division {
    fn new(kernel: &WeightGradient, n: usize) -> Self {
        let shape = &kernel.shape;
        let pixels = n * kernel.output[0] * kernel.output[1];
        let group = [
            shape.out_channels / shape.groups,
            shape.in_channels / shape.groups * shape.window.kernel.iter().product::<usize>(),
        ];
        let blocks = [group[0].div_ceil(ROWS), group[1].div_ceil(COLUMNS)];
        // Blocks of about the same size, of whole vectors.
        let block = [0, 1].map(|side| group[side].div_ceil(blocks[side]).next_multiple_of(LINES));
        let blocks = [0, 1].map(|side| group[side].div_ceil(block[side]));
        let chunk = (CHUNK / (block[0] + block[1])).clamp(64, 512);
        let items = blocks[0] * blocks[1] * shape.groups;
        let most = (PARTS / shape.filter_len()).max(1).min(pixels.div_ceil(LEAST)).max(1);
        let parts = ITEMS.div_ceil(items).min(most);
        let part = pixels.div_ceil(parts).next_multiple_of(chunk).max(1);
        let parts = pixels.div_ceil(part).max(1);
        // An odd number of lines: rows a power of two apart would share a few sets of the cache.
        let pitch = block.map(|len| len + 16);
        Self { group, block, blocks, chunk, part, parts, pixels, pitch }
    }

    /// Sums go to the output directly: there is one part, and both have the same layout.
    fn in_place(&self, shape: &Conv2dShape) -> bool {
        self.parts == 1 && shape.window.kernel == [1, 1]
    }
}

pub(super) fn scratch_len(kernel: &WeightGradient) -> usize {
    let division = Division::new(kernel, 1);
    division.chunk * (division.pitch[0] + division.pitch[1]) + 32
}

pub(super) fn shared_len(kernel: &WeightGradient, n: usize) -> usize {
    let division = Division::new(kernel, n);
    let shape = &kernel.shape;
    let sums = if division.in_place(shape) { 0 } else { division.parts * shape.filter_len() };
    sums + division.parts * shape.out_channels
}

pub(super) fn run(
    kernel: &WeightGradient,
    team: &mut Team<'_>,
    shared: &mut [f32],
    n: usize,
    [input, gradient]: [&[f32]; 2],
    into: Gradients<'_>,
) {
    let shape = &kernel.shape;
    let division = Division::new(kernel, n);
    let (len, taps) = (shape.filter_len(), shape.window.kernel[0] * shape.window.kernel[1]);
    let (biases, sums) = shared.split_at_mut(division.parts * shape.out_channels);
    let in_place = division.in_place(shape);
    let wanted = into.bias.is_some();
    {
        let to = SharedMut::new(if in_place { &mut *into.weights } else { &mut *sums });
        let biases = SharedMut::new(&mut *biases);
        let [rows, columns] = division.blocks;
        team.run(division.parts * shape.groups * rows * columns, &|item, scratch| {
            let (part, item) = (item % division.parts, item / division.parts);
            let (column, item) = (item % columns, item / columns);
            let (row, group) = (item % rows, item / rows);
            let start = scratch.as_ptr().align_offset(64).min(16);
            let (a, b) = scratch[start..].split_at_mut(division.chunk * division.pitch[0]);
            let with_bias = wanted && column == 0;
            let block = Block {
                kernel,
                division,
                input: input.as_ptr(),
                gradient: gradient.as_ptr(),
                group,
                first: [row * division.block[0], column * division.block[1]],
                pixels: (part * division.part, division.pixels.min((part + 1) * division.part)),
                a: a.as_mut_ptr(),
                b: b.as_mut_ptr(),
                out: to.get().wrapping_add(if in_place { 0 } else { part * len }),
                bias: if with_bias {
                    biases.get().wrapping_add(part * shape.out_channels)
                } else {
                    std::ptr::null_mut()
                },
                add: in_place && into.accumulate,
            };
            // SAFETY: `WeightGradient::run` has checked that the input holds `n` pictures, the
            // gradient `n` maps, and that scratch and shared memory are as long as this module
            // asks for. Each item writes a block of a part's sums of its own.
            unsafe { dispatch(kernel.class, block) }
        });
    }
    if let Some(bias) = into.bias {
        add_up(kernel.class, team, biases, division.parts, into.accumulate, bias);
    }
    if in_place {
        return;
    }
    if taps == 1 {
        return add_up(kernel.class, team, sums, division.parts, into.accumulate, into.weights);
    }
    let weights = SharedMut::new(into.weights);
    let sums = SharedMut::new(sums);
    let row = len / shape.out_channels;
    team.run(shape.out_channels, &|channel, _| {
        let first = sums.get().wrapping_add(channel * row);
        let parts = first.wrapping_add(len).cast_const();
        let (count, step) = (division.parts - 1, len);
        let task = AddUp { parts, count, step, out: first, len: row, accumulate: true };
        // SAFETY: the first part's row takes the sums of the others; no other item touches it, nor
        // the output channel's gradients, which are as many.
        unsafe {
            dispatch(kernel.class, task);
            let sums = std::slice::from_raw_parts(first.cast_const(), row);
            let out = std::slice::from_raw_parts_mut(weights.get().add(channel * row), row);
            untangle(sums, taps, into.accumulate, out);
        }
    });
}

/// From `[n][taps][channels]` to `[n][channels][taps]`.
pub(super) fn exchange(
    team: &mut Team<'_>,
    from: &[f32],
    [taps, channels]: [usize; 2],
    to: &mut [f32],
) {
    let len = taps * channels;
    let to = SharedMut::new(to);
    team.run(from.len() / len, &|picture, _| {
        // SAFETY: both hold `n` pictures, and this item alone writes this one.
        let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(picture * len), len) };
        untangle(&from[picture * len..][..len], taps, false, to);
    });
}

/// From `[taps][channels]` to `[channels][taps]`.
fn untangle(sums: &[f32], taps: usize, accumulate: bool, out: &mut [f32]) {
    let channels = sums.len() / taps;
    for (channel, out) in out.chunks_exact_mut(taps).enumerate() {
        for (tap, out) in out.iter_mut().enumerate() {
            let sum = sums[tap * channels + channel];
            *out = if accumulate { *out + sum } else { sum };
        }
    }
}

/// A block of sums over a part of the pixels.
#[derive(Clone, Copy)]
struct Block<'a> {
    kernel: &'a WeightGradient,
    division: Division,
    input: *const f32,
    gradient: *const f32,
    group: usize,
    /// First output channel and first input value, within the group.
    first: [usize; 2],
    /// First pixel and the one after the last, counted through the batch.
    pixels: (usize, usize),
    /// Room for a chunk's rows.
    a: *mut f32,
    b: *mut f32,
    /// The filters' sums.
    out: *mut f32,
    /// Null, or the sums of the gradients.
    bias: *mut f32,
    /// Whether to add to `out` from the first chunk on.
    add: bool,
}

impl Task for Block<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { division, first, group, .. } = self;
        let channels = self.kernel.shape.out_channels;
        let [rows, columns] =
            [0, 1].map(|side| division.block[side].min(division.group[side] - first[side]));
        let row = group * division.group[0] + first[0];
        // SAFETY: pixels, channels and values lie within the batch and the group; a chunk of rows,
        // `pitch` apart, has room in the scratch memory.
        unsafe {
            if !self.bias.is_null() {
                clear::<S>(self.bias.add(row), rows);
            }
            let mut pixel = self.pixels.0;
            while pixel < self.pixels.1 {
                let len = division.chunk.min(self.pixels.1 - pixel);
                for p in 0..len {
                    let from = self.gradient.add((pixel + p) * channels + row);
                    let to = self.a.add(p * division.pitch[0]);
                    copy::<S>(from, to, rows);
                    if !self.bias.is_null() {
                        add::<S>(from, self.bias.add(row), rows);
                    }
                }
                self.gather::<S>(pixel, len, columns);
                let started = pixel > self.pixels.0;
                Outer {
                    a: self.a,
                    a_step: division.pitch[0],
                    b: self.b,
                    b_step: division.pitch[1],
                    len,
                    out: self.out.add(row * division.group[1] + first[1]),
                    ldc: division.group[1],
                    width: columns,
                    add: self.add || started,
                }
                .product::<S>(rows);
                pixel += len;
            }
        }
    }
}

impl Block<'_> {
    /// Copies what lies under the block's taps and channels for `len` pixels; zeros beyond the
    /// border.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn gather<S: Simd<Elem = f32>>(self, pixel: usize, len: usize, columns: usize) {
        let shape = &self.kernel.shape;
        let window = &shape.window;
        let ([height, width], [oh, ow]) = (shape.input, self.kernel.output);
        let channels = shape.in_channels;
        let per_group = channels / shape.groups;
        let [kh, kw] = window.kernel;
        // Whole rows of taps are contiguous where nothing lies between them.
        let joined = shape.groups == 1 && window.dilation[1] == 1;
        let (runs, wide) = if joined { (kh, kw) } else { (kh * kw, 1) };
        let run_len = wide * per_group;
        let (from, to) = (self.first[1], self.first[1] + columns);
        let (first, last) = (from / run_len, to.div_ceil(run_len).min(runs));
        let (mut x, mut y) = (pixel % ow, pixel / ow % oh);
        let mut picture = pixel / ow / oh;
        for p in 0..len {
            let row = self.b.wrapping_add(p * self.division.pitch[1]);
            for run in first..last {
                let (ky, kx) = if joined { (run, 0) } else { (run / kw, run % kw) };
                let iy = (y * window.stride[0] + ky * window.dilation[0]) as isize
                    - window.padding.top as isize;
                let ix = (x * window.stride[1] + kx * window.dilation[1]) as isize
                    - window.padding.left as isize;
                // The taps of the run that lie inside the map.
                let (low, high) = if (iy as usize) < height {
                    let low = (-ix).clamp(0, wide as isize);
                    (low, (width as isize - ix).clamp(low, wide as isize))
                } else {
                    (0, 0)
                };
                let start = run * run_len;
                let (begin, end) = (from.max(start), to.min(start + run_len));
                let inside =
                    [low, high].map(|tap| (start + tap as usize * per_group).clamp(begin, end));
                // SAFETY: `from ≤ begin ≤ inside ≤ end ≤ to`; the taps between lie in the map.
                unsafe {
                    clear::<S>(row.add(begin - from), inside[0] - begin);
                    if inside[1] > inside[0] {
                        let tap = (picture * height) as isize + iy;
                        let tap = (tap * width as isize + ix) * channels as isize;
                        let at = tap + (self.group * per_group + inside[0] - start) as isize;
                        let count = inside[1] - inside[0];
                        copy::<S>(self.input.offset(at), row.add(inside[0] - from), count);
                    }
                    clear::<S>(row.add(inside[1] - from), end - inside[1]);
                }
            }
            // SAFETY: rows are whole vectors long.
            unsafe {
                clear::<S>(row.add(columns), columns.next_multiple_of(2 * S::LANES) - columns);
            }
            x += 1;
            if x == ow {
                x = 0;
                y += 1;
                if y == oh {
                    y = 0;
                    picture += 1;
                }
            }
        }
    }
}
