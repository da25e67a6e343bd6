//! What happens to a sum before it is stored.

use crate::filter::Epilogue;
use crate::{Activation, Element};
use taper_simd::Simd;

/// An [`Epilogue`] as pointers, from some value of the output on.
#[derive(Debug, Clone, Copy)]
pub struct Ending<E: Element> {
    /// Null, or values to add.
    pub residual: *const E,
    /// Null, or outputs of the activation, whose derivative is then applied in its place.
    pub mask: *const E,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl<E: Element> Ending<E> {
    /// The sum as it is.
    #[must_use]
    pub fn none() -> Self {
        Self { residual: std::ptr::null(), mask: std::ptr::null(), activation: None }
    }

    /// Of an epilogue; the pointers are good as long as its slices.
    #[must_use]
    pub fn new(epilogue: Epilogue<'_, E>) -> Self {
        Self {
            residual: epilogue.residual.map_or(std::ptr::null(), <[E]>::as_ptr),
            mask: epilogue.mask.map_or(std::ptr::null(), <[E]>::as_ptr),
            activation: epilogue.activation,
        }
    }

    /// From another value of the output on.
    #[must_use]
    #[inline(always)]
    pub fn from(self, at: usize) -> Self {
        let step = |pointer: *const E| {
            if pointer.is_null() { pointer } else { pointer.wrapping_add(at) }
        };
        Self { residual: step(self.residual), mask: step(self.mask), ..self }
    }

    /// The sum for `n ≤ LANES` values from `at` on, as it is to be stored. Activations
    /// that are no clamps are left out.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; the pointers that are not null hold these values.
    #[must_use]
    #[inline(always)]
    pub unsafe fn apply<S: Simd<Elem = E>>(&self, sum: S::V, at: usize, n: usize) -> S::V {
        // SAFETY: passed on to the caller.
        unsafe {
            let mut sum = sum;
            if !self.residual.is_null() {
                sum = S::add(sum, load::<S>(self.residual.add(at), n));
            }
            if self.mask.is_null() {
                activate::<S>(self.activation, sum)
            } else {
                keep::<S>(self.activation, sum, load::<S>(self.mask.add(at), n))
            }
        }
    }
}

/// No closure does this: it would not have the instructions of `S`.
///
/// # Safety
/// The processor has the instructions of `S`; `n ≤ LANES` values are readable.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const S::Elem, n: usize) -> S::V {
    // SAFETY: as the caller's.
    unsafe { if n == S::LANES { S::load(from) } else { S::load_n(from, n) } }
}

/// An activation as a clamp, if it is one.
#[inline(always)]
pub(crate) fn limits(activation: Option<Activation>) -> (f32, f32) {
    match activation {
        Some(Activation::Relu) => (0.0, f32::INFINITY),
        Some(Activation::Relu6) => (0.0, 6.0),
        None | Some(Activation::Gelu | Activation::QuickGelu | Activation::GeluTanh) => {
            (f32::NEG_INFINITY, f32::INFINITY)
        }
    }
}

/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn activate<S: Simd>(activation: Option<Activation>, value: S::V) -> S::V {
    let (low, high) = limits(activation);
    // SAFETY: arithmetic only.
    unsafe { S::min(S::splat(high), S::max(S::splat(low), value)) }
}

/// The value where `output` lies strictly within the range of a clamp, and 0 elsewhere, as torch's
/// `threshold_backward` and `hardtanh_backward`.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn keep<S: Simd>(activation: Option<Activation>, value: S::V, output: S::V) -> S::V {
    // Nothing is beyond a NaN.
    let (low, high) = match activation {
        Some(Activation::Relu) => (0.0, f32::NAN),
        Some(Activation::Relu6) => (0.0, 6.0),
        None | Some(Activation::Gelu | Activation::QuickGelu | Activation::GeluTanh) => {
            (f32::NAN, f32::NAN)
        }
    };
    // SAFETY: arithmetic only.
    unsafe {
        let zero = S::splat(0.0);
        let value = S::select_le(S::splat(high), output, zero, value);
        S::select_le(output, S::splat(low), zero, value)
    }
}
