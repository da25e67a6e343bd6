//! Squeeze and excitation (Hu et al., *Squeeze-and-excitation networks*, 2018).

use crate::ending::Ending;
use crate::error::{bad_shape, check_len, product};
use crate::gelu::{self, sigmoid};
use crate::team::SharedMut;
use crate::{Activation, Element, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

const OPERATION: &str = "squeeze and excitation";

/// Scales each channel of a map by a number between 0 and 1 that two layers make of the means of
/// all channels: x · σ(W₂ · ReLU(W₁ · mean + b₁) + b₂). Sums are in f32, whatever the element type;
/// one picture is one work item.
#[derive(Debug, Clone)]
pub struct SqueezeExcite {
    class: KernelClass,
    pixels: usize,
    channels: usize,
    reduced: usize,
    /// `[reduced, channels]` and `[reduced]`.
    squeeze: (Vec<f32>, Vec<f32>),
    /// `[reduced, channels]`, the second layer's weights turned, and `[channels]`.
    excite: (Vec<f32>, Vec<f32>),
}

impl SqueezeExcite {
    /// For maps of so many pixels and channels. `squeeze`: weight `[reduced, channels]` and bias
    /// `[reduced]`; `excite`: weight `[channels, reduced]` and bias `[channels]`.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] if there is nothing, [`KernelError::BufferLength`] if a tensor has
    /// another length.
    pub fn new(
        class: KernelClass,
        [pixels, channels, reduced]: [usize; 3],
        squeeze: (&[f32], &[f32]),
        excite: (&[f32], &[f32]),
    ) -> Result<Self, KernelError> {
        if pixels == 0 || channels == 0 || reduced == 0 {
            let reason = format!("{pixels} pixels of {channels} channels, reduced to {reduced}");
            return Err(bad_shape(OPERATION, reason));
        }
        let len = product(channels, reduced)?;
        product(pixels, channels)?;
        let mut own = Self {
            class,
            pixels,
            channels,
            reduced,
            squeeze: (vec![0.0; len], vec![0.0; reduced]),
            excite: (vec![0.0; len], vec![0.0; channels]),
        };
        own.set(squeeze, excite)?;
        Ok(own)
    }

    /// Takes over other weights and biases, as [`new`](Self::new).
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] if a tensor has another length.
    pub fn set(
        &mut self,
        squeeze: (&[f32], &[f32]),
        excite: (&[f32], &[f32]),
    ) -> Result<(), KernelError> {
        let (channels, reduced) = (self.channels, self.reduced);
        let len = channels * reduced;
        for (what, found, expected) in [
            ("weight of the first layer", squeeze.0.len(), len),
            ("bias of the first layer", squeeze.1.len(), reduced),
            ("weight of the second layer", excite.0.len(), len),
            ("bias of the second layer", excite.1.len(), channels),
        ] {
            check_len(OPERATION, what, found, expected)?;
        }
        self.squeeze.0.copy_from_slice(squeeze.0);
        self.squeeze.1.copy_from_slice(squeeze.1);
        self.excite.1.copy_from_slice(excite.1);
        for (at, to) in self.excite.0.iter_mut().enumerate() {
            *to = excite.0[at % channels * reduced + at / channels];
        }
        Ok(())
    }

    /// Pixels of a map.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// Channels of a map.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Numbers between the two layers.
    #[must_use]
    pub fn reduced(&self) -> usize {
        self.reduced
    }

    /// Bytes of the weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let numbers = 2 * self.channels * self.reduced + self.channels + self.reduced;
        numbers * size_of::<f32>()
    }

    /// Floating-point operations of one picture.
    #[must_use]
    pub fn flops(&self) -> u64 {
        (2 * self.pixels * self.channels + 4 * self.channels * self.reduced) as u64
    }

    /// Scratch values (f32) that each thread of the team needs.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        2 * self.channels
    }

    /// Scales `n` maps: `input` and `out` are `[n, pixels, channels]`; the activation comes last.
    /// The result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`] or [`KernelError::ScratchTooSmall`]; nothing has been written
    /// then.
    pub fn run<E: Element>(
        &self,
        team: &mut Team<'_>,
        n: usize,
        input: &[E],
        activation: Option<Activation>,
        out: &mut [E],
    ) -> Result<(), KernelError> {
        let len = product(n, self.pixels * self.channels)?;
        check_len(OPERATION, "input", input.len(), len)?;
        check_len(OPERATION, "output", out.len(), len)?;
        team.check(OPERATION, self.scratch_len())?;
        let to = SharedMut::new(out);
        team.run(n, &|picture, scratch| {
            let first = picture * self.pixels * self.channels;
            let task = Picture {
                kernel: self,
                input: input.as_ptr().wrapping_add(first),
                scratch: scratch.as_mut_ptr(),
                ending: Ending { activation, ..Ending::none() },
                out: to.get().wrapping_add(first),
            };
            // SAFETY: the picture's part of both buffers is as long as just checked, and written by
            // this item only; so is the thread's scratch.
            unsafe { dispatch(self.class, task) }
        });
        if let Some(activation) = activation.filter(|own| !own.is_clamp()) {
            gelu::run(self.class, team, activation, out);
        }
        Ok(())
    }

    /// The factor of each channel for each of `n` maps, `[n, channels]`, and with it what is
    /// between the layers, `[n, reduced]`, and the means, `[n, channels]`: what a gradient needs.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`].
    pub fn factors(
        &self,
        n: usize,
        input: &[f32],
        [factors, between, means]: [&mut [f32]; 3],
    ) -> Result<(), KernelError> {
        let map = self.pixels * self.channels;
        check_len(OPERATION, "input", input.len(), product(n, map)?)?;
        check_len(OPERATION, "factors", factors.len(), product(n, self.channels)?)?;
        check_len(OPERATION, "means", means.len(), product(n, self.channels)?)?;
        check_len(OPERATION, "layer between", between.len(), product(n, self.reduced)?)?;
        for picture in 0..n {
            let at = picture * self.channels;
            let task = Factors {
                kernel: self,
                input: input.as_ptr().wrapping_add(picture * map),
                means: means.as_mut_ptr().wrapping_add(at),
                between: between.as_mut_ptr().wrapping_add(picture * self.reduced),
                factors: factors.as_mut_ptr().wrapping_add(at),
            };
            // SAFETY: the picture's parts are as long as just checked.
            unsafe { dispatch(self.class, task) }
        }
        Ok(())
    }
}

/// The whole of one picture.
#[derive(Clone, Copy)]
struct Picture<'a, E: Element> {
    kernel: &'a SqueezeExcite,
    input: *const E,
    /// Means, then factors.
    scratch: *mut f32,
    ending: Ending<E>,
    out: *mut E,
}

impl<E: Element> Task for Picture<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let Self { kernel, input, scratch, ending, out } = self;
        let (pixels, channels) = (kernel.pixels, kernel.channels);
        // SAFETY: the map has `pixels · channels` values, as the output; `scratch` has room for two
        // rows of channels.
        unsafe {
            let (means, factors) = (scratch, scratch.add(channels));
            let own = Factors { kernel, input, means, between: std::ptr::null_mut(), factors };
            own.run::<S>();
            let mut at = 0;
            while at < channels {
                let n = S::LANES.min(channels - at);
                let factor = load32::<S>(factors.add(at), n);
                for pixel in 0..pixels {
                    let value = load::<S>(input.add(pixel * channels + at), n);
                    let value = ending.apply::<S>(S::mul(value, factor), 0, n);
                    store::<S>(out.add(pixel * channels + at), value, n);
                }
                at += n;
            }
        }
    }
}

/// The factors of one picture.
#[derive(Clone, Copy)]
struct Factors<'a, E: Element> {
    kernel: &'a SqueezeExcite,
    input: *const E,
    means: *mut f32,
    /// Null, or where what is between the layers goes.
    between: *mut f32,
    factors: *mut f32,
}

impl<E: Element> Task for Factors<'_, E> {
    type Elem = E;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = E>>(self) {
        let Self { kernel, input, means, between, factors } = self;
        let SqueezeExcite { pixels, channels, .. } = *kernel;
        let ((first, first_bias), (second, second_bias)) = (&kernel.squeeze, &kernel.excite);
        // SAFETY: the map has `pixels · channels` values, the rows of means and factors `channels`,
        // `between`, unless null, `reduced`; the weights have rows of channels.
        unsafe {
            let mut at = 0;
            while at < channels {
                let n = S::LANES.min(channels - at);
                let mut sum = S::splat(0.0);
                for pixel in 0..pixels {
                    sum = S::add(sum, load::<S>(input.add(pixel * channels + at), n));
                }
                store32::<S>(means.add(at), S::mul(sum, S::splat(1.0 / pixels as f32)), n);
                store32::<S>(factors.add(at), load32::<S>(second_bias.as_ptr().add(at), n), n);
                at += n;
            }
            for (row, bias) in first_bias.iter().enumerate() {
                let weights = first.as_ptr().add(row * channels);
                let mut sums = S::splat(0.0);
                let mut at = 0;
                while at < channels {
                    let n = S::LANES.min(channels - at);
                    let product = (load32::<S>(weights.add(at), n), load32::<S>(means.add(at), n));
                    sums = S::fma(product.0, product.1, sums);
                    at += n;
                }
                let mut lanes = [0f32; 16];
                S::store32(lanes.as_mut_ptr(), sums);
                let value = (lanes.iter().sum::<f32>() + bias).max(0.0);
                if !between.is_null() {
                    between.add(row).write(value);
                }
                let (weights, value) = (second.as_ptr().add(row * channels), S::splat(value));
                let mut at = 0;
                while at < channels {
                    let n = S::LANES.min(channels - at);
                    let sum = load32::<S>(factors.add(at), n);
                    let sum = S::fma(load32::<S>(weights.add(at), n), value, sum);
                    store32::<S>(factors.add(at), sum, n);
                    at += n;
                }
            }
            let mut at = 0;
            while at < channels {
                let n = S::LANES.min(channels - at);
                let value = sigmoid::<S>(load32::<S>(factors.add(at), n));
                store32::<S>(factors.add(at), value, n);
                at += n;
            }
        }
    }
}

/// The first `n ≤ LANES` lanes from memory.
///
/// # Safety
/// The processor has the instructions of `S`; the pointer is good for `n` values.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const S::Elem, n: usize) -> S::V {
    // SAFETY: as the caller's.
    unsafe { if n == S::LANES { S::load(from) } else { S::load_n(from, n) } }
}

/// The first `n ≤ LANES` lanes to memory.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
unsafe fn store<S: Simd>(to: *mut S::Elem, value: S::V, n: usize) {
    // SAFETY: as the caller's.
    unsafe { if n == S::LANES { S::store(to, value) } else { S::store_n(to, value, n) } }
}

/// [`load`] of f32, whatever the elements are.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
unsafe fn load32<S: Simd>(from: *const f32, n: usize) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        if n == S::LANES {
            return S::load32(from);
        }
        let mut lanes = [0f32; 16];
        std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
        S::load32(lanes.as_ptr())
    }
}

/// [`store`] of f32, whatever the elements are.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
unsafe fn store32<S: Simd>(to: *mut f32, value: S::V, n: usize) {
    const { assert!(S::LANES <= 16) };
    // SAFETY: as the caller's.
    unsafe {
        if n == S::LANES {
            return S::store32(to, value);
        }
        let mut lanes = [0f32; 16];
        S::store32(lanes.as_mut_ptr(), value);
        std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n);
    }
}
