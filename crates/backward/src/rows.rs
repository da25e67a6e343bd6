//! Loops over rows of numbers, as parts of larger tasks.

use taper_simd::Simd;

/// Copies `len` values.
///
/// # Safety
/// The processor has the instructions of `S`; both pointers are good for `len` values.
#[inline(always)]
pub(crate) unsafe fn copy<S: Simd<Elem = f32>>(from: *const f32, to: *mut f32, len: usize) {
    let mut at = 0;
    // SAFETY: `at + n ≤ len`.
    unsafe {
        while at + S::LANES <= len {
            S::store(to.add(at), S::load(from.add(at)));
            at += S::LANES;
        }
        if at < len {
            S::store_n(to.add(at), S::load_n(from.add(at), len - at), len - at);
        }
    }
}

/// Sets `len` values to 0.
///
/// # Safety
/// The processor has the instructions of `S`; the pointer is good for `len` values.
#[inline(always)]
pub(crate) unsafe fn clear<S: Simd<Elem = f32>>(to: *mut f32, len: usize) {
    let mut at = 0;
    // SAFETY: `at + n ≤ len`.
    unsafe {
        while at + S::LANES <= len {
            S::store(to.add(at), S::splat(0.0));
            at += S::LANES;
        }
        if at < len {
            S::store_n(to.add(at), S::splat(0.0), len - at);
        }
    }
}

/// `to ← to + from`, `len` values.
///
/// # Safety
/// As for [`copy`].
#[inline(always)]
pub(crate) unsafe fn add<S: Simd<Elem = f32>>(from: *const f32, to: *mut f32, len: usize) {
    let mut at = 0;
    // SAFETY: `at + n ≤ len`.
    unsafe {
        while at < len {
            let n = S::LANES.min(len - at);
            let sum = S::add(load::<S>(to.add(at), n), load::<S>(from.add(at), n));
            store::<S>(to.add(at), sum, n);
            at += n;
        }
    }
}

/// The first `n ≤ LANES` lanes from memory.
///
/// # Safety
/// The processor has the instructions of `S`; the pointer is good for `n` values.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd<Elem = f32>>(from: *const f32, n: usize) -> S::V {
    // SAFETY: as the caller's.
    unsafe { if n == S::LANES { S::load(from) } else { S::load_n(from, n) } }
}

/// The first `n ≤ LANES` lanes to memory.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn store<S: Simd<Elem = f32>>(to: *mut f32, value: S::V, n: usize) {
    // SAFETY: as the caller's.
    unsafe {
        if n == S::LANES {
            S::store(to, value);
        } else {
            S::store_n(to, value, n);
        }
    }
}

/// The sum of all lanes.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn across<S: Simd>(value: S::V) -> f32 {
    const { assert!(S::LANES <= 16) };
    let mut lanes = [0.0f32; 16];
    // SAFETY: there is room for a vector.
    unsafe { S::store32(lanes.as_mut_ptr(), value) };
    lanes.iter().sum()
}
