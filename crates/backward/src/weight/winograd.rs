//! 3 × 3 with stride 1: Winograd's F(3 × 3, 4 × 4), the transpose of F(4 × 4, 3 × 3).
//!
//! The forward pass is `Y = Aᵀ [(G W Gᵀ) ⊙ (Bᵀ X B)] A` for each tile of 4 × 4 outputs and 6 × 6
//! inputs (Lavin & Gray, *Fast algorithms for convolutional neural networks*, 2015). It is linear
//! in `W`, so that `dW = Gᵀ [Σ (A dY Aᵀ) ⊙ (Bᵀ X B)] G`, summed over the tiles: 36 matrix products
//! with the number of tiles as the inner length.

// Columns become rows, by constant indices.
#![allow(clippy::needless_range_loop)]

use std::sync::atomic::{AtomicUsize, Ordering};

use taper_kernels::Team;
use taper_kernels::parts::{G4, SharedMut, input_transform};
use taper_simd::{Simd, Task, dispatch};

use super::{Gradients, WeightGradient};
use crate::outer::Outer;
use crate::partial::add_up;
use crate::rows::{add, load};

const POSITIONS: usize = 36;

/// The position whose transformed output gradient is the sum over the tile.
const SUM: usize = 7;

/// Values of transformed tiles that a block may have, where that does not make the blocks so small
/// that the sums are read and written too often.
const BLOCK: usize = 1 << 20;

/// Blocks that are in memory at a time: while the last products of one are computed, the next is
/// transformed.
const BUFFERS: usize = 2;

/// Tiles that a thread transforms at a time.
const TILES: usize = 4;

/// The parts of the shared memory: blocks of transformed tiles of input and gradient,
/// `[position][tile][pitch]`, and the sums `[position][out channel][in channel]`.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Tiles of a block, and of the batch.
    block: usize,
    buffers: usize,
    tiles: usize,
    /// Tiles of a picture along both axes.
    grid: [usize; 2],
    /// Values from one transformed tile to the next: of the gradient, of the input.
    pitch: [usize; 2],
    /// Values of a position's sums.
    sums: usize,
    zeros: usize,
}

impl Layout {
    fn new(kernel: &WeightGradient, n: usize) -> Self {
        let (rows, columns) = (kernel.shape.out_channels, kernel.shape.in_channels);
        // An odd number of lines, of which there are as many as two vectors of any class need.
        let pitch = [rows, columns].map(|channels| channels.next_multiple_of(32) + 16);
        let least = (rows * columns / (rows + columns)).clamp(64, 256);
        let block = (BLOCK / (POSITIONS * (pitch[0] + pitch[1]))).clamp(least, 512);
        let grid = kernel.output.map(|len| len.div_ceil(4));
        let tiles = n * grid[0] * grid[1];
        let sums = rows * columns;
        let buffers = tiles.div_ceil(block).min(BUFFERS);
        Self {
            block: block.min(tiles),
            buffers,
            tiles,
            grid,
            pitch,
            sums,
            zeros: pitch[0].max(pitch[1]),
        }
    }

    /// Values of a block of transformed gradients or inputs.
    fn size(&self, side: usize) -> usize {
        POSITIONS * self.block * self.pitch[side]
    }

    fn len(&self) -> usize {
        let transformed = self.buffers * (self.size(0) + self.size(1));
        transformed + POSITIONS * self.sums + self.zeros + self.pitch[0] + 16
    }
}

pub(super) fn shared_len(kernel: &WeightGradient, n: usize) -> usize {
    Layout::new(kernel, n).len()
}

pub(super) fn run(
    kernel: &WeightGradient,
    team: &mut Team<'_>,
    shared: &mut [f32],
    n: usize,
    [input, gradient]: [&[f32]; 2],
    into: Gradients<'_>,
) {
    let layout = Layout::new(kernel, n);
    let start = shared.as_ptr().align_offset(64).min(16);
    let (gradients, rest) = shared[start..].split_at_mut(layout.buffers * layout.size(0));
    let (inputs, rest) = rest.split_at_mut(layout.buffers * layout.size(1));
    let (sums, rest) = rest.split_at_mut(POSITIONS * layout.sums);
    let (zeros, rest) = rest.split_at_mut(layout.zeros);
    let bias = &mut rest[..kernel.shape.out_channels];
    zeros.fill(0.0);
    bias.fill(0.0);
    let (gradients, inputs) = (SharedMut::new(gradients), SharedMut::new(inputs));
    let (sums, bias_sums) = (SharedMut::new(sums), SharedMut::new(bias));
    let zeros = SharedMut::new(zeros);
    let products = POSITIONS + usize::from(into.bias.is_some());
    let per_block = layout.block.div_ceil(TILES) + products;
    let blocks = layout.tiles.div_ceil(layout.block);
    let last = layout.tiles - (blocks - 1) * layout.block;
    let stages = Stages::default();
    team.run((blocks - 1) * per_block + last.div_ceil(TILES) + products, &|item, _| {
        let (index, item) = (item / per_block, item % per_block);
        let count = if index + 1 == blocks { last } else { layout.block };
        let transforms = count.div_ceil(TILES);
        let (buffer, before) = (index % layout.buffers, index / layout.buffers);
        let gradients = gradients.get().wrapping_add(buffer * layout.size(0));
        let inputs = inputs.get().wrapping_add(buffer * layout.size(1));
        if item < transforms {
            // What was in the buffer must have been used.
            stages.products[buffer].wait(before * products);
            let task = Transform {
                kernel,
                layout,
                zeros: zeros.get(),
                input: input.as_ptr(),
                gradient: gradient.as_ptr(),
                first: index * layout.block,
                tiles: (item * TILES, count.min((item + 1) * TILES)),
                gradients,
                inputs,
            };
            // SAFETY: `WeightGradient::run` has checked that the input holds `n` pictures, the
            // gradient `n` maps; the buffer has room for `count` tiles, of which each item writes
            // its own.
            unsafe { dispatch(kernel.class, task) }
            stages.transforms[buffer].done();
            return;
        }
        // The block must be complete, and the sums those of all blocks before it.
        stages.transforms[buffer].wait(before * layout.block.div_ceil(TILES) + transforms);
        if let Some(previous) = index.checked_sub(1) {
            let rounds = previous / layout.buffers + 1;
            stages.products[previous % layout.buffers].wait(rounds * products);
        }
        let task = Product {
            kernel,
            layout,
            position: item - transforms,
            count,
            add: index > 0,
            gradients,
            inputs,
            sums: sums.get(),
            bias: bias_sums.get(),
        };
        // SAFETY: `count` tiles have been transformed, and the sums of the blocks before are
        // complete; each item of this block writes the sums of a position, and one those of the
        // gradients.
        unsafe { dispatch(kernel.class, task) }
        stages.products[buffer].done();
    });
    if let Some(bias) = into.bias {
        let sums = &rest[..bias.len()];
        add_up(kernel.class, team, sums, 1, into.accumulate, bias);
    }
    let weights = SharedMut::new(into.weights);
    let row = 9 * kernel.shape.in_channels;
    team.run(kernel.shape.out_channels, &|channel, _| {
        let task = Back {
            kernel,
            sums: sums.get().wrapping_add(channel * kernel.shape.in_channels),
            step: layout.sums,
            out: weights.get().wrapping_add(channel * row),
            accumulate: into.accumulate,
        };
        // SAFETY: each position has `out_channels` rows of sums; each item writes the gradients of
        // one output channel.
        unsafe { dispatch(kernel.class, task) }
    });
}

/// What has been done, for each buffer of transformed tiles. One region for all blocks, in which
/// items wait for others, instead of two for each block: a block takes less than a millisecond, and
/// on a busy machine a thread may take longer to wake up.
#[derive(Default)]
struct Stages {
    transforms: [Progress; BUFFERS],
    products: [Progress; BUFFERS],
}

/// A number of finished items.
#[derive(Default)]
struct Progress(AtomicUsize);

impl Progress {
    /// What the item has written can be read by those that wait for it.
    fn done(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Waits for items that have a lower number than the one that waits. A team begins items in
    /// ascending order, so that each of them is finished or runs on another thread.
    fn wait(&self, items: usize) {
        let mut spins = 0;
        while self.0.load(Ordering::Acquire) < items {
            spins += 1;
            if spins < 1000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

/// Transforms some tiles of a block.
#[derive(Clone, Copy)]
struct Transform<'a> {
    kernel: &'a WeightGradient,
    layout: Layout,
    zeros: *const f32,
    input: *const f32,
    gradient: *const f32,
    /// First tile of the block, counted through the batch.
    first: usize,
    /// First tile and the one after the last, within the block.
    tiles: (usize, usize),
    gradients: *mut f32,
    inputs: *mut f32,
}

impl Task for Transform<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { kernel, layout, .. } = self;
        let shape = &kernel.shape;
        let border = &shape.window.padding;
        for tile in self.tiles.0..self.tiles.1 {
            let index = self.first + tile;
            let [rows, columns] = layout.grid;
            let picture = index / columns / rows;
            let (y, x) = (index / columns % rows * 4, index % columns * 4);
            let input = Map {
                start: self.input,
                zeros: self.zeros,
                picture,
                size: shape.input,
                channels: shape.in_channels,
                corner: [y as isize - border.top as isize, x as isize - border.left as isize],
            };
            let gradient = Map {
                start: self.gradient,
                size: kernel.output,
                channels: shape.out_channels,
                corner: [y as isize, x as isize],
                ..input
            };
            let [of_gradient, of_input] = layout.pitch;
            // SAFETY: passed on to the caller.
            unsafe {
                let to = self.inputs.add(tile * of_input);
                input.transform::<S, 6>(to, layout.block * of_input);
                let to = self.gradients.add(tile * of_gradient);
                gradient.transform::<S, 4>(to, layout.block * of_gradient);
            }
        }
    }
}

/// Maps, and where in them a tile lies.
#[derive(Clone, Copy)]
struct Map {
    start: *const f32,
    /// A pixel beyond the border.
    zeros: *const f32,
    picture: usize,
    size: [usize; 2],
    channels: usize,
    corner: [isize; 2],
}

impl Map {
    /// Transforms a tile of `A × A` pixels; the positions' values lie `step` apart.
    ///
    /// # Safety
    /// The maps hold the picture, and each position has room for `channels` values, rounded up to
    /// whole vectors.
    #[inline(always)]
    unsafe fn transform<S: Simd<Elem = f32>, const A: usize>(self, to: *mut f32, step: usize) {
        let [height, width] = self.size;
        let mut pointers = [[self.zeros; A]; A];
        for (i, row) in pointers.iter_mut().enumerate() {
            let y = self.corner[0] + i as isize;
            if (y as usize) < height {
                for (j, pointer) in row.iter_mut().enumerate() {
                    let x = self.corner[1] + j as isize;
                    if (x as usize) < width {
                        let pixel = (self.picture * height + y as usize) * width + x as usize;
                        *pointer = self.start.wrapping_add(pixel * self.channels);
                    }
                }
            }
        }
        let mut channel = 0;
        // SAFETY: the pointers lead to pixels (or zeros) of `channels` values.
        unsafe {
            while channel < self.channels {
                let n = S::LANES.min(self.channels - channel);
                let mut half = [[S::splat(0.0); A]; 6];
                for j in 0..A {
                    let column: [S::V; A] =
                        std::array::from_fn(|i| load::<S>(pointers[i][j].add(channel), n));
                    let column = spread::<S, A>(column);
                    for i in 0..6 {
                        half[i][j] = column[i];
                    }
                }
                for (i, row) in half.into_iter().enumerate() {
                    let row = spread::<S, A>(row);
                    for (j, value) in row.into_iter().enumerate() {
                        S::store(to.add((i * 6 + j) * step + channel), value);
                    }
                }
                channel += S::LANES;
            }
        }
    }
}

/// `Bᵀ x` of six values or `A x` of four, along one axis.
#[inline(always)]
unsafe fn spread<S: Simd, const A: usize>(x: [S::V; A]) -> [S::V; 6] {
    // SAFETY: arithmetic only.
    unsafe {
        if A == 6 {
            return input_transform::<S, 6>(std::array::from_fn(|i| x[i]));
        }
        let even = S::add(x[0], x[2]);
        let odd = S::add(x[1], x[3]);
        let even_two = S::fma(S::splat(4.0), x[2], x[0]);
        let odd_two = S::fma(S::splat(8.0), x[3], S::add(x[1], x[1]));
        [
            x[0],
            S::add(even, odd),
            S::sub(even, odd),
            S::add(even_two, odd_two),
            S::sub(even_two, odd_two),
            x[3],
        ]
    }
}

/// A position's matrix product over a block of tiles, or the sums of the gradients.
#[derive(Clone, Copy)]
struct Product<'a> {
    kernel: &'a WeightGradient,
    layout: Layout,
    position: usize,
    count: usize,
    add: bool,
    gradients: *const f32,
    inputs: *const f32,
    sums: *mut f32,
    bias: *mut f32,
}

impl Task for Product<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { kernel, layout, position, count, .. } = self;
        let (rows, columns) = (kernel.shape.out_channels, kernel.shape.in_channels);
        let [of_gradient, of_input] = layout.pitch;
        // SAFETY: each position has `count` tiles of whole vectors on both sides, and `rows` rows
        // of sums.
        unsafe {
            if position == POSITIONS {
                let from = self.gradients.add(SUM * layout.block * of_gradient);
                for tile in 0..count {
                    add::<S>(from.add(tile * of_gradient), self.bias, rows);
                }
                return;
            }
            Outer {
                a: self.gradients.add(position * layout.block * of_gradient),
                a_step: of_gradient,
                b: self.inputs.add(position * layout.block * of_input),
                b_step: of_input,
                len: count,
                out: self.sums.add(position * layout.sums),
                ldc: columns,
                width: columns,
                add: self.add,
            }
            .product::<S>(rows);
        }
    }
}

/// Transforms the sums of one output channel back.
#[derive(Clone, Copy)]
struct Back<'a> {
    kernel: &'a WeightGradient,
    /// `in_channels` sums for each position, `step` apart.
    sums: *const f32,
    step: usize,
    /// `[in_channels][3][3]`.
    out: *mut f32,
    accumulate: bool,
}

impl Task for Back<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let channels = self.kernel.shape.in_channels;
        let mut channel = 0;
        while channel < channels {
            let n = S::LANES.min(channels - channel);
            let mut taps = [[0.0f32; 16]; 9];
            // SAFETY: `channel + n ≤ channels`; there is room for a vector in each tap.
            unsafe {
                let mut half = [[S::splat(0.0); 6]; 3];
                for j in 0..6 {
                    let column: [S::V; 6] = std::array::from_fn(|i| {
                        load::<S>(self.sums.add((i * 6 + j) * self.step + channel), n)
                    });
                    let column = gather::<S>(column);
                    for i in 0..3 {
                        half[i][j] = column[i];
                    }
                }
                for (i, row) in half.into_iter().enumerate() {
                    for (j, value) in gather::<S>(row).into_iter().enumerate() {
                        S::store(taps[i * 3 + j].as_mut_ptr(), value);
                    }
                }
                for lane in 0..n {
                    for (tap, values) in taps.iter().enumerate() {
                        let to = self.out.add((channel + lane) * 9 + tap);
                        *to = if self.accumulate { *to + values[lane] } else { values[lane] };
                    }
                }
            }
            channel += S::LANES;
        }
    }
}

/// `Gᵀ x` along one axis.
#[inline(always)]
unsafe fn gather<S: Simd>(x: [S::V; 6]) -> [S::V; 3] {
    // SAFETY: arithmetic only.
    unsafe {
        std::array::from_fn(|tap| {
            let mut sum = S::mul(x[0], S::splat(G4[0][tap] as f32));
            for i in 1..6 {
                sum = S::fma(x[i], S::splat(G4[i][tap] as f32), sum);
            }
            sum
        })
    }
}
