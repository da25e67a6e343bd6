//! AVX2. Masked loads and stores touch no byte of a lane that is masked out.

use std::arch::x86_64::*;

use crate::bf16::Bf16;
use crate::instructions::{Pair, Simd, Task};

#[derive(Clone, Copy)]
pub struct Avx2F32;
/// bf16 products as two f32 products.
#[derive(Clone, Copy)]
pub struct Avx2SoftBf16;

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
            // SAFETY: this function is compiled for the instructions, and only called where they
            // exist.
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
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the processor has AVX2.
            unsafe { _mm256_div_ps(a, b) }
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

        #[inline(always)]
        unsafe fn select_le(a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
            // SAFETY: the processor has AVX2.
            unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LE_OQ>(a, b)) }
        }

        #[inline(always)]
        unsafe fn scale(a: __m256, n: __m256) -> __m256 {
            // SAFETY: the processor has AVX2.
            unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
            }
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
        unsafe { Pair(_mm256_set1_ps((*from).to_f32()), _mm256_set1_ps((*from.add(1)).to_f32())) }
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
