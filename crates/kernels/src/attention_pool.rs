//! Pooling of tokens by attention.

use crate::error::{bad_shape, check_len, product};
use crate::softmax::softmax;
use crate::team::SharedMut;
use crate::{Element, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, Tiling, dispatch};

const OPERATION: &str = "attention pooling";

/// The mean of the tokens' values for each head of each picture, weighted by the softmax of their
/// scores over the tokens. Sums are in f32, whatever the element type.
#[derive(Debug, Clone, Copy)]
pub struct AttentionPool {
    class: KernelClass,
    tokens: usize,
    width: usize,
    heads: usize,
}

impl AttentionPool {
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
        product(tokens, product(width, 2)?)?;
        Ok(Self { class, tokens, width, heads })
    }

    /// Tokens of one picture.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Width of the output.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Heads.
    #[must_use]
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Floating-point operations of one picture.
    #[must_use]
    pub fn flops(&self) -> u64 {
        2 * (self.tokens * self.width) as u64
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        self.tokens.next_multiple_of(Tiling::for_class::<f32>(self.class).lanes)
    }

    /// Pools each of `n` sequences.
    ///
    /// `input`: `[n, tokens, heads + width]`, a score for each head, then the values of all heads
    /// in sequence; `out`: `[n, width]`. The result does not depend on the number of threads.
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
        let picture = self.tokens * (self.heads + self.width);
        check_len(OPERATION, "input", input.len(), product(n, picture)?)?;
        check_len(OPERATION, "output", out.len(), product(n, self.width)?)?;
        team.check(OPERATION, self.scratch_len())?;
        let (out, depth) = (SharedMut::new(out), self.width / self.heads);
        team.run(n * self.heads, &|item, scratch| {
            let (index, head) = (item / self.heads, item % self.heads);
            let from = input.as_ptr().wrapping_add(index * picture);
            let task = Pool {
                pool: self,
                scores: from.wrapping_add(head),
                values: from.wrapping_add(self.heads + head * depth),
                weights: scratch.as_mut_ptr(),
                out: out.get().wrapping_add(index * self.width + head * depth),
            };
            // SAFETY: the head's scores and values lie within the picture's part of the input, and
            // no other item writes its part of the output; the scratch holds a weight for each
            // token, filled up to whole vectors, as just checked.
            unsafe { dispatch(self.class, task) }
        });
        Ok(())
    }
}

/// One head of one picture.
#[derive(Clone, Copy)]
struct Pool<'a, E: Element> {
    pool: &'a AttentionPool,
    /// Those of the first token; the next are one token further each.
    scores: *const E,
    values: *const E,
    weights: *mut f32,
    out: *mut E,
}

impl<E: Element> Task for Pool<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let Self { pool, scores, values, weights, out } = self;
        let (tokens, depth) = (pool.tokens, pool.width / pool.heads);
        let (row, padded) = (pool.heads + pool.width, pool.tokens.next_multiple_of(S::LANES));
        // SAFETY: each token has a score and `depth` values at multiples of `row`; `weights` holds
        // `padded` numbers, and the output `depth`.
        unsafe {
            for token in 0..tokens {
                *weights.add(token) = scores.add(token * row).read().to_f32();
            }
            for token in tokens..padded {
                *weights.add(token) = f32::NEG_INFINITY;
            }
            let factor = softmax::<S>(weights, padded);
            let mut at = 0;
            while at + S::LANES <= depth {
                let mut sum = S::splat(0.0);
                for token in 0..tokens {
                    let value = S::load(values.add(token * row + at));
                    sum = S::fma(value, S::splat(*weights.add(token)), sum);
                }
                S::store(out.add(at), S::mul(sum, S::splat(factor)));
                at += S::LANES;
            }
            for at in at..depth {
                let mut sum = 0f32;
                for token in 0..tokens {
                    sum += values.add(token * row + at).read().to_f32() * *weights.add(token);
                }
                out.add(at).write(E::from_f32(sum * factor));
            }
        }
    }
}
