//! Passes over all values of a map: activations, sums and products.

use taper_kernels::parts::{Ending, SharedMut, check_len, exp, normal};
use taper_kernels::{Activation, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::rows::{load, store};

/// Values that a thread takes at a time.
const BLOCK: usize = 16 << 10;

/// Beyond it, in units of the standard deviation, GELU is 0 or the identity, and so is its
/// derivative 0 or 1.
const LIMIT: f32 = 13.0;

/// 1 / √(2 π).
const DENSITY: f32 = 0.398_942_3;

/// Applies an activation: `out ← f(input)`, of the same length. Needed where the values before the
/// activation are kept, as GELU's gradient asks; otherwise the forward kernels fuse it.
///
/// # Errors
/// [`KernelError::BufferLength`].
pub fn activate(
    class: KernelClass,
    team: &mut Team<'_>,
    activation: Activation,
    input: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_len("activation", "output", out.len(), input.len())?;
    run(class, team, Pass::Activate(activation), input, out);
    Ok(())
}

/// The gradient of what an activation read, in place of that of its output.
///
/// `kept`: for ReLU and ReLU6 their output, whose sign and range say what they let through; for
/// GELU its input. As long as `gradient`. As in torch, nothing passes at 0 and at 6.
///
/// # Errors
/// [`KernelError::BufferLength`].
pub fn activation_gradient(
    class: KernelClass,
    team: &mut Team<'_>,
    activation: Activation,
    kept: &[f32],
    gradient: &mut [f32],
) -> Result<(), KernelError> {
    check_len("activation gradient", "kept", kept.len(), gradient.len())?;
    run(class, team, Pass::Gradient(activation), kept, gradient);
    Ok(())
}

/// `to ← to + from`, of the same length: the gradients of two paths meet.
///
/// # Errors
/// [`KernelError::BufferLength`].
pub fn add(
    class: KernelClass,
    team: &mut Team<'_>,
    from: &[f32],
    to: &mut [f32],
) -> Result<(), KernelError> {
    check_len("addition", "addend", from.len(), to.len())?;
    run(class, team, Pass::Add, from, to);
    Ok(())
}

/// `values ← values · factors`, of the same length: a dropout's mask (0, or 1 / (1 − p)) on values
/// and on their gradients.
///
/// # Errors
/// [`KernelError::BufferLength`].
pub fn multiply(
    class: KernelClass,
    team: &mut Team<'_>,
    factors: &[f32],
    values: &mut [f32],
) -> Result<(), KernelError> {
    check_len("multiplication", "factors", factors.len(), values.len())?;
    run(class, team, Pass::Multiply, factors, values);
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Pass {
    Activate(Activation),
    Gradient(Activation),
    Add,
    Multiply,
}

fn run(class: KernelClass, team: &mut Team<'_>, pass: Pass, from: &[f32], to: &mut [f32]) {
    let len = to.len();
    let to = SharedMut::new(to);
    team.run(len.div_ceil(BLOCK), &|item, _| {
        let first = item * BLOCK;
        let task = Block {
            pass,
            from: from.as_ptr().wrapping_add(first),
            to: to.get().wrapping_add(first),
            len: BLOCK.min(len - first),
        };
        // SAFETY: both hold `len` values from there on, and no other item writes these.
        unsafe { dispatch(class, task) }
    });
}

#[derive(Clone, Copy)]
struct Block {
    pass: Pass,
    from: *const f32,
    to: *mut f32,
    len: usize,
}

impl Task for Block {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let mut at = 0;
        // SAFETY: `at + n ≤ len`, the length of both.
        unsafe {
            while at < self.len {
                let n = S::LANES.min(self.len - at);
                let to = self.to.add(at);
                let from = load::<S>(self.from.add(at), n);
                let value = match self.pass {
                    Pass::Activate(Activation::Gelu) => gelu::<S>(from),
                    Pass::Activate(activation) => {
                        let ending = Ending { activation: Some(activation), ..Ending::none() };
                        ending.apply::<S>(from, 0, n)
                    }
                    Pass::Gradient(Activation::Gelu) => {
                        S::mul(load::<S>(to, n), gelu_slope::<S>(from))
                    }
                    Pass::Gradient(activation) => {
                        let mask = self.from.add(at);
                        let activation = Some(activation);
                        let ending = Ending { activation, mask, ..Ending::none() };
                        ending.apply::<S>(load::<S>(to, n), 0, n)
                    }
                    Pass::Add => S::add(load::<S>(to, n), from),
                    Pass::Multiply => S::mul(load::<S>(to, n), from),
                };
                store::<S>(to, value, n);
                at += n;
            }
        }
    }
}

/// x · Φ(x).
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        // Clamped from below, or −∞ · 6e-8 would give −∞.
        let x = S::max(S::splat(-LIMIT), x);
        S::mul(x, normal::<S>(x))
    }
}

/// The derivative of x · Φ(x): Φ(x) + x · φ(x), to 5e-7.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn gelu_slope<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        let x = S::min(S::splat(LIMIT), S::max(S::splat(-LIMIT), x));
        let density = exp::<S>(S::mul(S::mul(x, x), S::splat(-0.5)));
        S::fma(S::mul(x, S::splat(DENSITY)), density, normal::<S>(x))
    }
}
