//! The register tile: a few pixels by one or two vectors of output channels, over all taps and
//! input channels.
// Loops over registers count with constants, so that the compiler unrolls them.
#![allow(clippy::needless_range_loop)]

use crate::ending::{Ending, limits};
use crate::gelu::gelu;
use crate::{Activation, Element};
use taper_simd::{Simd, Task};

/// One register tile. The pixels lie `ldc` values apart in the output, starting at `out`.
#[derive(Debug, Clone, Copy)]
pub struct Tile<E: Element> {
    /// For each run, `runs_stride` pointers apart, one pointer per pixel to `len` input values.
    pub pointers: *const *const E,
    /// See `pointers`.
    pub pointers_stride: usize,
    /// Runs of consecutive input values: the taps, or the rows of taps where their columns are
    /// contiguous.
    pub runs: usize,
    /// Values per run.
    pub len: usize,
    /// Filters `[runs][len / STEP][vectors × LANES][STEP]`, zero where `len` or the panel is filled
    /// up.
    pub filter: *const E,
    /// `vectors × LANES` sums to start from.
    pub bias: *const f32,
    /// Where the output starts, and the distance between its pixels.
    pub out: *mut E,
    /// See `out`.
    pub ldc: usize,
    /// Valid output channels of the panel.
    pub width: usize,
    /// What happens to the sums; its pointers are laid out as the output.
    pub ending: Ending<E>,
}

#[derive(Clone, Copy)]
struct Sized<E: Element, const M: usize, const N: usize>(Tile<E>);

impl<E: Element, const M: usize, const N: usize> Task for Sized<E, M, N> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let t = self.0;
        // SAFETY: the caller of `Tile::run` vouches for the pointers: `M` per run to `len` values
        // each, a filter of `runs × len.next_multiple_of(STEP) × N × LANES`, a bias of `N × LANES`,
        // and `M` output (and residual) pixels of `width` values, `ldc` apart.
        unsafe {
            let bias: [S::V; N] = std::array::from_fn(|n| S::load32(t.bias.add(n * S::LANES)));
            let mut sums = [bias; M];
            let mut filter = t.filter;
            // By the time the sums are done, the cache lines of the output (and of the residual)
            // have arrived.
            for m in 0..M {
                for n in 0..N {
                    let at = m * t.ldc + n * S::LANES;
                    S::prefetch(t.out.wrapping_add(at));
                    if !t.ending.residual.is_null() {
                        S::prefetch(t.ending.residual.wrapping_add(at));
                    }
                    if !t.ending.mask.is_null() {
                        S::prefetch(t.ending.mask.wrapping_add(at));
                    }
                }
            }
            for run in 0..t.runs {
                let row = t.pointers.add(run * t.pointers_stride);
                let pixels: [*const E; M] = std::array::from_fn(|m| *row.add(m));
                let mut k = 0;
                while k + S::STEP <= t.len {
                    let b: [S::D; N] =
                        std::array::from_fn(|n| S::dot_load(filter.add(n * S::LANES * S::STEP)));
                    for m in 0..M {
                        let a = S::dot_splat(pixels[m].add(k));
                        for n in 0..N {
                            sums[m][n] = S::dot(sums[m][n], a, b[n]);
                        }
                    }
                    filter = filter.add(N * S::LANES * S::STEP);
                    k += S::STEP;
                }
                if S::STEP > 1 && k < t.len {
                    let b: [S::D; N] =
                        std::array::from_fn(|n| S::dot_load(filter.add(n * S::LANES * S::STEP)));
                    for m in 0..M {
                        let a = S::dot_splat_one(pixels[m].add(k));
                        for n in 0..N {
                            sums[m][n] = S::dot(sums[m][n], a, b[n]);
                        }
                    }
                    filter = filter.add(N * S::LANES * S::STEP);
                }
            }
            // The sums leave the registers by constant indices only, in loops small enough to be
            // unrolled: otherwise the compiler would keep them in memory all along.
            let (low, high) = limits(t.ending.activation);
            let (low, high) = (S::splat(low), S::splat(high));
            // Conversion to bf16 makes the loops too long for that, and so does a mask: those sums
            // go through memory once. GELU is too long as well.
            let is_gelu = t.ending.activation == Some(Activation::Gelu);
            let short = S::STEP == 1 && !is_gelu && t.ending.mask.is_null();
            if t.width == N * S::LANES && short {
                if t.ending.residual.is_null() {
                    for m in 0..M {
                        for n in 0..N {
                            let sum = S::min(high, S::max(low, sums[m][n]));
                            S::store(t.out.add(m * t.ldc + n * S::LANES), sum);
                        }
                    }
                } else {
                    for m in 0..M {
                        for n in 0..N {
                            let at = m * t.ldc + n * S::LANES;
                            let sum = S::add(sums[m][n], S::load(t.ending.residual.add(at)));
                            S::store(t.out.add(at), S::min(high, S::max(low, sum)));
                        }
                    }
                }
                return;
            }
            let mut stored = [[S::splat(0.0); N]; M];
            for m in 0..M {
                for n in 0..N {
                    stored[m][n] = sums[m][n];
                }
            }
            let stored = std::hint::black_box(&stored);
            if is_gelu {
                leave::<E, S, M, N, true>(&t, stored);
            } else {
                leave::<E, S, M, N, false>(&t, stored);
            }
        }
    }
}

/// Stores sums that have gone through memory. No closure does this: it would not have the
/// instructions of `S`, and every operation in it became a call.
///
/// # Safety
/// As for `Sized::run`.
#[inline(always)]
unsafe fn leave<E: Element, S: Simd<Elem = E>, const M: usize, const N: usize, const GELU: bool>(
    t: &Tile<E>,
    sums: &[[S::V; N]; M],
) {
    for (m, sums) in sums.iter().enumerate() {
        for (n, &sum) in sums.iter().enumerate() {
            let at = m * t.ldc + n * S::LANES;
            let left = t.width.saturating_sub(n * S::LANES);
            // SAFETY: passed on to the caller.
            unsafe {
                if left >= S::LANES {
                    let sum = t.ending.apply::<S>(sum, at, S::LANES);
                    S::store(t.out.add(at), if GELU { gelu::<S>(sum) } else { sum });
                } else if left > 0 {
                    let sum = t.ending.apply::<S>(sum, at, left);
                    S::store_n(t.out.add(at), if GELU { gelu::<S>(sum) } else { sum }, left);
                }
            }
        }
    }
}

impl<E: Element> Tile<E> {
    /// Runs the tile for `pixels ≤ S::MR` pixels and `vectors ≤ 2` vectors of output channels.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; the pointers are valid as the fields say.
    #[inline(always)]
    pub unsafe fn run<S: Simd<Elem = E>>(self, pixels: usize, vectors: usize) {
        macro_rules! pick {
            ($n:literal: $($m:literal)*) => {
                match pixels {
                    $($m => {
                        if $m <= S::MR {
                            // SAFETY: passed on to the caller.
                            unsafe { S::enter(Sized::<E, $m, $n>(self)) }
                        }
                    })*
                    _ => debug_assert!(false, "a tile of {pixels} pixels"),
                }
            };
        }
        debug_assert!(pixels <= S::MR && self.width <= vectors * S::LANES);
        if vectors == 1 {
            pick!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        } else {
            pick!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }
}
