//! Multi-head self-attention (Vaswani et al., *Attention is all you need*, 2017).

use crate::ending::Ending;
use crate::error::product;
use crate::error::{bad_shape, check_len};
use crate::scratch::{table, table_len};
use crate::softmax::softmax;
use crate::team::SharedMut;
use crate::tile::Tile;
use crate::{Element, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, Tiling, dispatch};

const OPERATION: &str = "attention";

/// softmax(Q Kᵀ / √d) V for each head of each picture.
///
/// One head of one picture is one work item: its keys and values are packed like the filters of the
/// register tile, then a few queries at a time go through both products, so that only their scores
/// are in memory. All of it is in f32, whatever the element type.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    class: KernelClass,
    tokens: usize,
    width: usize,
    heads: usize,
    /// Tokens that ask.
    queries: usize,
    /// Whether a token sees none of those after it.
    causal: bool,
}

impl Attention {
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
        if tokens == 0 || width == 0 || heads == 0 || !width.is_multiple_of(heads) {
            let reason = format!("{heads} heads over {tokens} tokens of {width}");
            return Err(bad_shape(OPERATION, reason));
        }
        product(product(tokens, width)?, 3)?;
        Ok(Self { class, tokens, width, heads, queries: tokens, causal: false })
    }

    /// Limits the queries to this many first tokens, at most all of them; there is no output for
    /// the others.
    #[must_use]
    pub fn queries(self, queries: usize) -> Self {
        Self { queries: queries.min(self.tokens), ..self }
    }

    /// Lets a token see itself and those before it only, as in encoders of text.
    #[must_use]
    pub fn causal(self) -> Self {
        Self { causal: true, ..self }
    }

    /// Tokens of one picture.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Width of the output tokens.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Heads.
    #[must_use]
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Floating-point operations of one picture: two products of all tokens with all.
    #[must_use]
    pub fn flops(&self) -> u64 {
        4 * (self.queries * self.tokens * self.width) as u64
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        self.parts().len()
    }

    /// Attends within each of `n` sequences.
    ///
    /// `input`: `[n, tokens, 3 · width]`, the queries, keys and values of all heads in sequence;
    /// `out`: `[n, queries, width]`, as many queries as tokens unless [`queries`](Self::queries)
    /// says otherwise. The result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] or [`KernelError::ScratchTooSmall`]; nothing has been written
    /// then.
    pub fn run<E: Element>(
        &self,
        team: &mut Team<'_>,
        n: usize,
        input: &[E],
        out: &mut [E],
    ) -> Result<(), KernelError> {
        let len = product(n, 3 * self.tokens * self.width)?;
        check_len(OPERATION, "input", input.len(), len)?;
        check_len(OPERATION, "output", out.len(), product(n, self.queries * self.width)?)?;
        team.check(OPERATION, self.scratch_len())?;
        let out = SharedMut::new(out);
        team.run(n * self.heads, &|item, scratch| {
            let (picture, head) = (item / self.heads, item % self.heads);
            let first = picture * self.width;
            let at = head * self.width / self.heads;
            let place = self.place(scratch);
            // SAFETY: the head's queries, keys and values lie within the picture's part of the
            // input, what it gives within that of the output, and no other item writes there; the
            // scratch is as long as `parts` asks for, as just checked.
            unsafe {
                let from = input.as_ptr().add(3 * self.tokens * first + at);
                dispatch(self.class, Pack { attention: self, from, place });
                dispatch(self.class, Attend { attention: self, place });
                dispatch(
                    self.class,
                    Unpack { attention: self, to: out.get().add(self.queries * first + at), place },
                );
            }
        });
        Ok(())
    }

    /// Numbers of one head.
    fn depth(&self) -> usize {
        self.width / self.heads
    }

    fn parts(&self) -> Parts {
        let Tiling { lanes, mr, .. } = Tiling::for_class::<f32>(self.class);
        let panel = 2 * lanes;
        let (padded, depth) = (self.tokens.next_multiple_of(lanes), self.depth());
        Parts {
            queries: self.queries * depth,
            keys: padded * depth,
            values: self.tokens * depth.next_multiple_of(lanes),
            scores: mr * padded,
            rows: panel * depth,
            zeros: panel,
            table: table_len(mr),
        }
    }

    /// Carves the parts out of scratch memory.
    fn place(&self, scratch: &mut [f32]) -> Place {
        let parts = self.parts();
        let mut rest = scratch;
        let mut take = |len: usize| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        };
        let (queries, keys) = (take(parts.queries), take(parts.keys));
        let (values, scores) = (take(parts.values), take(parts.scores));
        let (rows, zeros) = (take(parts.rows), take(parts.zeros));
        let pointers = take(parts.table);
        let mr = Tiling::for_class::<f32>(self.class).mr;
        Place {
            queries: queries.as_mut_ptr(),
            keys: keys.as_mut_ptr(),
            values: values.as_mut_ptr(),
            scores: scores.as_mut_ptr(),
            rows: rows.as_mut_ptr(),
            zeros: zeros.as_mut_ptr(),
            table: table(pointers, mr),
        }
    }
}

/// How many f32 each part of the scratch memory holds.
struct Parts {
    /// `[queries, depth]`; the results replace them.
    queries: usize,
    /// Panels of one or two vectors of keys, `[panels][depth][vectors · LANES]`.
    keys: usize,
    /// Panels of one or two vectors of channels, `[panels][tokens][vectors · LANES]`.
    values: usize,
    /// `[MR][tokens, filled up to whole vectors]`.
    scores: usize,
    /// The keys of one panel, `[2 · LANES][depth]`.
    rows: usize,
    /// A bias of zeros.
    zeros: usize,
    table: usize,
}

impl Parts {
    fn len(&self) -> usize {
        let Self { queries, keys, values, scores, rows, zeros, table } = self;
        queries + keys + values + scores + rows + zeros + table
    }
}

#[derive(Clone, Copy)]
struct Place {
    queries: *mut f32,
    keys: *mut f32,
    values: *mut f32,
    scores: *mut f32,
    rows: *mut f32,
    zeros: *mut f32,
    table: *mut *const f32,
}

/// The panels of value channels: first channel, channels, vectors.
fn value_panels(depth: usize, lanes: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..depth).step_by(2 * lanes).map(move |first| {
        let width = (2 * lanes).min(depth - first);
        (first, width, width.div_ceil(lanes))
    })
}

/// Copies a head's numbers of each token into scratch memory, as the products read them.
#[derive(Clone, Copy)]
struct Pack<'a, E: Element> {
    attention: &'a Attention,
    from: *const E,
    place: Place,
}

impl<E: Element> Task for Pack<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let Self { attention, from, place } = self;
        let (tokens, width, depth) = (attention.tokens, attention.width, attention.depth());
        let scale = 1.0 / (depth as f32).sqrt();
        // The lanes of the products, which are in f32: those of every class are the same for all
        // elements.
        let panel = 2 * S::LANES;
        // SAFETY: token `t` has `depth` values at `t · 3 · width` for queries, `width` further for
        // keys and twice that for values; the parts of the scratch are as long as `Parts` says.
        unsafe {
            for lane in 0..panel {
                *place.zeros.add(lane) = 0.0;
            }
            for token in 0..attention.queries {
                let query = from.add(token * 3 * width);
                copy::<S>(query, place.queries.add(token * depth), depth, scale);
            }
            let padded = tokens.next_multiple_of(S::LANES);
            for first in (0..padded).step_by(panel) {
                let keys = place.keys.add(first * depth);
                let lanes = panel.min(padded - first);
                for lane in 0..lanes {
                    let row = place.rows.add(lane * depth);
                    if first + lane < tokens {
                        let key = from.add((first + lane) * 3 * width + width);
                        copy::<S>(key, row, depth, 1.0);
                    } else {
                        std::ptr::write_bytes(row, 0, depth);
                    }
                }
                for channel in 0..depth {
                    for lane in 0..lanes {
                        let value = *place.rows.add(lane * depth + channel);
                        *keys.add(channel * lanes + lane) = value;
                    }
                }
            }
            let mut values = place.values;
            for (first, wide, vectors) in value_panels(depth, S::LANES) {
                for token in 0..tokens {
                    let value = from.add(token * 3 * width + 2 * width + first);
                    copy::<S>(value, values, wide, 1.0);
                    for lane in wide..vectors * S::LANES {
                        *values.add(lane) = 0.0;
                    }
                    values = values.add(vectors * S::LANES);
                }
            }
        }
    }
}

/// # Safety
/// The processor has the instructions of `S`; both pointers are good for `len` values.
#[inline(always)]
unsafe fn copy<S: Simd>(from: *const S::Elem, to: *mut f32, len: usize, scale: f32) {
    // SAFETY: as the caller's.
    unsafe {
        let mut at = 0;
        while at + S::LANES <= len {
            S::store32(to.add(at), S::mul(S::load(from.add(at)), S::splat(scale)));
            at += S::LANES;
        }
        for at in at..len {
            *to.add(at) = from.add(at).read().to_f32() * scale;
        }
    }
}

/// Both products of a head, a tile of queries at a time. The results replace the queries.
#[derive(Clone, Copy)]
struct Attend<'a> {
    attention: &'a Attention,
    place: Place,
}

impl Task for Attend<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { attention, place } = self;
        let (tokens, depth) = (attention.tokens, attention.depth());
        let panel = 2 * S::LANES;
        let padded = tokens.next_multiple_of(S::LANES);
        let mut factors = [0f32; 16];
        for first in (0..attention.queries).step_by(S::MR) {
            let count = S::MR.min(attention.queries - first);
            // SAFETY: the table has room for `MR` pointers, to rows that exist; keys and values are
            // packed as the tile reads them; scores hold `MR` rows of `padded` values.
            unsafe {
                let queries = place.queries.add(first * depth);
                let tile = Tile {
                    pointers: place.table.cast_const(),
                    pointers_stride: S::MR,
                    runs: 1,
                    len: depth,
                    filter: place.keys.cast_const(),
                    bias: place.zeros.cast_const(),
                    out: place.scores,
                    ldc: padded,
                    width: panel,
                    ending: Ending::none(),
                };
                for row in 0..count {
                    *place.table.add(row) = queries.add(row * depth);
                }
                for key in (0..padded).step_by(panel) {
                    let filter = place.keys.add(key * depth).cast_const();
                    let vectors = (padded - key).div_ceil(S::LANES).min(2);
                    let width = vectors * S::LANES;
                    let tile = Tile { filter, out: place.scores.add(key), width, ..tile };
                    tile.run::<S>(count, vectors);
                }
                for (row, factor) in factors.iter_mut().enumerate().take(count) {
                    let scores = place.scores.add(row * padded);
                    *place.table.add(row) = scores;
                    let seen = if attention.causal { first + row + 1 } else { tokens };
                    for none in seen..padded {
                        *scores.add(none) = f32::NEG_INFINITY;
                    }
                    *factor = softmax::<S>(scores, padded);
                }
                let mut values = place.values;
                for (channel, wide, vectors) in value_panels(depth, S::LANES) {
                    let out = queries.add(channel);
                    let filter = values.cast_const();
                    let tile = Tile { filter, len: tokens, out, ldc: depth, width: wide, ..tile };
                    tile.run::<S>(count, vectors);
                    values = values.add(tokens * vectors * S::LANES);
                }
                for (row, &factor) in factors[..count].iter().enumerate() {
                    let out = queries.add(row * depth);
                    copy::<S>(out.cast_const(), out, depth, factor);
                }
            }
        }
    }
}

/// Copies a head's result to its place in the output.
#[derive(Clone, Copy)]
struct Unpack<'a, E: Element> {
    attention: &'a Attention,
    to: *mut E,
    place: Place,
}

impl<E: Element> Task for Unpack<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let depth = self.attention.depth();
        for token in 0..self.attention.queries {
            // SAFETY: both hold `depth` values for each token.
            unsafe {
                let from = self.place.queries.add(token * depth).cast_const();
                let to = self.to.add(token * self.attention.width);
                let mut at = 0;
                while at + S::LANES <= depth {
                    S::store(to.add(at), S::load32(from.add(at)));
                    at += S::LANES;
                }
                for at in at..depth {
                    to.add(at).write(E::from_f32(*from.add(at)));
                }
            }
        }
    }
}
