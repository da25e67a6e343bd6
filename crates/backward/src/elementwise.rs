//! Passes over all values of a map: activations, sums and products.

use taper_kernels::parts::{
    Ending, GELU_TANH, QUICK_GELU, SharedMut, check_len, exp, normal, sigmoid, smooth,
};
use taper_kernels::{Activation, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::rows::{load, store};

/// Values that a thread takes at a time.
const BLOCK: usize = 16 << 10;

/// Beyond it, GELU and its approximations are 0 or the identity, and so is their derivative 0 or 1.
const LIMIT: f32 = 13.0;

/// 1 / √(2 π).
const DENSITY: f32 = 0.398_942_3;

/// Applies an activation: `out ← f(input)`, of the same length. Needed where the values before the
/// activation are kept, as the gradient of GELU and the like asks; otherwise the forward kernels
/// fuse it.
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
/// GELU and its approximations their input. As long as `gradient`. As in torch, nothing passes at 0
/// and at 6.
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
                    Pass::Activate(activation) if !activation.is_clamp() => {
                        smooth::<S>(activation, from)
                    }
                    Pass::Activate(activation) => {
                        let ending = Ending { activation: Some(activation), ..Ending::none() };
                        ending.apply::<S>(from, 0, n)
                    }
                    Pass::Gradient(activation) if !activation.is_clamp() => {
                        S::mul(load::<S>(to, n), slope::<S>(activation, from))
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

/// The derivative of an activation that is no clamp.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn slope<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        let x = S::min(S::splat(LIMIT), S::max(S::splat(-LIMIT), x));
        match activation {
            Activation::QuickGelu => {
                let argument = S::mul(x, S::splat(QUICK_GELU));
                sigmoid_slope::<S>(argument, argument)
            }
            Activation::GeluTanh => {
                let square = S::mul(x, x);
                let [first, third] = GELU_TANH.map(|c| S::splat(c));
                let argument = S::mul(x, S::fma(square, third, first));
                let cubic = S::mul(square, S::mul(third, S::splat(3.0)));
                sigmoid_slope::<S>(argument, S::mul(x, S::add(cubic, first)))
            }
            _ => gelu_slope::<S>(x),
        }
    }
}

/// The derivative of x · σ(a(x)), from a(x) and x · a′(x): σ + x · a′ · σ · (1 − σ).
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn sigmoid_slope<S: Simd>(argument: S::V, growth: S::V) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        let share = sigmoid::<S>(argument);
        let rest = S::sub(S::splat(1.0), share);
        S::fma(S::mul(growth, share), rest, share)
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
        let density = exp::<S>(S::mul(S::mul(x, x), S::splat(-0.5)));
        S::fma(S::mul(x, S::splat(DENSITY)), density, normal::<S>(x))
    }
}
