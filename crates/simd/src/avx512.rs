//! AVX-512. Masked loads and stores touch no byte of a lane that is masked out.

use std::arch::x86_64::*;

use crate::bf16::Bf16;
use crate::instructions::{Pair, Simd, Task};

#[derive(Clone, Copy)]
pub struct Avx512F32;
/// bf16 products through `vdpbf16ps`.
#[derive(Clone, Copy)]
pub struct Avx512Bf16;
/// bf16 products as two f32 products.
#[derive(Clone, Copy)]
pub struct Avx512SoftBf16;
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
            // SAFETY: this function is compiled for the instructions, and only called where they
            // exist.
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
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the processor has AVX-512.
            unsafe { _mm512_div_ps(a, b) }
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

        #[inline(always)]
        unsafe fn select_le(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
            // SAFETY: the processor has AVX-512.
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b), y, x) }
        }

        #[inline(always)]
        unsafe fn scale(a: __m512, n: __m512) -> __m512 {
            // SAFETY: the processor has AVX-512.
            unsafe { _mm512_scalef_ps(a, n) }
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
        // The instruction would turn denormals into zeros; the emulation keeps them. Both are
        // within rounding. SAFETY: the processor has AVX512_BF16; both types are 32 bytes of any
        // value.
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
        unsafe { Pair(_mm512_set1_ps((*from).to_f32()), _mm512_set1_ps((*from.add(1)).to_f32())) }
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
