//! Gradients of multi-head self-attention (Vaswani et al., *Attention is all you need*, 2017).

use taper_kernels::parts::{
    Ending, SharedMut, Tile, check_len, product, softmax, table, table_len,
};
use taper_kernels::{Attention, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, Tiling, dispatch};

use crate::outer::Outer;
use crate::rows::{across, clear, load, store};

const OPERATION: &str = "attention gradient";

/// Tiles of queries whose probabilities are in memory at a time: the sums over queries are long
/// enough then.
const TILES: usize = 4;

/// The gradients of queries, keys and values of softmax(Q Kᵀ / √d) V, for each head of each
/// picture.
///
/// Nothing but the forward pass's input is kept: the probabilities of a few queries at a time are
/// computed again, and never leave the cache (as in Dao et al., *FlashAttention*, 2022; a row of
/// scores is short enough here to be taken as a whole). One head of one picture is one work item.
#[derive(Debug, Clone, Copy)]
pub struct AttentionGradient {
    class: KernelClass,
    tokens: usize,
    width: usize,
    heads: usize,
    /// Tokens that ask.
    queries: usize,
}

impl AttentionGradient {
    /// For sequences of `tokens` tokens, with `heads` heads that share `width` numbers.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] if the heads cannot share the width, or anything is 0.
    pub fn new(
        class: KernelClass,
        tokens: usize,
        width: usize,
        heads: usize,
    ) -> Result<Self, KernelError> {
        Attention::new(class, tokens, width, heads)?;
        Ok(Self { class, tokens, width, heads, queries: tokens })
    }

    /// Limits the queries to this many first tokens, as [`Attention::queries`] does.
    #[must_use]
    pub fn queries(self, queries: usize) -> Self {
        Self { queries: queries.min(self.tokens), ..self }
    }

    /// Floating-point operations of one picture: five products of all tokens with all.
    #[must_use]
    pub fn flops(&self) -> u64 {
        10 * (self.queries * self.tokens * self.width) as u64
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        self.parts().iter().sum()
    }

    /// Computes the gradients of `n` sequences.
    ///
    /// `input`: `[n, tokens, 3 · width]`, what the forward pass read: queries, keys and values of
    /// all heads in sequence; `gradient`: `[n, queries, width]`, that of its output; `out`: as
    /// `input`. The result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] or [`KernelError::ScratchTooSmall`]; nothing has been written
    /// then.
    pub fn run(
        &self,
        team: &mut Team<'_>,
        n: usize,
        input: &[f32],
        gradient: &[f32],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let picture = 3 * self.tokens * self.width;
        check_len(OPERATION, "input", input.len(), product(n, picture)?)?;
        let queries = self.queries * self.width;
        check_len(OPERATION, "gradient", gradient.len(), product(n, queries)?)?;
        check_len(OPERATION, "output", out.len(), input.len())?;
        team.check(OPERATION, self.scratch_len())?;
        if self.queries == 0 {
            out.fill(0.0);
            return Ok(());
        }
        let out = SharedMut::new(out);
        team.run(n * self.heads, &|item, scratch| {
            let (index, head) = (item / self.heads, item % self.heads);
            let at = head * self.depth();
            let task = Head {
                attention: self,
                input: input.as_ptr().wrapping_add(index * picture + at),
                gradient: gradient.as_ptr().wrapping_add(index * queries + at),
                out: out.get().wrapping_add(index * picture + at),
                place: self.place(scratch),
            };
            // SAFETY: the head's numbers of each token lie within the picture's part of all
            // buffers, and no other item writes there; the scratch is as long as `parts` asks for.
            unsafe { dispatch(self.class, task) }
        });
        Ok(())
    }

    /// Numbers of one head.
    fn depth(&self) -> usize {
        self.width / self.heads
    }

    /// How many f32 each part of the scratch memory holds, in the order of [`Place`].
    fn parts(&self) -> [usize; 10] {
        let Tiling { lanes, mr, .. } = Tiling::for_class::<f32>(self.class);
        let (tokens, depth) = (self.tokens.next_multiple_of(lanes), self.depth());
        let padded = depth.next_multiple_of(lanes);
        let block = TILES * mr * tokens;
        [
            self.queries * padded,
            self.queries * padded,
            tokens * depth,
            tokens * depth,
            self.tokens * padded,
            block,
            block,
            2 * lanes * depth,
            2 * lanes,
            table_len(mr),
        ]
    }

    /// Carves the parts out of scratch memory.
    fn place(&self, scratch: &mut [f32]) -> Place {
        let mut rest = scratch;
        let mut take = |len: usize| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        };
        let [queries, gradients, keys, values, key_rows, scores, slopes, rows, zeros, pointers] =
            self.parts().map(&mut take);
        Place {
            queries: queries.as_mut_ptr(),
            gradients: gradients.as_mut_ptr(),
            keys: keys.as_mut_ptr(),
            values: values.as_mut_ptr(),
            key_rows: key_rows.as_mut_ptr(),
            scores: scores.as_mut_ptr(),
            slopes: slopes.as_mut_ptr(),
            rows: rows.as_mut_ptr(),
            zeros: zeros.as_mut_ptr(),
            table: table(pointers, Tiling::for_class::<f32>(self.class).mr),
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    /// Queries / √d, and gradients of the output: `[queries][depth, whole vectors]`.
    queries: *mut f32,
    gradients: *mut f32,
    /// Panels of one or two vectors of keys and of values, `[panels][depth][vectors · LANES]`.
    keys: *mut f32,
    values: *mut f32,
    /// Panels of one or two vectors of channels of the keys / √d,
    /// `[panels][tokens][vectors · LANES]`.
    key_rows: *mut f32,
    /// Probabilities of a block of queries, and the gradients of their scores:
    /// `[TILES · MR][tokens, whole vectors]`.
    scores: *mut f32,
    slopes: *mut f32,
    /// The rows of one panel, `[2 · LANES][depth]`.
    rows: *mut f32,
    /// A bias of zeros.
    zeros: *mut f32,
    table: *mut *const f32,
}

/// One head of one picture.
#[derive(Clone, Copy)]
struct Head<'a> {
    attention: &'a AttentionGradient,
    /// The head's first query, its first output's gradient, and the gradient of its first query.
    input: *const f32,
    gradient: *const f32,
    out: *mut f32,
    place: Place,
}

impl Task for Head<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { attention, place, .. } = self;
        let AttentionGradient { tokens, width, queries, .. } = *attention;
        let depth = attention.depth();
        let (columns, padded) =
            (tokens.next_multiple_of(S::LANES), depth.next_multiple_of(S::LANES));
        // SAFETY: a token's row of the input has queries, keys and values `width` apart, and so has
        // the output's; the parts of the scratch are as long as `parts` says.
        unsafe {
            self.pack::<S>();
            for first in (0..queries).step_by(TILES * S::MR) {
                let count = (TILES * S::MR).min(queries - first);
                for tile in (0..count).step_by(S::MR) {
                    self.tile::<S>(first + tile, tile, S::MR.min(count - tile));
                }
                let product = Outer {
                    a: place.scores,
                    a_step: columns,
                    b: place.gradients.add(first * padded),
                    b_step: padded,
                    len: count,
                    out: self.out.add(2 * width),
                    ldc: 3 * width,
                    width: depth,
                    add: first > 0,
                };
                product.product::<S>(tokens);
                let b = place.queries.add(first * padded).cast_const();
                Outer { a: place.slopes, b, out: self.out.add(width), ..product }
                    .product::<S>(tokens);
            }
            for token in queries..tokens {
                clear::<S>(self.out.add(token * 3 * width), depth);
            }
        }
    }
}

impl Head<'_> {
    /// Copies the head's numbers as the products read them.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn pack<S: Simd<Elem = f32>>(self) {
        let Self { attention, place, .. } = self;
        let AttentionGradient { tokens, width, queries, .. } = *attention;
        let depth = attention.depth();
        let padded = depth.next_multiple_of(S::LANES);
        let scale = 1.0 / (depth as f32).sqrt();
        // SAFETY: as the caller's.
        unsafe {
            clear::<S>(place.zeros, 2 * S::LANES);
            for query in 0..queries {
                let to = place.queries.add(query * padded);
                scaled::<S>(self.input.add(query * 3 * width), to, depth, scale);
                let to = place.gradients.add(query * padded);
                scaled::<S>(self.gradient.add(query * width), to, depth, 1.0);
            }
            self.transpose::<S>(self.input.add(width), place.keys);
            self.transpose::<S>(self.input.add(2 * width), place.values);
            let mut to = place.key_rows;
            for (first, wide) in panels(depth, S::LANES) {
                for token in 0..tokens {
                    let from = self.input.add(token * 3 * width + width + first);
                    scaled::<S>(from, to, wide, scale);
                    to = to.add(wide.next_multiple_of(S::LANES));
                }
            }
        }
    }

    /// From rows of `depth` values to panels of tokens; zeros behind the last token.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn transpose<S: Simd<Elem = f32>>(self, from: *const f32, to: *mut f32) {
        let AttentionGradient { tokens, width, .. } = *self.attention;
        let depth = self.attention.depth();
        let padded = tokens.next_multiple_of(S::LANES);
        for first in (0..padded).step_by(2 * S::LANES) {
            let lanes = (2 * S::LANES).min(padded - first);
            // SAFETY: as the caller's.
            unsafe {
                for lane in 0..lanes {
                    let row = self.place.rows.add(lane * depth);
                    if first + lane < tokens {
                        let from = from.add((first + lane) * 3 * width);
                        crate::rows::copy::<S>(from, row, depth);
                    } else {
                        clear::<S>(row, depth);
                    }
                }
                let panel = to.add(first * depth);
                for channel in 0..depth {
                    for lane in 0..lanes {
                        let value = *self.place.rows.add(lane * depth + channel);
                        *panel.add(channel * lanes + lane) = value;
                    }
                }
            }
        }
    }

    /// Probabilities of `count` queries from `first` on, the gradients of their scores, and the
    /// gradients of the queries; `row` is their place in the block.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn tile<S: Simd<Elem = f32>>(self, first: usize, row: usize, count: usize) {
        let Self { attention, place, .. } = self;
        let AttentionGradient { tokens, width, .. } = *attention;
        let depth = attention.depth();
        let (columns, padded) =
            (tokens.next_multiple_of(S::LANES), depth.next_multiple_of(S::LANES));
        // SAFETY: as the caller's.
        unsafe {
            let (scores, slopes) =
                (place.scores.add(row * columns), place.slopes.add(row * columns));
            self.scores::<S>(place.queries.add(first * padded), place.keys, scores, count);
            self.scores::<S>(place.gradients.add(first * padded), place.values, slopes, count);
            for m in 0..count {
                let (row, slope) = (scores.add(m * columns), slopes.add(m * columns));
                for none in tokens..columns {
                    *row.add(none) = f32::NEG_INFINITY;
                }
                let factor = softmax::<S>(row, columns);
                slope_of_softmax::<S>(row, slope, columns, factor);
                *place.table.add(m) = slope;
            }
            let mut filter = place.key_rows.cast_const();
            for (channel, wide) in panels(depth, S::LANES) {
                let vectors = wide.div_ceil(S::LANES);
                Tile {
                    pointers: place.table.cast_const(),
                    pointers_stride: S::MR,
                    runs: 1,
                    len: tokens,
                    filter,
                    bias: place.zeros,
                    out: self.out.add(first * 3 * width + channel),
                    ldc: 3 * width,
                    width: wide,
                    ending: Ending::none(),
                }
                .run::<S>(count, vectors);
                filter = filter.add(tokens * vectors * S::LANES);
            }
        }
    }

    /// The products of `count` rows of `depth` values with all tokens' in `panels`.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn scores<S: Simd<Elem = f32>>(
        self,
        rows: *const f32,
        filter: *const f32,
        out: *mut f32,
        count: usize,
    ) {
        let place = self.place;
        let depth = self.attention.depth();
        let padded = depth.next_multiple_of(S::LANES);
        let columns = self.attention.tokens.next_multiple_of(S::LANES);
        // SAFETY: as the caller's; the table has room for `MR` pointers.
        unsafe {
            for row in 0..count {
                *place.table.add(row) = rows.add(row * padded);
            }
            for key in (0..columns).step_by(2 * S::LANES) {
                let vectors = (columns - key).div_ceil(S::LANES).min(2);
                Tile {
                    pointers: place.table.cast_const(),
                    pointers_stride: S::MR,
                    runs: 1,
                    len: depth,
                    filter: filter.add(key * depth),
                    bias: place.zeros,
                    out: out.add(key),
                    ldc: columns,
                    width: vectors * S::LANES,
                    ending: Ending::none(),
                }
                .run::<S>(count, vectors);
            }
        }
    }
}

/// The panels of channels: first channel and channels.
fn panels(depth: usize, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..depth).step_by(2 * lanes).map(move |first| (first, (2 * lanes).min(depth - first)))
}

/// Copies `len` values times a factor, and fills up the last vector with zeros.
///
/// # Safety
/// The processor has the instructions of `S`; both pointers are good for `len` values, and `to` for
/// whole vectors.
#[inline(always)]
unsafe fn scaled<S: Simd<Elem = f32>>(from: *const f32, to: *mut f32, len: usize, factor: f32) {
    let mut at = 0;
    // SAFETY: as the caller's.
    unsafe {
        while at < len {
            let n = S::LANES.min(len - at);
            S::store(to.add(at), S::mul(load::<S>(from.add(at), n), S::splat(factor)));
            at += n;
        }
    }
}

/// From exponentials to probabilities, `p ← p · factor`, and from their gradients to those of the
/// scores, `g ← p (g − ⟨p, g⟩)`.
///
/// # Safety
/// The processor has the instructions of `S`; both rows hold `len` values, whole vectors.
#[inline(always)]
unsafe fn slope_of_softmax<S: Simd<Elem = f32>>(
    probabilities: *mut f32,
    gradients: *mut f32,
    len: usize,
    factor: f32,
) {
    // SAFETY: every vector lies within the `len` values.
    unsafe {
        let mut sum = S::splat(0.0);
        for at in (0..len).step_by(S::LANES) {
            let p = S::mul(S::load(probabilities.add(at)), S::splat(factor));
            store::<S>(probabilities.add(at), p, S::LANES);
            sum = S::fma(p, S::load(gradients.add(at)), sum);
        }
        let sum = S::splat(across::<S>(sum));
        for at in (0..len).step_by(S::LANES) {
            let g = S::sub(S::load(gradients.add(at)), sum);
            S::store(gradients.add(at), S::mul(S::load(probabilities.add(at)), g));
        }
    }
}
