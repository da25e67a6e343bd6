//! Convolution: packing filters for an algorithm, and running it; the direct algorithm.

use crate::ending::Ending;
use crate::error::{bad_shape, check_len, product};
use crate::filter::{Epilogue, Order, PackedFilter};
use crate::scratch::{table, table_len};
use crate::team::SharedMut;
use crate::tile::Tile;
use crate::{Activation, Algorithm, Conv2dShape, Element, KernelClass, KernelError, Team};
use crate::{gelu, winograd};
use taper_simd::{AlignedBuffer, Simd, Task, dispatch};

const OPERATION: &str = "convolution";

/// Bytes of input that a block of pixels may cover, so that it stays in the second-level cache next
/// to a panel of filters.
const BLOCK_BYTES: usize = 384 << 10;

impl<E: Element> PackedFilter<E> {
    /// Packs filters for the algorithm that [`Algorithm::for_shape`] chooses.
    ///
    /// `weights`: `[out_channels, in_channels / groups, kernel height, kernel width]`, as PyTorch
    /// lays them out, with any factor of a folded BatchNorm already multiplied in. `bias`:
    /// `[out_channels]`, or zeros.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] or [`KernelError::BufferLength`].
    pub fn pack(
        class: KernelClass,
        shape: &Conv2dShape,
        weights: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Self, KernelError> {
        Self::pack_for(class, shape, Algorithm::for_shape(shape), weights, bias)
    }

    /// Packs filters for a given algorithm; otherwise as [`pack`](Self::pack).
    ///
    /// # Errors
    /// As [`pack`](Self::pack), and [`KernelError::UnsupportedAlgorithm`] if the algorithm cannot
    /// compute the shape.
    pub fn pack_for(
        class: KernelClass,
        shape: &Conv2dShape,
        algorithm: Algorithm,
        weights: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Self, KernelError> {
        Self::pack_ordered(class, shape, algorithm, Order::Plain, weights, bias)
    }

    /// Packs the filters of another convolution such that this one computes the gradient of that
    /// one's input from the gradient of its output: the same taps, turned by 180°, with input and
    /// output channels exchanged.
    ///
    /// `shape`: from the other's output to its input, with stride 1; `weights`: as the other has
    /// them, `[in_channels, out_channels / groups, kernel height, kernel width]` in terms of
    /// `shape`.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    pub fn pack_turned(
        class: KernelClass,
        shape: &Conv2dShape,
        weights: &[f32],
    ) -> Result<Self, KernelError> {
        let algorithm = Algorithm::for_shape(shape);
        Self::pack_ordered(class, shape, algorithm, Order::Turned, weights, None)
    }

    /// The same for a convolution whose window is the whole map, so that its output is one pixel: a
    /// linear layer from that to `taps` pixels of `channels`.
    ///
    /// `weights`: as the other convolution has them, `[out_channels, channels, taps]`, where
    /// `out_channels` follows from their number.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    pub fn pack_spread(
        class: KernelClass,
        [taps, channels]: [usize; 2],
        weights: &[f32],
    ) -> Result<Self, KernelError> {
        let len = product(taps, channels)?;
        let shape = Conv2dShape::linear(weights.len().checked_div(len).unwrap_or(0), len);
        let order = Order::Spread { taps };
        Self::pack_ordered(class, &shape, Algorithm::Direct, order, weights, None)
    }

    fn pack_ordered(
        class: KernelClass,
        shape: &Conv2dShape,
        algorithm: Algorithm,
        order: Order,
        weights: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Self, KernelError> {
        let mut filter = Self::empty(class, shape, algorithm)?;
        filter.order = order;
        let per_group = shape.in_channels / shape.groups;
        match algorithm {
            Algorithm::Direct => filter.lay_out(shape.window.taps(), per_group),
            Algorithm::WinogradF2 | Algorithm::WinogradF4 => {
                let mut transformed = PackedFilter::<f32>::empty(class, shape, algorithm)?;
                transformed.lay_out(algorithm.positions(), per_group);
                transformed.order = order;
                filter.transformed = Some(Box::new(transformed));
            }
            Algorithm::Depthwise => {
                filter.depthwise = AlignedBuffer::new(shape.window.taps() * shape.out_channels);
                filter.bias = AlignedBuffer::new(shape.out_channels);
            }
        }
        filter.repack(&mut Team::serial(&mut []), weights, bias)?;
        Ok(filter)
    }

    /// Packs other weights for the same shape and algorithm, in the memory of the old ones.
    /// `weights` and `bias` as they were given when the filter was made; no scratch is needed.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`]; the old weights are still there then.
    pub fn repack(
        &mut self,
        team: &mut Team<'_>,
        weights: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<(), KernelError> {
        let (shape, order) = (self.shape, self.order);
        check_len(OPERATION, "weights", weights.len(), shape.filter_len())?;
        if let Some(bias) = bias {
            check_len(OPERATION, "bias", bias.len(), shape.out_channels)?;
        }
        let (taps, channels) = (shape.window.taps(), shape.out_channels);
        let index = order.index(&shape);
        match self.algorithm {
            Algorithm::Direct => {
                let per_group = shape.in_channels / shape.groups;
                if let Order::Spread { taps } = order {
                    self.fill_spread(team, taps, weights);
                } else if order == Order::Plain && taps == 1 {
                    self.fill_rows(team, per_group, weights);
                } else {
                    self.fill_panels(team, taps, per_group, |out, tap, channel| {
                        weights[index(out, tap, channel)]
                    });
                }
                self.fill_bias(bias);
            }
            Algorithm::WinogradF2 | Algorithm::WinogradF4 => {
                if let Some(transformed) = &mut self.transformed {
                    winograd::fill(transformed, team, weights);
                    transformed.fill_bias(bias);
                }
            }
            Algorithm::Depthwise => {
                for channel in 0..channels {
                    for tap in 0..taps {
                        let weight = weights[index(channel, tap, 0)];
                        self.depthwise[tap * channels + channel] = weight;
                    }
                }
                match bias {
                    Some(bias) => self.bias.copy_from_slice(bias),
                    None => self.bias.fill(0.0),
                }
            }
        }
        Ok(())
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        match self.algorithm {
            Algorithm::Direct => direct_block(self).scratch_len(),
            Algorithm::Depthwise => crate::depthwise::scratch_len(self),
            Algorithm::WinogradF2 | Algorithm::WinogradF4 => {
                self.transformed.as_deref().map_or(0, winograd::scratch_len)
            }
        }
    }

    /// Convolves a batch.
    ///
    /// `input`: `[n, height, width, in_channels]`; `out`: `[n, out_height, out_width,
    /// out_channels]`; both NHWC. The result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] or [`KernelError::ScratchTooSmall`]; nothing has been written
    /// then.
    pub fn run(
        &self,
        team: &mut Team<'_>,
        n: usize,
        input: &[E],
        epilogue: Epilogue<'_, E>,
        out: &mut [E],
    ) -> Result<(), KernelError> {
        let pixels = self.output[0] * self.output[1];
        check_len(OPERATION, "input", input.len(), product(n, self.shape.input_len())?)?;
        let out_len = product(n, pixels * self.shape.out_channels)?;
        check_len(OPERATION, "output", out.len(), out_len)?;
        if let Some(residual) = epilogue.residual {
            check_len(OPERATION, "residual", residual.len(), out_len)?;
        }
        if let Some(mask) = epilogue.mask {
            check_len(OPERATION, "mask", mask.len(), out_len)?;
            if let Some(activation) = epilogue.activation.filter(|own| !own.is_clamp()) {
                let name = activation.name();
                let reason = format!("the derivative of {name} does not follow from its output");
                return Err(bad_shape(OPERATION, reason));
            }
        }
        team.check(OPERATION, self.scratch_len())?;
        if n == 0 {
            return Ok(());
        }
        match self.algorithm {
            Algorithm::Direct => self.direct(team, n, input, epilogue, out),
            Algorithm::Depthwise => crate::depthwise::run(self, team, n, input, epilogue, out),
            Algorithm::WinogradF2 | Algorithm::WinogradF4 => {
                if let Some(transformed) = &self.transformed {
                    winograd::run(transformed, &self.zeros, team, n, input, epilogue, out);
                }
            }
        }
        // The tile of a direct convolution does GELU itself.
        let done = |own: &Activation| {
            own.is_clamp() || *own == Activation::Gelu && self.algorithm == Algorithm::Direct
        };
        if let Some(activation) = epilogue.activation.filter(|own| !done(own)) {
            gelu::run(self.class, team, activation, out);
        }
        Ok(())
    }

    fn direct(
        &self,
        team: &mut Team<'_>,
        n: usize,
        input: &[E],
        epilogue: Epilogue<'_, E>,
        out: &mut [E],
    ) {
        let pixels = n * self.output[0] * self.output[1];
        let mut block = direct_block(self);
        let mr = block.mr;
        let threads = team.threads();
        if threads > 1 {
            block.pixels = block.pixels.min(pixels.div_ceil(4 * threads).next_multiple_of(mr));
        }
        let blocks = pixels.div_ceil(block.pixels);
        // Few pixels: let several threads share a block, each with some of the panels.
        let shares = (2 * threads)
            .div_ceil(blocks)
            .clamp(1, if threads > 1 { self.panels.len() } else { 1 });
        let per_share = self.panels.len().div_ceil(shares);
        let shares = self.panels.len().div_ceil(per_share);
        let out = SharedMut::new(out);
        team.run(blocks * shares, &|item, scratch| {
            let (index, share) = (item / shares, item % shares);
            let first = index * block.pixels;
            let (gathered, scratch) = scratch.split_at_mut(block.gathered_len());
            let line = gathered.as_ptr().align_offset(64).min(15).min(gathered.len());
            let task = DirectBlock {
                filter: self,
                input: input.as_ptr(),
                out: out.get(),
                ending: Ending::new(epilogue),
                first,
                count: block.pixels.min(pixels - first),
                panels: (share * per_share, self.panels.len().min((share + 1) * per_share)),
                table: table(scratch, block.table_pointers()),
                gathered: gathered[line..].as_mut_ptr().cast(),
                pitch: block.pitch,
                mr,
            };
            // SAFETY: `run` has checked that the input holds `n` pictures, residual and output `n`
            // maps; `first + count` does not exceed their pixels; the table has room for the block.
            // Each item writes pixels and channels of its own.
            unsafe { dispatch(self.class, task) }
        });
    }
}

/// A block of pixels, and the table of pointers to its input.
#[derive(Debug, Clone, Copy)]
struct Block {
    pixels: usize,
    taps: usize,
    /// Elements from one gathered pixel to the next; 0: pixels are read where they are.
    pitch: usize,
    /// Pixels of the register tile.
    mr: usize,
}

impl Block {
    fn table_pointers(&self) -> usize {
        self.pixels * self.taps
    }

    /// f32 values that hold the gathered pixels (elements are no larger), from a cache line on.
    fn gathered_len(&self) -> usize {
        if self.pitch == 0 { 0 } else { self.pixels * self.pitch + 16 }
    }

    fn scratch_len(&self) -> usize {
        table_len(self.table_pointers()) + self.gathered_len()
    }
}

fn direct_block<E: Element>(filter: &PackedFilter<E>) -> Block {
    let shape = &filter.shape;
    let taps = shape.window.taps();
    let covered: usize =
        (0..2).map(|axis| shape.window.stride[axis].min(shape.window.kernel[axis])).product();
    let bytes = covered * shape.in_channels * size_of::<E>() + taps * size_of::<usize>();
    // Pixels that lie a multiple of 4 KiB apart compete for the same few lines of the first-level
    // cache. With a single tap, they are copied to addresses that do not, which pays off as soon as
    // a few panels read them; otherwise the tile is made smaller.
    let apart = shape.window.stride[1] * shape.in_channels * size_of::<E>();
    let collide = apart.is_multiple_of(4096);
    let gather = collide && taps == 1 && shape.groups == 1 && filter.panels.len() >= 4;
    let pitch = if gather { shape.in_channels + E::PER_LINE } else { 0 };
    let mr = if collide && !gather { filter.tiling.mr.min(7) } else { filter.tiling.mr };
    let pixels = (BLOCK_BYTES / bytes).clamp(2 * mr, 1 << 12) / mr * mr;
    Block { pixels, taps, pitch, mr }
}

#[derive(Clone, Copy)]
struct DirectBlock<'a, E: Element> {
    filter: &'a PackedFilter<E>,
    input: *const E,
    out: *mut E,
    ending: Ending<E>,
    /// First output pixel, counted through the batch.
    first: usize,
    count: usize,
    /// First panel and the one after the last.
    panels: (usize, usize),
    table: *mut *const E,
    /// Room for `count` pixels, `pitch` elements apart, if `pitch` is not 0.
    gathered: *mut E,
    pitch: usize,
    /// Pixels of the register tile, at most `MR`.
    mr: usize,
}

impl<E: Element> Task for DirectBlock<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let filter = self.filter;
        let shape = &filter.shape;
        let taps = shape.window.taps();
        let mr = self.mr;
        let tiles = self.count.div_ceil(mr);
        // SAFETY: the table has room for `count.next_multiple_of(MR) × taps` pointers.
        unsafe { fill_table::<S>(self) };
        if self.pitch != 0 {
            for i in 0..self.count {
                // SAFETY: with one tap, the table has a pointer to `in_channels` values for each
                // pixel; the scratch has room for them.
                unsafe {
                    let to = self.gathered.add(i * self.pitch);
                    std::ptr::copy_nonoverlapping(*self.table.add(i), to, shape.in_channels);
                    *self.table.add(i) = to;
                }
            }
        }
        let channels = shape.out_channels;
        let mut input = 0;
        for panel in &filter.panels[self.panels.0..self.panels.1] {
            if panel.input != input {
                // The next group: its channels start a little further on in every pixel.
                let step = panel.input - input;
                input = panel.input;
                for i in 0..tiles * taps * mr {
                    // SAFETY: within the table; `step` stays within the pixel, or within the zeros,
                    // which are as long as one.
                    unsafe { *self.table.add(i) = (*self.table.add(i)).add(step) };
                }
            }
            for tile in 0..tiles {
                let at = (self.first + tile * mr) * channels + panel.first;
                // SAFETY: the table points to pixels (or zeros) of `in_channels` values, of which
                // the group takes `in_channels / groups`; filter and bias are packed for the panel;
                // the output pixels exist.
                unsafe {
                    Tile {
                        pointers: self.table.add(tile * taps * mr),
                        pointers_stride: mr,
                        runs: taps,
                        len: shape.in_channels / shape.groups,
                        filter: filter.weights.as_ptr().add(panel.weights),
                        bias: filter.bias.as_ptr().add(panel.bias),
                        out: self.out.add(at),
                        ldc: channels,
                        width: panel.width,
                        ending: self.ending.from(at),
                    }
                    .run::<S>(mr.min(self.count - tile * mr), panel.vectors);
                }
            }
        }
    }
}

/// Fills the table `[tile][tap][mr]` with pointers to the first channel (of the first group) of
/// every tap of every pixel.
#[inline(always)]
unsafe fn fill_table<S: Simd>(block: DirectBlock<'_, S::Elem>) {
    let filter = block.filter;
    let shape = &filter.shape;
    let window = &shape.window;
    let [height, width] = shape.input;
    let [oh, ow] = filter.output;
    let channels = shape.in_channels;
    // Panels of later groups move all pointers on from the first group of this share.
    let mut column = block.first % ow;
    let mut row = block.first / ow % oh;
    let mut picture = block.first / ow / oh;
    let taps = window.taps();
    let mr = block.mr;
    let zeros = filter.zeros.as_ptr();
    let tiles = block.count.div_ceil(mr);
    for tile in 0..tiles {
        let mut tops = [0_isize; 16];
        let mut lefts = [0_isize; 16];
        let mut bases = [std::ptr::null::<S::Elem>(); 16];
        for m in 0..mr {
            let inside = tile * mr + m < block.count;
            let top = (row * window.stride[0]) as isize - window.padding.top as isize;
            let left = (column * window.stride[1]) as isize - window.padding.left as isize;
            // Pixels past the end of the block point to zeros.
            tops[m] = if inside { top } else { isize::MIN / 2 };
            lefts[m] = left;
            let start = (picture * height) as isize + top;
            bases[m] =
                block.input.wrapping_offset((start * width as isize + left) * channels as isize);
            column += 1;
            if column == ow {
                column = 0;
                row += 1;
                if row == oh {
                    row = 0;
                    picture += 1;
                }
            }
        }
        for ky in 0..window.kernel[0] {
            let dy = (ky * window.dilation[0]) as isize;
            for kx in 0..window.kernel[1] {
                let dx = (kx * window.dilation[1]) as isize;
                let offset = (dy * width as isize + dx) * channels as isize;
                let tap = ky * window.kernel[1] + kx;
                for m in 0..mr {
                    let valid =
                        ((tops[m] + dy) as usize) < height && ((lefts[m] + dx) as usize) < width;
                    let pointer = if valid { bases[m].wrapping_offset(offset) } else { zeros };
                    // SAFETY: the table has room for `tiles × taps × MR` pointers.
                    unsafe { *block.table.add((tile * taps + tap) * mr + m) = pointer };
                }
            }
        }
    }
}
