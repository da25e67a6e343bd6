//! Winograd's minimal filtering for 3 × 3 convolutions with stride 1: F(4 × 4, 3 × 3) and F(2 × 2,
//! 3 × 3).
//!
//! Tiles of the input are transformed, multiplied with transformed filters position by position
//! (one matrix product for each of the 36 or 16 positions), and transformed back. The matrices are
//! those of Lavin & Gray, *Fast algorithms for convolutional neural networks* (2015). F(4 × 4)
//! needs a quarter of the multiplications of the direct sum and loses about one decimal digit.
//!
//! bf16 activations are transformed and multiplied in f32: rounding the transformed values to 8
//! bits again would lose too much, and a quarter of the multiplications at f32's speed still takes
//! less time than all of them at twice that speed.

use crate::ending::Ending;
use crate::filter::{Epilogue, Order, PackedFilter};
use crate::team::SharedMut;
use crate::tile::Tile;
use crate::{Element, Team};
use taper_simd::{Simd, Task, dispatch};

/// Bytes of transformed tiles that a block should not exceed by much.
const BLOCK_BYTES: usize = 1 << 20;

/// The least number of tiles in a block (if there are as many), so that filters are not read too
/// often.
const MIN_TILES: usize = 28;

/// The same for filters that far exceed the second-level cache.
const MIN_TILES_LARGE: usize = 70;

/// Bytes of transformed filters from which on they count as large.
const LARGE_BYTES: usize = 6 << 20;

/// The largest number of tiles in a block.
const MAX_TILES: usize = 112;

/// Outputs of a tile along one axis.
fn outputs(positions: usize) -> usize {
    if positions == 36 { 4 } else { 2 }
}

/// The filter's transform of F(4 × 4, 3 × 3).
pub const G4: [[f64; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];
const G2: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// Fills the panels with transformed filters, computed in f64 and rounded once.
pub(crate) fn fill(filter: &mut PackedFilter<f32>, team: &mut Team<'_>, weights: &[f32]) {
    let packed = SharedMut::new(&mut filter.weights);
    let filter = &*filter;
    let channels = filter.shape.in_channels;
    let parts = channels.div_ceil(FILL);
    team.run(filter.panels.len() * parts, &|item, _| {
        let (panel, part) = (item / parts, item % parts);
        let range = (part * FILL, channels.min((part + 1) * FILL));
        let (to, weights) = (packed.get(), weights.as_ptr());
        // SAFETY: the weights are `[out, in, 3, 3]` in either order, as `repack` has checked;
        // `lay_out` has made room for the panel, and this item alone fills these channels of it.
        unsafe {
            if filter.algorithm.positions() == 36 {
                dispatch(filter.class, Fill { filter, g: &G4, panel, range, weights, to });
            } else {
                dispatch(filter.class, Fill { filter, g: &G2, panel, range, weights, to });
            }
        }
    });
}

/// Input channels that are transformed at a time.
const FILL: usize = 32;

/// Filters that are transformed side by side.
const LANES: usize = 16;

#[derive(Clone, Copy)]
struct Fill<'a, const A: usize> {
    filter: &'a PackedFilter<f32>,
    g: &'a [[f64; 3]; A],
    panel: usize,
    /// First input channel and the one after the last.
    range: (usize, usize),
    weights: *const f32,
    to: *mut f32,
}

impl<const A: usize> Task for Fill<'_, A> {
    type Elem = f32;

    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // loops that become vectors
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { filter, g, range, weights, to, .. } = self;
        let (shape, panel) = (&filter.shape, &filter.panels[self.panel]);
        let row = panel.vectors * filter.tiling.lanes;
        let turned = filter.order == Order::Turned;
        for channel in range.0..range.1 {
            for first in (0..panel.width).step_by(LANES) {
                let count = LANES.min(panel.width - first);
                let mut taps = [[0.0; LANES]; 9];
                for lane in 0..count {
                    let out = panel.first + first + lane;
                    // SAFETY: the nine weights of a filter are neighbours, in this order or in
                    // reverse.
                    unsafe {
                        let filter = weights.add(if turned {
                            (channel * shape.out_channels + out) * 9
                        } else {
                            (out * shape.in_channels + channel) * 9
                        });
                        for tap in 0..9 {
                            let from = if turned { 8 - tap } else { tap };
                            taps[tap][lane] = f64::from(*filter.add(from));
                        }
                    }
                }
                let mut half = [[[0.0; LANES]; 3]; A];
                for i in 0..A {
                    for x in 0..3 {
                        for lane in 0..LANES {
                            half[i][x][lane] = 0.0
                                + g[i][0] * taps[x][lane]
                                + g[i][1] * taps[3 + x][lane]
                                + g[i][2] * taps[6 + x][lane];
                        }
                    }
                }
                for i in 0..A {
                    for j in 0..A {
                        let start = (i * A + j) * shape.in_channels + channel;
                        let start = panel.weights + start * row + first;
                        for lane in 0..count {
                            let value = 0.0
                                + half[i][0][lane] * g[j][0]
                                + half[i][1][lane] * g[j][1]
                                + half[i][2][lane] * g[j][2];
                            // SAFETY: within the panel.
                            unsafe { *to.add(start + lane) = value as f32 };
                        }
                    }
                }
            }
        }
    }
}

/// The layout of transformed tiles in scratch memory.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Tiles of a block.
    tiles: usize,
    /// Values from one tile to the next, input and output side.
    input_pitch: usize,
    output_pitch: usize,
}

impl Layout {
    fn new(filter: &PackedFilter<f32>) -> Self {
        let positions = filter.algorithm.positions();
        let mr = filter.tiling.mr;
        // A line more than needed: rows a power of two apart would fall into the same sets of the
        // cache.
        let pitch = |channels: usize| channels.next_multiple_of(16) + 16;
        let (input_pitch, output_pitch) =
            (pitch(filter.shape.in_channels), pitch(filter.shape.out_channels));
        let bytes = positions * (input_pitch + output_pitch) * size_of::<f32>();
        let large = filter.weights.len() * size_of::<f32>() >= LARGE_BYTES;
        let least = if large { MIN_TILES_LARGE } else { MIN_TILES };
        let tiles = (BLOCK_BYTES / bytes).clamp(least, MAX_TILES).next_multiple_of(mr);
        Self { tiles, input_pitch, output_pitch }
    }

    fn input_len(&self, positions: usize) -> usize {
        positions * self.tiles * self.input_pitch
    }

    fn output_len(&self, positions: usize) -> usize {
        positions * self.tiles * self.output_pitch
    }
}

pub(crate) fn scratch_len(filter: &PackedFilter<f32>) -> usize {
    let layout = Layout::new(filter);
    let positions = filter.algorithm.positions();
    layout.input_len(positions) + layout.output_len(positions) + 16
}

/// `filter` holds the transformed filters; `zeros` stands for pixels beyond the border,
/// `in_channels` of them.
pub(crate) fn run<E: Element>(
    filter: &PackedFilter<f32>,
    zeros: &[E],
    team: &mut Team<'_>,
    n: usize,
    input: &[E],
    epilogue: Epilogue<'_, E>,
    out: &mut [E],
) {
    let positions = filter.algorithm.positions();
    let side = outputs(positions);
    let [oh, ow] = filter.output;
    let tiles = n * oh.div_ceil(side) * ow.div_ceil(side);
    let mut layout = Layout::new(filter);
    let threads = team.threads();
    if threads > 1 {
        let share = tiles.div_ceil(2 * threads).next_multiple_of(filter.tiling.mr);
        layout.tiles = layout.tiles.min(share);
    }
    let blocks = tiles.div_ceil(layout.tiles);
    // Blocks of about the same size: a small last one would read all filters for few tiles.
    layout.tiles = layout.tiles.min(tiles.div_ceil(blocks).next_multiple_of(filter.tiling.mr));
    let blocks = tiles.div_ceil(layout.tiles);
    // Few tiles: several threads share a block, each with some of the output channels.
    let shares = threads.div_ceil(blocks).min(filter.panels.len());
    let per_share = filter.panels.len().div_ceil(shares);
    let shares = filter.panels.len().div_ceil(per_share);
    let out = SharedMut::new(out);
    team.run(blocks * shares, &|item, scratch| {
        let (block, share) = (item / shares, item % shares);
        let first = block * layout.tiles;
        let start = scratch.as_ptr().align_offset(64).min(15);
        let (transformed, products) = scratch[start..].split_at_mut(layout.input_len(positions));
        let block = Block {
            filter,
            zeros: zeros.as_ptr(),
            layout,
            input: input.as_ptr(),
            out: out.get(),
            ending: Ending::new(epilogue),
            first,
            count: layout.tiles.min(tiles - first),
            panels: (share * per_share, filter.panels.len().min((share + 1) * per_share)),
            transformed: transformed.as_mut_ptr(),
            products: products.as_mut_ptr(),
        };
        // SAFETY: `PackedFilter::run` has checked that the input holds `n` pictures, residual and
        // output `n` maps, and that the scratch has the length that `scratch_len` says. `first +
        // count` does not exceed the number of tiles; each item writes tiles and channels of its
        // own.
        unsafe {
            if positions == 36 {
                dispatch(filter.class, Forward::<E, 6, 4>(block));
                dispatch(filter.class, block.multiply());
                dispatch(filter.class, Backward::<E, 6, 4>(block));
            } else {
                dispatch(filter.class, Forward::<E, 4, 2>(block));
                dispatch(filter.class, block.multiply());
                dispatch(filter.class, Backward::<E, 4, 2>(block));
            }
        }
    });
}

#[derive(Clone, Copy)]
struct Block<'a, E: Element> {
    filter: &'a PackedFilter<f32>,
    zeros: *const E,
    layout: Layout,
    input: *const E,
    out: *mut E,
    ending: Ending<E>,
    /// First tile, counted through the batch.
    first: usize,
    count: usize,
    /// First panel and the one after the last.
    panels: (usize, usize),
    /// `[position][tile][input_pitch]`.
    transformed: *mut f32,
    /// `[position][tile][output_pitch]`.
    products: *mut f32,
}

impl<'a, E: Element> Block<'a, E> {
    fn multiply(&self) -> Multiply<'a> {
        let &Block { filter, layout, count, panels, transformed, products, .. } = self;
        Multiply { filter, layout, count, panels, transformed, products }
    }
}

/// The position of a tile: picture, and the first row and column of its output.
#[inline(always)]
fn locate<E: Element, const M: usize>(block: &Block<'_, E>, tile: usize) -> [usize; 3] {
    let [oh, ow] = block.filter.output;
    let (rows, columns) = (oh.div_ceil(M), ow.div_ceil(M));
    let index = block.first + tile;
    [index / columns / rows, index / columns % rows * M, index % columns * M]
}

/// Transforms tiles of `A × A` pixels, which lie under `M × M` outputs.
#[derive(Clone, Copy)]
struct Forward<'a, E: Element, const A: usize, const M: usize>(Block<'a, E>);

impl<E: Element, const A: usize, const M: usize> Task for Forward<'_, E, A, M> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        for tile in 0..self.0.count {
            // SAFETY: passed on to the caller.
            unsafe { self.tile::<S>(tile) }
        }
    }
}

impl<E: Element, const A: usize, const M: usize> Forward<'_, E, A, M> {
    /// # Safety
    /// As for the block; `tile < count`.
    #[inline(always)]
    unsafe fn tile<S: Simd<Elem = E>>(self, tile: usize) {
        let block = self.0;
        let shape = &block.filter.shape;
        let [height, width] = shape.input;
        let channels = shape.in_channels;
        let [picture, y, x] = locate::<E, M>(&block, tile);
        let top = y as isize - shape.window.padding.top as isize;
        let left = x as isize - shape.window.padding.left as isize;
        let mut pointers = [[block.zeros; A]; A];
        for (i, row) in pointers.iter_mut().enumerate() {
            let y = top + i as isize;
            if (y as usize) < height {
                for (j, pointer) in row.iter_mut().enumerate() {
                    let x = left + j as isize;
                    if (x as usize) < width {
                        let pixel = (picture * height + y as usize) * width + x as usize;
                        *pointer = block.input.wrapping_add(pixel * channels);
                    }
                }
            }
        }
        let step = block.layout.tiles * block.layout.input_pitch;
        let mut channel = 0;
        // SAFETY: the pointers lead to pixels (or zeros) of `channels` values; a row of a
        // transformed tile has room for `channels` rounded up to whole vectors.
        unsafe {
            let to = block.transformed.add(tile * block.layout.input_pitch);
            while channel < channels {
                let n = S::LANES.min(channels - channel);
                let mut half = [[S::splat(0.0); A]; A];
                for j in 0..A {
                    let column: [S::V; A] = if n == S::LANES {
                        std::array::from_fn(|i| S::load(pointers[i][j].add(channel)))
                    } else {
                        std::array::from_fn(|i| S::load_n(pointers[i][j].add(channel), n))
                    };
                    let column = input_transform::<S, A>(column);
                    for i in 0..A {
                        half[i][j] = column[i];
                    }
                }
                for (i, row) in half.into_iter().enumerate() {
                    let row = input_transform::<S, A>(row);
                    for (j, value) in row.into_iter().enumerate() {
                        S::store32(to.add((i * A + j) * step + channel), value);
                    }
                }
                channel += S::LANES;
            }
        }
    }
}

/// `Bᵀ x` along one axis of a tile of 6 or 4 pixels.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub unsafe fn input_transform<S: Simd, const A: usize>(x: [S::V; A]) -> [S::V; A] {
    let mut y = x;
    // SAFETY: arithmetic only.
    unsafe {
        if A == 6 {
            let (two, four, five) = (S::splat(2.0), S::splat(4.0), S::splat(-5.0));
            let minus_four = S::splat(-4.0);
            // x₄ − 4 x₂ and x₃ − 4 x₁; x₄ − x₂ and 2 (x₃ − x₁).
            let even = S::fma(minus_four, x[2], x[4]);
            let odd = S::fma(minus_four, x[1], x[3]);
            let even_two = S::sub(x[4], x[2]);
            let odd_two = S::mul(two, S::sub(x[3], x[1]));
            y[0] = S::fma(four, x[0], S::fma(five, x[2], x[4]));
            y[1] = S::add(even, odd);
            y[2] = S::sub(even, odd);
            y[3] = S::add(even_two, odd_two);
            y[4] = S::sub(even_two, odd_two);
            y[5] = S::fma(four, x[1], S::fma(five, x[3], x[5]));
        } else {
            y[0] = S::sub(x[0], x[2]);
            y[1] = S::add(x[1], x[2]);
            y[2] = S::sub(x[2], x[1]);
            y[3] = S::sub(x[1], x[3]);
        }
    }
    y
}

/// `Aᵀ x` along one axis.
#[inline(always)]
unsafe fn output_transform<S: Simd, const A: usize, const M: usize>(x: [S::V; A]) -> [S::V; M] {
    // SAFETY: arithmetic only.
    unsafe {
        let mut y = [S::splat(0.0); M];
        let (sum, difference) = (S::add(x[1], x[2]), S::sub(x[1], x[2]));
        if A == 6 {
            let (sum_two, difference_two) = (S::add(x[3], x[4]), S::sub(x[3], x[4]));
            y[0] = S::add(S::add(x[0], sum), sum_two);
            y[1] = S::fma(S::splat(2.0), difference_two, difference);
            y[2] = S::fma(S::splat(4.0), sum_two, sum);
            y[3] = S::add(S::fma(S::splat(8.0), difference_two, difference), x[5]);
        } else {
            y[0] = S::add(x[0], sum);
            y[1] = S::sub(difference, x[3]);
        }
        y
    }
}

/// One matrix product for each position.
#[derive(Clone, Copy)]
struct Multiply<'a> {
    filter: &'a PackedFilter<f32>,
    layout: Layout,
    count: usize,
    panels: (usize, usize),
    transformed: *const f32,
    products: *mut f32,
}

impl Task for Multiply<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let block = self;
        let filter = block.filter;
        let Layout { tiles, input_pitch, output_pitch } = block.layout;
        let len = filter.shape.in_channels;
        for position in 0..filter.algorithm.positions() {
            for panel in &filter.panels[block.panels.0..block.panels.1] {
                let size = len * panel.vectors * S::LANES;
                let mut tile = 0;
                while tile < block.count {
                    let rows = S::MR.min(block.count - tile);
                    // SAFETY: transformed tiles hold `in_channels` values each; the panel holds for
                    // each position filters of `size` values; rows of products have room for all
                    // output channels; a bias of zeros stands behind the real one.
                    unsafe {
                        let from = block.transformed.add((position * tiles + tile) * input_pitch);
                        let mut pointers = [from; 16];
                        for (row, pointer) in pointers.iter_mut().enumerate().take(rows) {
                            *pointer = from.add(row * input_pitch);
                        }
                        Tile {
                            pointers: pointers.as_ptr(),
                            pointers_stride: 0,
                            runs: 1,
                            len,
                            filter: filter.weights.as_ptr().add(panel.weights + position * size),
                            bias: filter.bias.as_ptr().add(filter.bias.len() - 2 * S::LANES),
                            out: block
                                .products
                                .add((position * tiles + tile) * output_pitch + panel.first),
                            ldc: output_pitch,
                            width: panel.width,
                            ending: Ending::none(),
                        }
                        .run::<S>(rows, panel.vectors);
                    }
                    tile += rows;
                }
            }
        }
    }
}

/// Transforms products back, and stores what is inside the output.
#[derive(Clone, Copy)]
struct Backward<'a, E: Element, const A: usize, const M: usize>(Block<'a, E>);

impl<E: Element, const A: usize, const M: usize> Task for Backward<'_, E, A, M> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        for tile in 0..self.0.count {
            // SAFETY: passed on to the caller.
            unsafe { self.tile::<S>(tile) }
        }
    }
}

impl<E: Element, const A: usize, const M: usize> Backward<'_, E, A, M> {
    /// # Safety
    /// As for the block; `tile < count`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // columns become rows
    unsafe fn tile<S: Simd<Elem = E>>(self, tile: usize) {
        let block = self.0;
        let filter = block.filter;
        let channels = filter.shape.out_channels;
        let [oh, ow] = filter.output;
        let [picture, y, x] = locate::<E, M>(&block, tile);
        let (rows, columns) = (M.min(oh - y), M.min(ow - x));
        let corner = ((picture * oh + y) * ow + x) * channels;
        let step = block.layout.tiles * block.layout.output_pitch;
        // SAFETY: rows of products have room for `out_channels` rounded up to whole vectors; the
        // output pixels exist.
        unsafe {
            let from = block.products.add(tile * block.layout.output_pitch);
            for panel in &filter.panels[block.panels.0..block.panels.1] {
                let mut done = 0;
                while done < panel.width {
                    let channel = panel.first + done;
                    let n = S::LANES.min(panel.width - done);
                    let mut half = [[S::splat(0.0); A]; M];
                    for j in 0..A {
                        let column: [S::V; A] = std::array::from_fn(|i| {
                            S::load32(from.add((i * A + j) * step + channel))
                        });
                        let column = output_transform::<S, A, M>(column);
                        for i in 0..M {
                            half[i][j] = column[i];
                        }
                    }
                    let bias = S::load32(filter.bias.as_ptr().add(panel.bias + done));
                    let mut sums = [[bias; M]; M];
                    for i in 0..M {
                        let row = output_transform::<S, A, M>(half[i]);
                        for j in 0..M {
                            sums[i][j] = S::add(row[j], bias);
                        }
                    }
                    for (i, row) in sums.iter().enumerate().take(rows) {
                        for (j, &sum) in row.iter().enumerate().take(columns) {
                            let at = corner + (i * ow + j) * channels + channel;
                            let sum = block.ending.apply::<S>(sum, at, n);
                            if n == S::LANES {
                                S::store(block.out.add(at), sum);
                            } else {
                                S::store_n(block.out.add(at), sum, n);
                            }
                        }
                    }
                    done += S::LANES;
                }
            }
        }
    }
}
