//! The vector instructions behind one trait, so that every kernel is written once.
//!
//! A kernel is a [`Task`]. [`dispatch`](crate::dispatch()) picks the instructions; [`Simd::enter`]
//! is the function compiled for them, and everything inside it is inlined (`#[inline(always)]`), so
//! that the intrinsics become single instructions.

use std::fmt;

/// The element type of activations and filters: [`f32`] or [`Bf16`](crate::Bf16). Sums are always
/// f32.
pub trait Element:
    Copy + Default + Send + Sync + PartialEq + fmt::Debug + Instructions + 'static
{
    /// Values in one cache line.
    const PER_LINE: usize;
    /// The name of the number: `f32` or `bf16`.
    const NAME: &'static str;
    /// Rounds to the nearest.
    fn from_f32(value: f32) -> Self;
    /// Exact.
    fn to_f32(self) -> f32;
}

/// Work that can be compiled for any class of instructions. `run` must be `#[inline(always)]`.
pub trait Task: Copy {
    /// The element type of the task's memory.
    type Elem: Element;
    /// Does the work with one class of instructions.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and the pointers in `self` are valid as the task
    /// describes.
    unsafe fn run<S: Simd<Elem = Self::Elem>>(self);
}

/// Vectors of f32, and how elements of one type are loaded into and stored from them.
///
/// # Safety
/// Every function needs the instructions of the class; loads and stores need as many values at the
/// pointer as documented. `load32`/`store32` move `LANES` f32, `load`/`store` `LANES` elements; the
/// forms in `_n` move `n < LANES`.
#[allow(clippy::missing_safety_doc, reason = "the trait says it for all of them")]
pub trait Simd: Copy + 'static {
    /// What memory holds.
    type Elem: Element;
    /// `LANES` sums.
    type V: Copy;
    /// Operands of `LANES` dot products of `STEP` channels.
    type D: Copy;
    /// Values in one vector.
    const LANES: usize;
    /// Pixels of the register tile of a convolution, with two vectors of output channels.
    const MR: usize;
    /// Input channels that one [`dot`](Simd::dot) takes.
    const STEP: usize;

    /// Runs a task, compiled for these instructions.
    unsafe fn enter<T: Task<Elem = Self::Elem>>(task: T);

    /// One value in all lanes.
    unsafe fn splat(value: f32) -> Self::V;
    /// `LANES` f32 from memory.
    unsafe fn load32(from: *const f32) -> Self::V;
    /// The first `n` lanes from memory, zeros in the rest.
    unsafe fn load32_n(from: *const f32, n: usize) -> Self::V;
    /// `LANES` f32 to memory.
    unsafe fn store32(to: *mut f32, value: Self::V);
    /// `LANES` elements from memory.
    unsafe fn load(from: *const Self::Elem) -> Self::V;
    /// The first `n` lanes from memory, zeros in the rest.
    unsafe fn load_n(from: *const Self::Elem, n: usize) -> Self::V;
    /// `LANES` elements to memory, rounded to the nearest.
    unsafe fn store(to: *mut Self::Elem, value: Self::V);
    /// The first `n` lanes to memory, rounded to the nearest.
    unsafe fn store_n(to: *mut Self::Elem, value: Self::V, n: usize);
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a > b ? a : b`: a NaN in `b` survives.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`: a NaN in `b` survives.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a ≤ b ? x : y`; where `a` or `b` is a NaN, `y`.
    unsafe fn select_le(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// `a · 2ⁿ` for a whole `n` in [−126, 127].
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;

    /// Prefetches the cache line at any address.
    #[inline(always)]
    unsafe fn prefetch(at: *const Self::Elem) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has the instruction; it never faults.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// The same `STEP` values of one pixel in all lanes.
    unsafe fn dot_splat(from: *const Self::Elem) -> Self::D;
    /// One value of a pixel in all lanes, zeros in the rest of the step.
    unsafe fn dot_splat_one(from: *const Self::Elem) -> Self::D;
    /// `STEP` values for each of `LANES` output channels.
    unsafe fn dot_load(from: *const Self::Elem) -> Self::D;
    /// `sum + a · b`.
    unsafe fn dot(sum: Self::V, a: Self::D, b: Self::D) -> Self::V;
}

/// The classes of instructions for one element type.
pub trait Instructions: Sized {
    #[cfg(target_arch = "x86_64")]
    type Avx512Bf16: Simd<Elem = Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx512: Simd<Elem = Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx2: Simd<Elem = Self>;
    type Portable: Simd<Elem = Self>;
    const BF16: bool;
}

/// Two vectors: the even and the odd channels of bf16 pairs, as f32.
#[derive(Clone, Copy)]
pub struct Pair<V>(pub(crate) V, pub(crate) V);
