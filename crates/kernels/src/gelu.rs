//! The Gaussian error linear unit, x · Φ(x) with the exact Φ (Hendrycks and Gimpel, *Gaussian Error
//! Linear Units*, 2016), and its approximations.

use crate::softmax::exp;
use crate::team::SharedMut;
use crate::{Activation, Element, KernelClass, Team};
use taper_simd::{Simd, Task, dispatch};

/// Beyond it, Φ is 0 or 1 to 6e-8.
const LIMIT: f32 = 5.3;

/// (Φ(x) − ½) / x as a polynomial of u = 2 x² / LIMIT² − 1, constant term first: a Chebyshev fit of
/// degree 14, with an error of at most 2.3e-8. In u, which lies in [−1, 1], nothing cancels: in f32
/// the error of x · Φ(x) is at most 9e-7, and 6e-7 of its size for |x| < 1.
const POLYNOMIAL: [f32; 15] = [
    0.133_392_56,
    -0.066_518_5,
    0.049_264_092,
    -0.039_589_07,
    0.032_080_743,
    -0.025_297_234,
    0.018_918_281,
    -0.013_188_873,
    0.008_850_069,
    -0.005_844_539_5,
    0.003_102_843_4,
    -0.001_099_253_1,
    0.000_755_033_86,
    -0.000_763_820_83,
    0.000_277_282_96,
];

/// Values that a thread takes at a time.
const BLOCK: usize = 8192;

/// Replaces every value by what an activation that is no clamp makes of it, where that could not be
/// part of the loop that computed the values.
pub(crate) fn run<E: Element>(
    class: KernelClass,
    team: &mut Team<'_>,
    activation: Activation,
    values: &mut [E],
) {
    let len = values.len();
    let values = SharedMut::new(values);
    team.run(len.div_ceil(BLOCK), &|item, _| {
        let start = item * BLOCK;
        let (values, len) = (values.get().wrapping_add(start), BLOCK.min(len - start));
        let task = Block { activation, values, len };
        // SAFETY: the block lies within the values, and no other item touches it.
        unsafe { dispatch(class, task) }
    });
}

#[derive(Clone, Copy)]
struct Block<E: Element> {
    activation: Activation,
    values: *mut E,
    len: usize,
}

impl<E: Element> Task for Block<E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let mut at = 0;
        // SAFETY: `at + LANES ≤ len` in the loop, `at + (len − at) = len` behind it.
        unsafe {
            while at + S::LANES <= self.len {
                let value = self.values.add(at);
                S::store(value, smooth::<S>(self.activation, S::load(value)));
                at += S::LANES;
            }
            if at < self.len {
                let value = self.values.add(at);
                let rest = self.len - at;
                S::store_n(value, smooth::<S>(self.activation, S::load_n(value, rest)), rest);
            }
        }
    }
}

/// An activation; those that are clamps leave the value as it is.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub unsafe fn smooth<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        match activation {
            Activation::Relu | Activation::Relu6 => x,
            Activation::Gelu => gelu::<S>(x),
            Activation::QuickGelu | Activation::GeluTanh => {
                // Beyond it, the result is 0 to 1e-36; −∞ · 0 would give no number.
                let x = S::max(S::splat(-SIGMOID_LIMIT), x);
                S::mul(x, sigmoid::<S>(argument::<S>(activation, x)))
            }
        }
    }
}

/// Below it, x · σ(1.6 x) is 0.
const SIGMOID_LIMIT: f32 = 54.0;

/// GELU's approximation by tanh, as a sigmoid of a x + b x³.
pub const GELU_TANH: [f32; 2] = [1.595_769_2, 1.595_769_2 * 0.044_715];

/// QuickGELU is a sigmoid of this multiple.
pub const QUICK_GELU: f32 = 1.702;

/// What the sigmoid in an approximation of GELU is of.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn argument<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        match activation {
            Activation::GeluTanh => {
                let factor = S::fma(S::mul(x, x), S::splat(GELU_TANH[1]), S::splat(GELU_TANH[0]));
                S::mul(x, factor)
            }
            _ => S::mul(x, S::splat(QUICK_GELU)),
        }
    }
}

/// 1 / (1 + exp(−x)), to 3e-7 of its size.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let small = exp::<S>(S::min(S::sub(zero, x), x));
        S::div(S::select_le(zero, x, one, small), S::add(one, small))
    }
}

/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        // Clamped from below, or −∞ · 6e-8 would give −∞.
        let x = S::max(S::splat(-LIMIT), x);
        S::mul(normal::<S>(x), x)
    }
}

/// Φ, the distribution function of the standard normal distribution, to 1.2e-7.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub unsafe fn normal<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        let inside = S::min(S::splat(LIMIT), S::max(S::splat(-LIMIT), x));
        let u = S::fma(S::mul(inside, inside), S::splat(2.0 / (LIMIT * LIMIT)), S::splat(-1.0));
        let mut sum = S::splat(POLYNOMIAL[14]);
        for &coefficient in POLYNOMIAL[..14].iter().rev() {
            sum = S::fma(sum, u, S::splat(coefficient));
        }
        S::fma(inside, sum, S::splat(0.5))
    }
}
