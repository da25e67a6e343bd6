//! Plain Rust, for every processor.

use crate::bf16::Bf16;
use crate::instructions::{Element, Pair, Simd, Task};

const PORTABLE: usize = 4;

/// Plain Rust on `f32`.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
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
        unsafe fn div(a: Chunk, b: Chunk) -> Chunk {
            std::array::from_fn(|i| a[i] / b[i])
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

        #[inline(always)]
        unsafe fn select_le(a: Chunk, b: Chunk, x: Chunk, y: Chunk) -> Chunk {
            std::array::from_fn(|i| if a[i] <= b[i] { x[i] } else { y[i] })
        }

        #[inline(always)]
        unsafe fn scale(a: Chunk, n: Chunk) -> Chunk {
            std::array::from_fn(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
        }
    };
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
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
