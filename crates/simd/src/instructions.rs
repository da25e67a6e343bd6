//! The vector instructions behind one trait, so that every kernel is written once.
//!
//! A kernel is a [`Task`]. [`dispatch`] picks the instructions; [`Simd::enter`] is the function
//! compiled for them, and everything inside it is inlined (`#[inline(always)]`), so that the
//! intrinsics become single instructions.

use crate::buffer::{Bf16, Element};
#[cfg(target_arch = "x86_64")]
use crate::class::Isa;
use crate::class::KernelClass;
use crate::portable;
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512};

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
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a > b ? a : b`: a NaN in `b` survives.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`: a NaN in `b` survives.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
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

impl Instructions for f32 {
    #[cfg(target_arch = "x86_64")]
    type Avx512Bf16 = avx512::Avx512F32;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = avx512::Avx512F32;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = avx2::Avx2F32;
    type Portable = portable::PortableF32;
    const BF16: bool = false;
}

impl Instructions for Bf16 {
    #[cfg(target_arch = "x86_64")]
    type Avx512Bf16 = avx512::Avx512Bf16;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = avx512::Avx512SoftBf16;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = avx2::Avx2SoftBf16;
    type Portable = portable::PortableBf16;
    const BF16: bool = true;
}

/// Runs a task with the instructions of a class.
///
/// # Safety
/// The pointers in `task` are valid as the task describes.
pub unsafe fn dispatch<T: Task>(class: KernelClass, task: T) {
    // SAFETY: a `KernelClass` exists only for instructions that the processor has; the caller
    // answers for the pointers.
    unsafe {
        match class.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 { bf16 } => {
                if T::Elem::BF16 && bf16 {
                    <T::Elem as Instructions>::Avx512Bf16::enter(task);
                } else {
                    <T::Elem as Instructions>::Avx512::enter(task);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => <T::Elem as Instructions>::Avx2::enter(task),
            _ => <T::Elem as Instructions>::Portable::enter(task),
        }
    }
}

/// Lanes, register tile and channel step of the class for an element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// Values in one vector.
    pub lanes: usize,
    /// Pixels of the register tile of a convolution, with two vectors of output channels.
    pub mr: usize,
    /// Input channels that one dot product takes.
    pub step: usize,
}

impl Tiling {
    fn of<S: Simd>() -> Self {
        Self { lanes: S::LANES, mr: S::MR, step: S::STEP }
    }

    /// The tiling of a class for an element type.
    #[must_use]
    pub fn for_class<E: Element>(class: KernelClass) -> Self {
        match class.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 { bf16: true } => Self::of::<E::Avx512Bf16>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 { bf16: false } => Self::of::<E::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self::of::<E::Avx2>(),
            _ => Self::of::<E::Portable>(),
        }
    }
}

/// Two vectors: the even and the odd channels of bf16 pairs, as f32.
#[derive(Clone, Copy)]
pub struct Pair<V>(pub(crate) V, pub(crate) V);
