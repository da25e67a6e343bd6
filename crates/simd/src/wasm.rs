//! WebAssembly's 128-bit instructions, in place of plain Rust. With relaxed SIMD a product and a
//! sum are one instruction, rounded once on processors that have it and twice on others.

use std::arch::wasm32::*;

use crate::instructions::{Simd, Task};

#[derive(Clone, Copy)]
pub struct WasmF32;

const LANES: usize = 4;

#[inline(always)]
fn multiply_add(a: v128, b: v128, c: v128) -> v128 {
    #[cfg(target_feature = "relaxed-simd")]
    return f32x4_relaxed_madd(a, b, c);
    #[cfg(not(target_feature = "relaxed-simd"))]
    f32x4_add(f32x4_mul(a, b), c)
}

impl Simd for WasmF32 {
    type Elem = f32;
    type V = v128;
    type D = v128;
    const LANES: usize = LANES;
    // With a single instruction no product takes a register: six pixels then fill the 15 that V8
    // has on x86-64.
    const MR: usize = if cfg!(target_feature = "relaxed-simd") { 6 } else { 4 };
    const STEP: usize = 1;

    #[inline(never)]
    unsafe fn enter<T: Task<Elem = f32>>(task: T) {
        // SAFETY: the module is only run where its instructions exist; the caller answers for the
        // pointers.
        unsafe { task.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> v128 {
        f32x4_splat(value)
    }

    #[inline(always)]
    unsafe fn load32(from: *const f32) -> v128 {
        // SAFETY: the caller has `LANES` values there; they may lie anywhere.
        unsafe { v128_load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load32_n(from: *const f32, n: usize) -> v128 {
        let mut lanes = [0.0; LANES];
        for (i, value) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller has `n` values there.
            *value = unsafe { from.add(i).read() };
        }
        // SAFETY: the array has `LANES` values.
        unsafe { v128_load(lanes.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn store32(to: *mut f32, value: v128) {
        // SAFETY: the caller has room for `LANES` values there.
        unsafe { v128_store(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> v128 {
        // SAFETY: as the caller says.
        unsafe { Self::load32(from) }
    }

    #[inline(always)]
    unsafe fn load_n(from: *const f32, n: usize) -> v128 {
        // SAFETY: as the caller says.
        unsafe { Self::load32_n(from, n) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: v128) {
        // SAFETY: as the caller says.
        unsafe { Self::store32(to, value) }
    }

    #[inline(always)]
    unsafe fn store_n(to: *mut f32, value: v128, n: usize) {
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has `LANES` values.
        unsafe { v128_store(lanes.as_mut_ptr().cast(), value) };
        for (i, &value) in lanes.iter().enumerate().take(n) {
            // SAFETY: the caller has room for `n` values there.
            unsafe { to.add(i).write(value) }
        }
    }

    #[inline(always)]
    unsafe fn add(a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: v128, b: v128) -> v128 {
        f32x4_sub(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }

    #[inline(always)]
    unsafe fn div(a: v128, b: v128) -> v128 {
        f32x4_div(a, b)
    }

    #[inline(always)]
    unsafe fn fma(a: v128, b: v128, c: v128) -> v128 {
        multiply_add(a, b, c)
    }

    #[inline(always)]
    unsafe fn max(a: v128, b: v128) -> v128 {
        // `a < b ? b : a` of its first and second operand: a NaN in `b` survives.
        f32x4_pmax(b, a)
    }

    #[inline(always)]
    unsafe fn min(a: v128, b: v128) -> v128 {
        f32x4_pmin(b, a)
    }

    #[inline(always)]
    unsafe fn select_le(a: v128, b: v128, x: v128, y: v128) -> v128 {
        v128_bitselect(x, y, f32x4_le(a, b))
    }

    #[inline(always)]
    unsafe fn scale(a: v128, n: v128) -> v128 {
        let exponent = i32x4_add(i32x4_trunc_sat_f32x4(n), i32x4_splat(127));
        f32x4_mul(a, i32x4_shl(exponent, 23))
    }

    #[inline(always)]
    unsafe fn dot_splat(from: *const f32) -> v128 {
        // SAFETY: the caller has one value there.
        unsafe { v128_load32_splat(from.cast()) }
    }

    #[inline(always)]
    unsafe fn dot_splat_one(from: *const f32) -> v128 {
        // SAFETY: the caller has one value there.
        unsafe { v128_load32_splat(from.cast()) }
    }

    #[inline(always)]
    unsafe fn dot_load(from: *const f32) -> v128 {
        // SAFETY: the caller has `LANES` values there.
        unsafe { Self::load32(from) }
    }

    #[inline(always)]
    unsafe fn dot(sum: v128, a: v128, b: v128) -> v128 {
        multiply_add(a, b, sum)
    }
}
