//! The vector instructions behind one trait, so that every kernel is written once.
//!
//! A kernel is a [`Task`]. [`dispatch`] picks the instructions; [`Simd::enter`] is the function compiled for them, and everything
//! inside it is inlined (`#[inline(always)]`), so that the intrinsics become single instructions.

// The traits and types here are `pub` only because the sealed trait `Element` names them; the module is private.
#![allow(unreachable_pub)]

use crate::buffer::Bf16;
use crate::class::Isa;
use crate::{Element, KernelClass};

/// Work that can be compiled for any class of instructions. `run` must be `#[inline(always)]`.
pub trait Task: Copy {
    type Elem: Element;
    /// # Safety
    /// The processor has the instructions of `S`, and the pointers in `self` are valid as the task describes.
    unsafe fn run<S: Simd<Elem = Self::Elem>>(self);
}

/// Vectors of f32 and how elements of one type come in and out of them.
///
/// # Safety
/// Every function needs the instructions of the class; loads and stores need as many values at the pointer as they say.
/// `load32`/`store32` move `LANES` f32, `load`/`store` `LANES` elements; the forms in `_n` move `n < LANES`.
pub trait Simd: Copy + 'static {
    type Elem: Element;
    /// `LANES` sums.
    type V: Copy;
    /// Operands of `LANES` dot products of `STEP` channels.
    type D: Copy;
    const LANES: usize;
    /// Pixels of the register tile of a convolution, with two vectors of output channels.
    const MR: usize;
    /// Input channels that one [`dot`](Simd::dot) takes.
    const STEP: usize;

    unsafe fn enter<T: Task<Elem = Self::Elem>>(task: T);

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load32(from: *const f32) -> Self::V;
    unsafe fn load32_n(from: *const f32, n: usize) -> Self::V;
    unsafe fn store32(to: *mut f32, value: Self::V);
    unsafe fn load(from: *const Self::Elem) -> Self::V;
    unsafe fn load_n(from: *const Self::Elem, n: usize) -> Self::V;
    unsafe fn store(to: *mut Self::Elem, value: Self::V);
    unsafe fn store_n(to: *mut Self::Elem, value: Self::V, n: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a > b ? a : b`: a NaN in `b` survives.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`: a NaN in `b` survives.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;

    /// Asks for the cache line at an address, which may be any.
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
    type Avx512Bf16 = x86::Avx512F32;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = x86::Avx512F32;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = x86::Avx2F32;
    type Portable = PortableF32;
    const BF16: bool = false;
}

impl Instructions for Bf16 {
    #[cfg(target_arch = "x86_64")]
    type Avx512Bf16 = x86::Avx512Bf16;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = x86::Avx512SoftBf16;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = x86::Avx2SoftBf16;
    type Portable = PortableBf16;
    const BF16: bool = true;
}

/// Runs a task with the instructions of a class.
///
/// # Safety
/// The pointers in `task` are valid as the task describes.
pub(crate) unsafe fn dispatch<T: Task>(class: KernelClass, task: T) {
    // SAFETY: a `KernelClass` exists only for instructions that the processor has; the caller answers for the pointers.
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
    pub(crate) lanes: usize,
    pub(crate) mr: usize,
    pub(crate) step: usize,
}

impl Tiling {
    fn of<S: Simd>() -> Self {
        Self { lanes: S::LANES, mr: S::MR, step: S::STEP }
    }

    pub(crate) fn for_class<E: Element>(class: KernelClass) -> Self {
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
pub struct Pair<V>(V, V);

const PORTABLE: usize = 4;

/// Plain Rust on `f32`.
#[derive(Clone, Copy)]
pub struct PortableF32;

/// Plain Rust on `Bf16`.
#[derive(Clone, Copy)]
pub struct PortableBf16;

type Chunk = [f32; PORTABLE];

macro_rules! portable_arithmetic {
    () => {
        type V = Chunk;
        const LANES: usize = PORTABLE;
        const MR: usize = 4;

        #[inline(never)]
        unsafe fn enter<T: Task<Elem = Self::Elem>>(task: T) {
            // SAFETY: plain Rust runs everywhere; the caller answers for the pointers.
            unsafe { task.run::<Self>() }
        }

        #[inline(always)]
        unsafe fn splat(value: f32) -> Chunk {
            [value; PORTABLE]
        }

        #[inline(always)]
        unsafe fn load32(from: *const f32) -> Chunk {
            // SAFETY: the caller has `LANES` values there; an array of f32 may be read unaligned.
            unsafe { from.cast::<Chunk>().read_unaligned() }
        }

        #[inline(always)]
        unsafe fn load32_n(from: *const f32, n: usize) -> Chunk {
            let mut chunk = [0.0; PORTABLE];
            for (i, value) in chunk.iter_mut().enumerate().take(n) {
                // SAFETY: the caller has `n` values there.
                *value = unsafe { from.add(i).read() };
            }
            chunk
        }

        #[inline(always)]
        unsafe fn store32(to: *mut f32, value: Chunk) {
            // SAFETY: the caller has room for `LANES` values there.
            unsafe { to.cast::<Chunk>().write_unaligned(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const Self::Elem) -> Chunk {
            // SAFETY: the caller has `LANES` values there.
            std::array::from_fn(|i| unsafe { from.add(i).read() }.to_f32())
        }

        #[inline(always)]
        unsafe fn load_n(from: *const Self::Elem, n: usize) -> Chunk {
            let mut chunk = [0.0; PORTABLE];
            for (i, value) in chunk.iter_mut().enumerate().take(n) {
                // SAFETY: the caller has `n` values there.
                *value = unsafe { from.add(i).read() }.to_f32();
            }
            chunk
        }

        #[inline(always)]
        unsafe fn store(to: *mut Self::Elem, value: Chunk) {
            let value = value.map(<Self::Elem as Element>::from_f32);
            // SAFETY: the caller has room for `LANES` values there.
            unsafe { to.cast::<[Self::Elem; PORTABLE]>().write_unaligned(value) }
        }

        #[inline(always)]
        unsafe fn store_n(to: *mut Self::Elem, value: Chunk, n: usize) {
            for (i, &value) in value.iter().enumerate().take(n) {
                // SAFETY: the caller has room for `n` values there.
                unsafe { to.add(i).write(<Self::Elem as Element>::from_f32(value)) }
            }
        }

        #[inline(always)]
        unsafe fn add(a: Chunk, b: Chunk) -> Chunk {
            std::array::from_fn(|i| a[i] + b[i])
        }

        #[inline(always)]
        unsafe fn sub(a: Chunk, b: Chunk) -> Chunk {
            std::array::from_fn(|i| a[i] - b[i])
        }

        #[inline(always)]
        unsafe fn mul(a: Chunk, b: Chunk) -> Chunk {
            std::array::from_fn(|i| a[i] * b[i])
        }

        #[inline(always)]
        unsafe fn fma(a: Chunk, b: Chunk, c: Chunk) -> Chunk {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }

        #[inline(always)]
        unsafe fn max(a: Chunk, b: Chunk) -> Chunk {
            std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
        }

        #[inline(always)]
        unsafe fn min(a: Chunk, b: Chunk) -> Chunk {
            std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
        }
    };
}

impl Simd for PortableF32 {
    type Elem = f32;
    type D = Chunk;
    const STEP: usize = 1;
    portable_arithmetic!();

    #[inline(always)]
    unsafe fn dot_splat(from: *const f32) -> Chunk {
        // SAFETY: the caller has one value there.
        [unsafe { from.read() }; PORTABLE]
    }

    #[inline(always)]
    unsafe fn dot_splat_one(from: *const f32) -> Chunk {
        // SAFETY: the caller has one value there.
        [unsafe { from.read() }; PORTABLE]
    }

    #[inline(always)]
    unsafe fn dot_load(from: *const f32) -> Chunk {
        // SAFETY: the caller has `LANES` values there.
        unsafe { Self::load32(from) }
    }

    #[inline(always)]
    unsafe fn dot(sum: Chunk, a: Chunk, b: Chunk) -> Chunk {
        std::array::from_fn(|i| a[i] * b[i] + sum[i])
    }
}

impl Simd for PortableBf16 {
    type Elem = Bf16;
    type D = Pair<Chunk>;
    const STEP: usize = 2;
    portable_arithmetic!();

    #[inline(always)]
    unsafe fn dot_splat(from: *const Bf16) -> Pair<Chunk> {
        // SAFETY: the caller has two values there.
        let [even, odd] = unsafe { from.cast::<[Bf16; 2]>().read() };
        Pair([even.to_f32(); PORTABLE], [odd.to_f32(); PORTABLE])
    }

    #[inline(always)]
    unsafe fn dot_splat_one(from: *const Bf16) -> Pair<Chunk> {
        // SAFETY: the caller has one value there.
        Pair([unsafe { from.read() }.to_f32(); PORTABLE], [0.0; PORTABLE])
    }

    #[inline(always)]
    unsafe fn dot_load(from: *const Bf16) -> Pair<Chunk> {
        // SAFETY: the caller has `2 * LANES` values there.
        let pairs = unsafe { from.cast::<[[Bf16; 2]; PORTABLE]>().read() };
        Pair(pairs.map(|p| p[0].to_f32()), pairs.map(|p| p[1].to_f32()))
    }

    #[inline(always)]
    unsafe fn dot(sum: Chunk, a: Pair<Chunk>, b: Pair<Chunk>) -> Chunk {
        std::array::from_fn(|i| a.1[i] * b.1[i] + (a.0[i] * b.0[i] + sum[i]))
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    //! AVX2 and AVX-512. Masked loads and stores touch no byte of a lane that is masked out.

    use super::{Bf16, Pair, Simd, Task};
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub struct Avx512F32;
    /// bf16 products through `vdpbf16ps`.
    #[derive(Clone, Copy)]
    pub struct Avx512Bf16;
    /// bf16 products as two f32 products.
    #[derive(Clone, Copy)]
    pub struct Avx512SoftBf16;
    #[derive(Clone, Copy)]
    pub struct Avx2F32;
    /// bf16 products as two f32 products.
    #[derive(Clone, Copy)]
    pub struct Avx2SoftBf16;

    #[inline(always)]
    fn mask16(n: usize) -> __mmask16 {
        ((1_u32 << n) - 1) as __mmask16
    }

    macro_rules! avx512_arithmetic {
        ($features:literal) => {
            type V = __m512;
            const LANES: usize = 16;

            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn enter<T: Task<Elem = Self::Elem>>(task: T) {
                // SAFETY: this function is compiled for the instructions, and only called where they exist.
                unsafe { task.run::<Self>() }
            }

            #[inline(always)]
            unsafe fn splat(value: f32) -> __m512 {
                // SAFETY: the processor has AVX-512.
                unsafe { _mm512_set1_ps(value) }
            }

            #[inline(always)]
            unsafe fn load32(from: *const f32) -> __m512 {
                // SAFETY: the caller has 16 values there.
                unsafe { _mm512_loadu_ps(from) }
            }

            #[inline(always)]
            unsafe fn load32_n(from: *const f32, n: usize) -> __m512 {
                // SAFETY: the caller has `n` values there; the others are masked out.
                unsafe { _mm512_maskz_loadu_ps(mask16(n), from) }
            }

            #[inline(always)]
            unsafe fn store32(to: *mut f32, value: __m512) {
                // SAFETY: the caller has room for 16 values there.
                unsafe { _mm512_storeu_ps(to, value) }
            }

            #[inline(always)]
            unsafe fn add(a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512.
                unsafe { _mm512_add_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn sub(a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512.
                unsafe { _mm512_sub_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn mul(a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512.
                unsafe { _mm512_mul_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512.
                unsafe { _mm512_fmadd_ps(a, b, c) }
            }

            #[inline(always)]
            unsafe fn max(a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512.
                unsafe { _mm512_max_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn min(a: __m512, b: __m512) -> __m512 {
                // SAFETY: the processor has AVX-512.
                unsafe { _mm512_min_ps(a, b) }
            }
        };
    }

    impl Simd for Avx512F32 {
        type Elem = f32;
        type D = __m512;
        const STEP: usize = 1;
        const MR: usize = 14;
        avx512_arithmetic!("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma");

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller has 16 values there.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_n(from: *const f32, n: usize) -> __m512 {
            // SAFETY: the caller has `n` values there; the others are masked out.
            unsafe { _mm512_maskz_loadu_ps(mask16(n), from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m512) {
            // SAFETY: the caller has room for 16 values there.
            unsafe { _mm512_storeu_ps(to, value) }
        }

        #[inline(always)]
        unsafe fn store_n(to: *mut f32, value: __m512, n: usize) {
            // SAFETY: the caller has room for `n` values there; the others are masked out.
            unsafe { _mm512_mask_storeu_ps(to, mask16(n), value) }
        }

        #[inline(always)]
        unsafe fn dot_splat(from: *const f32) -> __m512 {
            // SAFETY: the caller has one value there.
            unsafe { _mm512_set1_ps(from.read()) }
        }

        #[inline(always)]
        unsafe fn dot_splat_one(from: *const f32) -> __m512 {
            // SAFETY: the caller has one value there.
            unsafe { _mm512_set1_ps(from.read()) }
        }

        #[inline(always)]
        unsafe fn dot_load(from: *const f32) -> __m512 {
            // SAFETY: the caller has 16 values there.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn dot(sum: __m512, a: __m512, b: __m512) -> __m512 {
            // SAFETY: the processor has AVX-512.
            unsafe { _mm512_fmadd_ps(a, b, sum) }
        }
    }

    #[inline(always)]
    unsafe fn widen512(bits: __m256i) -> __m512 {
        // SAFETY: the processor has AVX-512.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))) }
    }

    /// Rounds to nearest even as [`Bf16::from_f32`] does, with integer instructions.
    #[inline(always)]
    unsafe fn narrow512(value: __m512) -> __m256i {
        // SAFETY: the processor has AVX-512.
        unsafe {
            let bits = _mm512_castps_si512(value);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
            let kept = _mm512_mask_blend_epi32(nan, rounded, quiet);
            _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(kept))
        }
    }

    macro_rules! avx512_bf16_memory {
        () => {
            #[inline(always)]
            unsafe fn load(from: *const Bf16) -> __m512 {
                // SAFETY: the caller has 16 values there.
                unsafe { widen512(_mm256_loadu_si256(from.cast())) }
            }

            #[inline(always)]
            unsafe fn load_n(from: *const Bf16, n: usize) -> __m512 {
                // SAFETY: the caller has `n` values there; the others are masked out.
                unsafe { widen512(_mm256_maskz_loadu_epi16(mask16(n), from.cast())) }
            }

            #[inline(always)]
            unsafe fn store(to: *mut Bf16, value: __m512) {
                // SAFETY: the caller has room for 16 values there.
                unsafe { _mm256_storeu_si256(to.cast(), Self::narrow(value)) }
            }

            #[inline(always)]
            unsafe fn store_n(to: *mut Bf16, value: __m512, n: usize) {
                // SAFETY: the caller has room for `n` values there; the others are masked out.
                unsafe { _mm256_mask_storeu_epi16(to.cast(), mask16(n), Self::narrow(value)) }
            }
        };
    }

    impl Avx512Bf16 {
        #[inline(always)]
        unsafe fn narrow(value: __m512) -> __m256i {
            // The instruction would turn denormals into zeros; the emulation keeps them. Both are within rounding.
            // SAFETY: the processor has AVX512_BF16; both types are 32 bytes of any value.
            unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value)) }
        }
    }

    impl Avx512SoftBf16 {
        #[inline(always)]
        unsafe fn narrow(value: __m512) -> __m256i {
            // SAFETY: the processor has AVX-512.
            unsafe { narrow512(value) }
        }
    }

    impl Simd for Avx512Bf16 {
        type Elem = Bf16;
        type D = __m512i;
        const STEP: usize = 2;
        const MR: usize = 14;
        avx512_arithmetic!("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,avx512bf16");
        avx512_bf16_memory!();

        #[inline(always)]
        unsafe fn dot_splat(from: *const Bf16) -> __m512i {
            // SAFETY: the caller has two values there, four bytes.
            unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
        }

        #[inline(always)]
        unsafe fn dot_splat_one(from: *const Bf16) -> __m512i {
            // SAFETY: the caller has one value there.
            unsafe { _mm512_set1_epi32(i32::from((*from).0)) }
        }

        #[inline(always)]
        unsafe fn dot_load(from: *const Bf16) -> __m512i {
            // SAFETY: the caller has 32 values there.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        unsafe fn dot(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
            // SAFETY: the processor has AVX512_BF16; all three types are 64 bytes of any value.
            unsafe {
                let a = std::mem::transmute::<__m512i, __m512bh>(a);
                let b = std::mem::transmute::<__m512i, __m512bh>(b);
                _mm512_dpbf16_ps(sum, a, b)
            }
        }
    }

    impl Simd for Avx512SoftBf16 {
        type Elem = Bf16;
        type D = Pair<__m512>;
        const STEP: usize = 2;
        const MR: usize = 8;
        avx512_arithmetic!("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma");
        avx512_bf16_memory!();

        #[inline(always)]
        unsafe fn dot_splat(from: *const Bf16) -> Pair<__m512> {
            // SAFETY: the caller has two values there.
            unsafe {
                Pair(_mm512_set1_ps((*from).to_f32()), _mm512_set1_ps((*from.add(1)).to_f32()))
            }
        }

        #[inline(always)]
        unsafe fn dot_splat_one(from: *const Bf16) -> Pair<__m512> {
            // SAFETY: the caller has one value there.
            unsafe { Pair(_mm512_set1_ps((*from).to_f32()), _mm512_setzero_ps()) }
        }

        #[inline(always)]
        unsafe fn dot_load(from: *const Bf16) -> Pair<__m512> {
            // SAFETY: the caller has 32 values there.
            unsafe {
                let pairs = _mm512_loadu_si512(from.cast());
                let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                Pair(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(odd))
            }
        }

        #[inline(always)]
        unsafe fn dot(sum: __m512, a: Pair<__m512>, b: Pair<__m512>) -> __m512 {
            // SAFETY: the processor has AVX-512.
            unsafe { _mm512_fmadd_ps(a.1, b.1, _mm512_fmadd_ps(a.0, b.0, sum)) }
        }
    }

    #[inline(always)]
    unsafe fn mask8(n: usize) -> __m256i {
        // SAFETY: the processor has AVX2.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
        }
    }

    macro_rules! avx2_arithmetic {
        () => {
            type V = __m256;
            const LANES: usize = 8;

            #[inline(never)]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn enter<T: Task<Elem = Self::Elem>>(task: T) {
                // SAFETY: this function is compiled for the instructions, and only called where they exist.
                unsafe { task.run::<Self>() }
            }

            #[inline(always)]
            unsafe fn splat(value: f32) -> __m256 {
                // SAFETY: the processor has AVX2.
                unsafe { _mm256_set1_ps(value) }
            }

            #[inline(always)]
            unsafe fn load32(from: *const f32) -> __m256 {
                // SAFETY: the caller has 8 values there.
                unsafe { _mm256_loadu_ps(from) }
            }

            #[inline(always)]
            unsafe fn load32_n(from: *const f32, n: usize) -> __m256 {
                // SAFETY: the caller has `n` values there; the others are masked out.
                unsafe { _mm256_maskload_ps(from, mask8(n)) }
            }

            #[inline(always)]
            unsafe fn store32(to: *mut f32, value: __m256) {
                // SAFETY: the caller has room for 8 values there.
                unsafe { _mm256_storeu_ps(to, value) }
            }

            #[inline(always)]
            unsafe fn add(a: __m256, b: __m256) -> __m256 {
                // SAFETY: the processor has AVX2.
                unsafe { _mm256_add_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn sub(a: __m256, b: __m256) -> __m256 {
                // SAFETY: the processor has AVX2.
                unsafe { _mm256_sub_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn mul(a: __m256, b: __m256) -> __m256 {
                // SAFETY: the processor has AVX2.
                unsafe { _mm256_mul_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
                // SAFETY: the processor has FMA.
                unsafe { _mm256_fmadd_ps(a, b, c) }
            }

            #[inline(always)]
            unsafe fn max(a: __m256, b: __m256) -> __m256 {
                // SAFETY: the processor has AVX2.
                unsafe { _mm256_max_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn min(a: __m256, b: __m256) -> __m256 {
                // SAFETY: the processor has AVX2.
                unsafe { _mm256_min_ps(a, b) }
            }
        };
    }

    impl Simd for Avx2F32 {
        type Elem = f32;
        type D = __m256;
        const STEP: usize = 1;
        const MR: usize = 6;
        avx2_arithmetic!();

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: the caller has 8 values there.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_n(from: *const f32, n: usize) -> __m256 {
            // SAFETY: the caller has `n` values there; the others are masked out.
            unsafe { _mm256_maskload_ps(from, mask8(n)) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m256) {
            // SAFETY: the caller has room for 8 values there.
            unsafe { _mm256_storeu_ps(to, value) }
        }

        #[inline(always)]
        unsafe fn store_n(to: *mut f32, value: __m256, n: usize) {
            // SAFETY: the caller has room for `n` values there; the others are masked out.
            unsafe { _mm256_maskstore_ps(to, mask8(n), value) }
        }

        #[inline(always)]
        unsafe fn dot_splat(from: *const f32) -> __m256 {
            // SAFETY: the caller has one value there.
            unsafe { _mm256_set1_ps(from.read()) }
        }

        #[inline(always)]
        unsafe fn dot_splat_one(from: *const f32) -> __m256 {
            // SAFETY: the caller has one value there.
            unsafe { _mm256_set1_ps(from.read()) }
        }

        #[inline(always)]
        unsafe fn dot_load(from: *const f32) -> __m256 {
            // SAFETY: the caller has 8 values there.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn dot(sum: __m256, a: __m256, b: __m256) -> __m256 {
            // SAFETY: the processor has FMA.
            unsafe { _mm256_fmadd_ps(a, b, sum) }
        }
    }

    #[inline(always)]
    unsafe fn widen256(bits: __m128i) -> __m256 {
        // SAFETY: the processor has AVX2.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits))) }
    }

    /// Rounds to nearest even as [`Bf16::from_f32`] does, with integer instructions.
    #[inline(always)]
    unsafe fn narrow256(value: __m256) -> __m128i {
        // SAFETY: the processor has AVX2.
        unsafe {
            let bits = _mm256_castps_si256(value);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
            let kept = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
            let packed = _mm256_packus_epi32(kept, kept);
            _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed))
        }
    }

    impl Simd for Avx2SoftBf16 {
        type Elem = Bf16;
        type D = Pair<__m256>;
        const STEP: usize = 2;
        const MR: usize = 4;
        avx2_arithmetic!();

        #[inline(always)]
        unsafe fn load(from: *const Bf16) -> __m256 {
            // SAFETY: the caller has 8 values there.
            unsafe { widen256(_mm_loadu_si128(from.cast())) }
        }

        #[inline(always)]
        unsafe fn load_n(from: *const Bf16, n: usize) -> __m256 {
            let mut lanes = [Bf16(0); 8];
            // SAFETY: the caller has `n < 8` values there.
            unsafe {
                std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
                widen256(_mm_loadu_si128(lanes.as_ptr().cast()))
            }
        }

        #[inline(always)]
        unsafe fn store(to: *mut Bf16, value: __m256) {
            // SAFETY: the caller has room for 8 values there.
            unsafe { _mm_storeu_si128(to.cast(), narrow256(value)) }
        }

        #[inline(always)]
        unsafe fn store_n(to: *mut Bf16, value: __m256, n: usize) {
            let mut lanes = [Bf16(0); 8];
            // SAFETY: the caller has room for `n < 8` values there.
            unsafe {
                _mm_storeu_si128(lanes.as_mut_ptr().cast(), narrow256(value));
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n);
            }
        }

        #[inline(always)]
        unsafe fn dot_splat(from: *const Bf16) -> Pair<__m256> {
            // SAFETY: the caller has two values there.
            unsafe {
                Pair(_mm256_set1_ps((*from).to_f32()), _mm256_set1_ps((*from.add(1)).to_f32()))
            }
        }

        #[inline(always)]
        unsafe fn dot_splat_one(from: *const Bf16) -> Pair<__m256> {
            // SAFETY: the caller has one value there.
            unsafe { Pair(_mm256_set1_ps((*from).to_f32()), _mm256_setzero_ps()) }
        }

        #[inline(always)]
        unsafe fn dot_load(from: *const Bf16) -> Pair<__m256> {
            // SAFETY: the caller has 16 values there.
            unsafe {
                let pairs = _mm256_loadu_si256(from.cast());
                let odd = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32));
                Pair(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(odd))
            }
        }

        #[inline(always)]
        unsafe fn dot(sum: __m256, a: Pair<__m256>, b: Pair<__m256>) -> __m256 {
            // SAFETY: the processor has FMA.
            unsafe { _mm256_fmadd_ps(a.1, b.1, _mm256_fmadd_ps(a.0, b.0, sum)) }
        }
    }
}
