//! Gradients of layer normalisation (Ba, Kiros and Hinton, *Layer Normalization*, 2016).

use taper_kernels::parts::{SharedMut, bad_shape, check_len};
use taper_kernels::{KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::batch_norm::Affine;
use crate::checks::check_shared;
use crate::partial::add_up;
use crate::rows::{across, clear, load, store};

const OPERATION: &str = "gradient of layer normalisation";

/// Rows whose sums are one part.
const ROWS: usize = 64;

/// The gradients of a layer norm, as [`taper_kernels::LayerNorm`] computes it. Mean and variance of
/// each row are computed again from the input, which takes less time than to read them would take
/// memory.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormGradient {
    class: KernelClass,
    channels: usize,
    eps: f32,
}

impl LayerNormGradient {
    /// For rows of `channels` values; `eps` is added to the variance.
    ///
    /// # Errors
    /// [`KernelError::BadShape`] without channels.
    pub fn new(class: KernelClass, channels: usize, eps: f32) -> Result<Self, KernelError> {
        if channels == 0 {
            return Err(bad_shape(OPERATION, "no channels".to_owned()));
        }
        Ok(Self { class, channels, eps })
    }

    /// Values (f32) that all threads share.
    #[must_use]
    pub fn shared_len(&self, rows: usize) -> usize {
        (2 * rows.div_ceil(ROWS) + 2) * self.channels
    }

    /// The gradients of input, scale and bias.
    ///
    /// `input`: `[rows, channels]`, what was normalised; `scale`: `[channels]`; `gradient`: that of
    /// the output, replaced by that of the input, to which `residual`, of the same shape, is added.
    /// `shared`: at least [`shared_len`](Self::shared_len) values.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`], [`KernelError::BadShape`] if `shared` is too short.
    pub fn run(
        &self,
        team: &mut Team<'_>,
        shared: &mut [f32],
        [input, scale]: [&[f32]; 2],
        residual: Option<&[f32]>,
        gradient: &mut [f32],
        into: Affine<'_>,
    ) -> Result<(), KernelError> {
        let channels = self.channels;
        let rows = gradient.len() / channels;
        let len = rows * channels;
        check_len(OPERATION, "gradient", gradient.len(), len)?;
        check_len(OPERATION, "input", input.len(), len)?;
        check_len(OPERATION, "scale", scale.len(), channels)?;
        check_len(OPERATION, "residual", residual.map_or(len, <[f32]>::len), len)?;
        check_len(OPERATION, "scale gradient", into.scale.len(), channels)?;
        check_len(OPERATION, "bias gradient", into.bias.len(), channels)?;
        let needed = self.shared_len(rows);
        check_shared(OPERATION, shared.len(), needed)?;
        let parts = rows.div_ceil(ROWS);
        let (totals, sums) = shared[..needed].split_at_mut(2 * channels);
        {
            let sums = SharedMut::new(&mut *sums);
            let gradient = SharedMut::new(gradient);
            team.run(parts, &|item, _| {
                let start = item * ROWS * channels;
                let task = Rows {
                    input: input.as_ptr().wrapping_add(start),
                    scale: scale.as_ptr(),
                    residual: residual.map_or(std::ptr::null(), |r| r.as_ptr().wrapping_add(start)),
                    gradient: gradient.get().wrapping_add(start),
                    rows: ROWS.min(rows - item * ROWS),
                    channels,
                    eps: self.eps,
                    out: sums.get().wrapping_add(item * 2 * channels),
                };
                // SAFETY: the rows lie within all buffers; each item writes rows and sums of its
                // own.
                unsafe { dispatch(self.class, task) }
            });
        }
        add_up(self.class, team, sums, parts, false, totals);
        let (scales, biases) = totals.split_at(channels);
        for (to, values) in [(into.scale, scales), (into.bias, biases)] {
            add_up(self.class, team, values, 1, into.accumulate, to);
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Rows {
    input: *const f32,
    scale: *const f32,
    /// Null, or what is added to the input's gradient.
    residual: *const f32,
    gradient: *mut f32,
    rows: usize,
    channels: usize,
    eps: f32,
    /// `[2][channels]`: sums of the gradients times the normalised values, and of the gradients.
    out: *mut f32,
}

impl Task for Rows {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let share = 1.0 / self.channels as f32;
        // SAFETY: rows, scale and sums hold `channels` values.
        unsafe {
            clear::<S>(self.out, 2 * self.channels);
            for row in 0..self.rows {
                let x = self.input.add(row * self.channels);
                let g = self.gradient.add(row * self.channels);
                let (mean, factor) = self.moments::<S>(x, share);
                // Sums over the row of scaled gradients, and of their products with the normalised
                // values; those over the rows along the way.
                let (mut sum, mut product) = (S::splat(0.0), S::splat(0.0));
                let mut at = 0;
                while at < self.channels {
                    let n = S::LANES.min(self.channels - at);
                    let normal = S::mul(S::sub(load::<S>(x.add(at), n), mean), factor);
                    let gradient = load::<S>(g.add(at), n);
                    let scaled = S::mul(gradient, load::<S>(self.scale.add(at), n));
                    sum = S::add(sum, scaled);
                    product = S::fma(scaled, normal, product);
                    let to = self.out.add(at);
                    store::<S>(to, S::fma(gradient, normal, load::<S>(to, n)), n);
                    let to = self.out.add(self.channels + at);
                    store::<S>(to, S::add(load::<S>(to, n), gradient), n);
                    at += n;
                }
                let sum = S::splat(across::<S>(sum) * share);
                let product = S::splat(-across::<S>(product) * share);
                let mut at = 0;
                while at < self.channels {
                    let n = S::LANES.min(self.channels - at);
                    let normal = S::mul(S::sub(load::<S>(x.add(at), n), mean), factor);
                    let scaled = S::mul(load::<S>(g.add(at), n), load::<S>(self.scale.add(at), n));
                    let value = S::mul(factor, S::fma(normal, product, S::sub(scaled, sum)));
                    let value = if self.residual.is_null() {
                        value
                    } else {
                        S::add(value, load::<S>(self.residual.add(row * self.channels + at), n))
                    };
                    store::<S>(g.add(at), value, n);
                    at += n;
                }
            }
        }
    }
}

impl Rows {
    /// Mean and 1 / √(variance + ε) of a row, in all lanes.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn moments<S: Simd<Elem = f32>>(self, x: *const f32, share: f32) -> (S::V, S::V) {
        // SAFETY: the row holds `channels` values; lanes beyond them are 0 in the sum, and added
        // one by one in the squares.
        unsafe {
            let mut sum = S::splat(0.0);
            let mut at = 0;
            while at < self.channels {
                let n = S::LANES.min(self.channels - at);
                sum = S::add(sum, load::<S>(x.add(at), n));
                at += n;
            }
            let mean = across::<S>(sum) * share;
            let mut squares = S::splat(0.0);
            let mut at = 0;
            while at + S::LANES <= self.channels {
                let d = S::sub(S::load(x.add(at)), S::splat(mean));
                squares = S::fma(d, d, squares);
                at += S::LANES;
            }
            let mut square = across::<S>(squares);
            for at in at..self.channels {
                square += (*x.add(at) - mean) * (*x.add(at) - mean);
            }
            (S::splat(mean), S::splat(1.0 / (square * share + self.eps).sqrt()))
        }
    }
}
