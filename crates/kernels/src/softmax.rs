//! The softmax of one row of scores, in f32.

use taper_simd::Simd;

/// Below it, the exponential is less than the smallest normal number.
const LOWEST: f32 = -87.0;

/// exp(r) − 1 − r over r², for |r| ≤ ln 2 / 2, highest degree first (Cephes, `expf.c`).
const POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];

/// ln 2 in two parts, the first of which has few digits, so that its multiples are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// A number so large that f32 has no fraction there: adding it rounds to the nearest whole number.
const WHOLE: f32 = 12_582_912.0;

/// The exponential of numbers that are not positive, to 2 units in the last place. Numbers below
/// [`LOWEST`] count as [`LOWEST`].
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        let x = S::max(S::splat(LOWEST), x);
        let whole = S::splat(WHOLE);
        let n = S::sub(S::fma(x, S::splat(std::f32::consts::LOG2_E), whole), whole);
        let r = S::fma(n, S::splat(-LN_2[1]), S::fma(n, S::splat(-LN_2[0]), x));
        let mut sum = S::splat(POLYNOMIAL[0]);
        for &coefficient in &POLYNOMIAL[1..] {
            sum = S::fma(sum, r, S::splat(coefficient));
        }
        let one = S::splat(1.0);
        S::scale(S::add(S::fma(S::mul(sum, r), r, r), one), n)
    }
}

/// Replaces `len` scores, a multiple of `LANES`, by their exponentials, scaled so that the highest
/// is 1, and returns the factor that turns them into a softmax.
///
/// # Safety
/// The processor has the instructions of `S`, and `row` holds `len` values.
#[inline(always)]
pub unsafe fn softmax<S: Simd>(row: *mut f32, len: usize) -> f32 {
    // SAFETY: every vector lies within the `len` values.
    unsafe {
        let mut highest = S::splat(f32::NEG_INFINITY);
        for at in (0..len).step_by(S::LANES) {
            highest = S::max(highest, S::load32(row.add(at)));
        }
        let mut lanes = [f32::NEG_INFINITY; 16];
        S::store32(lanes.as_mut_ptr(), highest);
        let highest = S::splat(lanes.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v)));
        let mut sums = S::splat(0.0);
        for at in (0..len).step_by(S::LANES) {
            let value = exp::<S>(S::sub(S::load32(row.add(at)), highest));
            sums = S::add(sums, value);
            S::store32(row.add(at), value);
        }
        let mut lanes = [0f32; 16];
        S::store32(lanes.as_mut_ptr(), sums);
        1.0 / lanes.iter().sum::<f32>()
    }
}
