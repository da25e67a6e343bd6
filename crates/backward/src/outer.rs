//! The register tile of sums over positions: a few values of one row by one or two vectors of
//! another, over all rows of a chunk.
// Loops over registers count with constants, so that the compiler unrolls them.
#![allow(clippy::needless_range_loop)]

use taper_simd::{Simd, Task};

/// `out[m][n] ← Σ a[k][m] · b[k][n]`, over `len` rows of both matrices.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    /// Rows of at least as many values as the tile is high, `a_step` apart.
    pub(crate) a: *const f32,
    pub(crate) a_step: usize,
    /// Rows of whole vectors, `b_step` apart.
    pub(crate) b: *const f32,
    pub(crate) b_step: usize,
    pub(crate) len: usize,
    /// Rows of `width` values, `ldc` apart.
    pub(crate) out: *mut f32,
    pub(crate) ldc: usize,
    pub(crate) width: usize,
    /// Adds to what is there.
    pub(crate) add: bool,
}

#[derive(Clone, Copy)]
struct Sized<const M: usize, const N: usize>(Outer);

impl<const M: usize, const N: usize> Task for Sized<M, N> {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let t = self.0;
        // SAFETY: the caller of `Outer::run` vouches for `len` rows of `M` values and of `N`
        // vectors, and for `M` rows of `width` values of output.
        unsafe {
            for m in 0..M {
                for n in 0..N {
                    S::prefetch(t.out.wrapping_add(m * t.ldc + n * S::LANES));
                }
            }
            let mut sums = [[S::splat(0.0); N]; M];
            let (mut a, mut b) = (t.a, t.b);
            for _ in 0..t.len {
                let vectors: [S::V; N] = std::array::from_fn(|n| S::load(b.add(n * S::LANES)));
                for m in 0..M {
                    let value = S::splat(*a.add(m));
                    for n in 0..N {
                        sums[m][n] = S::fma(value, vectors[n], sums[m][n]);
                    }
                }
                a = a.wrapping_add(t.a_step);
                b = b.wrapping_add(t.b_step);
            }
            // The sums leave the registers by constant indices only, as in `taper_kernels`.
            if t.width == N * S::LANES {
                if t.add {
                    for m in 0..M {
                        for n in 0..N {
                            let to = t.out.add(m * t.ldc + n * S::LANES);
                            S::store(to, S::add(S::load(to), sums[m][n]));
                        }
                    }
                } else {
                    for m in 0..M {
                        for n in 0..N {
                            S::store(t.out.add(m * t.ldc + n * S::LANES), sums[m][n]);
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
            leave::<S, M, N>(&t, std::hint::black_box(&stored));
        }
    }
}

/// Stores sums that have gone through memory.
///
/// # Safety
/// As for `Sized::run`.
#[inline(always)]
unsafe fn leave<S: Simd<Elem = f32>, const M: usize, const N: usize>(
    t: &Outer,
    sums: &[[S::V; N]; M],
) {
    for (m, sums) in sums.iter().enumerate() {
        for (n, &sum) in sums.iter().enumerate() {
            let left = t.width.saturating_sub(n * S::LANES).min(S::LANES);
            if left == 0 {
                continue;
            }
            // SAFETY: passed on to the caller.
            unsafe {
                let to = t.out.add(m * t.ldc + n * S::LANES);
                if left == S::LANES {
                    let old = if t.add { S::load(to) } else { S::splat(0.0) };
                    S::store(to, S::add(old, sum));
                } else {
                    let old = if t.add { S::load_n(to, left) } else { S::splat(0.0) };
                    S::store_n(to, S::add(old, sum), left);
                }
            }
        }
    }
}

impl Outer {
    /// Runs the tile for `rows ≤ S::MR` rows of output.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; the pointers are valid as the fields say.
    #[inline(always)]
    unsafe fn tile<S: Simd<Elem = f32>>(self, rows: usize) {
        macro_rules! pick {
            ($n:literal: $($m:literal)*) => {
                match rows {
                    $($m => {
                        if $m <= S::MR {
                            // SAFETY: passed on to the caller.
                            unsafe { S::enter(Sized::<$m, $n>(self)) }
                        }
                    })*
                    _ => debug_assert!(false, "a tile of {rows} rows"),
                }
            };
        }
        if self.width <= S::LANES {
            pick!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        } else {
            pick!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }

    /// All of a product: `rows` rows of `width` values. Rows of `b` are readable up to whole
    /// vectors.
    ///
    /// # Safety
    /// As for the fields, with `rows` values in each row of `a`.
    #[inline(always)]
    pub(crate) unsafe fn product<S: Simd<Elem = f32>>(self, rows: usize) {
        // Tiles of about the same height: a low last one would leave most registers unused.
        let height = rows.div_ceil(rows.div_ceil(S::MR));
        for column in (0..self.width).step_by(2 * S::LANES) {
            for row in (0..rows).step_by(height) {
                let tile = Self {
                    a: self.a.wrapping_add(row),
                    b: self.b.wrapping_add(column),
                    out: self.out.wrapping_add(row * self.ldc + column),
                    width: (2 * S::LANES).min(self.width - column),
                    ..self
                };
                // SAFETY: rows and columns lie within the product.
                unsafe { tile.tile::<S>(height.min(rows - row)) }
            }
        }
    }
}
