//! Gradients of pooling by attention.

use taper_kernels::parts::{SharedMut, check_len, product, softmax};
use taper_kernels::{AttentionPool, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::rows::{across, load, store};

const OPERATION: &str = "gradient of attention pooling";

/// The gradients of scores and values of an [`AttentionPool`]. The weights are computed again from
/// the forward pass's input; one head of one picture is one work item.
#[derive(Debug, Clone, Copy)]
pub struct AttentionPoolGradient {
    class: KernelClass,
    forward: AttentionPool,
}

impl AttentionPoolGradient {
    /// For sequences of `tokens` tokens, with `heads` heads that share `width` numbers.
    ///
    /// # Errors
    /// As [`AttentionPool::new`].
    pub fn new(
        class: KernelClass,
        tokens: usize,
        width: usize,
        heads: usize,
    ) -> Result<Self, KernelError> {
        Ok(Self { class, forward: AttentionPool::new(class, tokens, width, heads)? })
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        self.forward.scratch_len()
    }

    /// Computes the gradients of `n` sequences.
    ///
    /// `input`: `[n, tokens, heads + width]`, what the forward pass read; `gradient`: `[n, width]`,
    /// that of its output; `out`: as `input`. The result does not depend on the number of threads.
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
        let (width, heads) = (self.forward.width(), self.forward.heads());
        let picture = self.forward.tokens() * (heads + width);
        check_len(OPERATION, "input", input.len(), product(n, picture)?)?;
        check_len(OPERATION, "gradient", gradient.len(), product(n, width)?)?;
        check_len(OPERATION, "output", out.len(), input.len())?;
        team.check(OPERATION, self.scratch_len())?;
        let (out, depth) = (SharedMut::new(out), width / heads);
        team.run(n * heads, &|item, scratch| {
            let (index, head) = (item / heads, item % heads);
            let first = index * picture;
            let task = Head {
                forward: &self.forward,
                scores: input.as_ptr().wrapping_add(first + head),
                values: input.as_ptr().wrapping_add(first + heads + head * depth),
                gradient: gradient.as_ptr().wrapping_add(index * width + head * depth),
                weights: scratch.as_mut_ptr(),
                of_scores: out.get().wrapping_add(first + head),
                of_values: out.get().wrapping_add(first + heads + head * depth),
            };
            // SAFETY: the head's scores and values lie within the picture's part of both buffers,
            // and no other item writes there; the scratch holds a weight for each token, filled up
            // to whole vectors, as just checked.
            unsafe { dispatch(self.class, task) }
        });
        Ok(())
    }
}

/// One head of one picture; the numbers of the next tokens are one token further each.
#[derive(Clone, Copy)]
struct Head<'a> {
    forward: &'a AttentionPool,
    scores: *const f32,
    values: *const f32,
    gradient: *const f32,
    weights: *mut f32,
    of_scores: *mut f32,
    of_values: *mut f32,
}

impl Task for Head<'_> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let Self { forward, scores, values, gradient, weights, of_scores, of_values } = self;
        let (tokens, heads) = (forward.tokens(), forward.heads());
        let (depth, row) = (forward.width() / heads, heads + forward.width());
        let padded = tokens.next_multiple_of(S::LANES);
        // SAFETY: each token has a score and `depth` values at multiples of `row`, in the input and
        // in the output; there are `depth` gradients and `padded` weights.
        unsafe {
            for token in 0..tokens {
                *weights.add(token) = *scores.add(token * row);
            }
            for token in tokens..padded {
                *weights.add(token) = f32::NEG_INFINITY;
            }
            let factor = softmax::<S>(weights, padded);
            // Σ w (v · g): what all scores lose together.
            let mut mean = 0f32;
            for token in 0..tokens {
                let weight = *weights.add(token) * factor;
                let mut slope = S::splat(0.0);
                for at in (0..depth).step_by(S::LANES) {
                    let n = S::LANES.min(depth - at);
                    let own = load::<S>(gradient.add(at), n);
                    let value = load::<S>(values.add(token * row + at), n);
                    slope = S::fma(value, own, slope);
                    let to = of_values.add(token * row + at);
                    store::<S>(to, S::mul(own, S::splat(weight)), n);
                }
                let slope = across::<S>(slope);
                *weights.add(token) = weight;
                *of_scores.add(token * row) = slope;
                mean += weight * slope;
            }
            for token in 0..tokens {
                let to = of_scores.add(token * row);
                *to = *weights.add(token) * (*to - mean);
            }
        }
    }
}
