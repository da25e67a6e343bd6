//! Batch normalisation with the batch's statistics or with fixed ones (Ioffe and Szegedy, *Batch
//! Normalization*, 2015).

use taper_kernels::parts::{Ending, SharedMut, bad_shape, check_len};
use taper_kernels::{Activation, Epilogue, KernelClass, KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::checks::check_shared;
use crate::partial::add_up;
use crate::rows::{load, store};

const OPERATION: &str = "batch normalisation";

/// Values whose sums are one part.
const PART: usize = 32 << 10;

/// What a batch norm computes with: `[channels]` each.
#[derive(Debug, Clone, Copy)]
pub struct NormParameters<'a> {
    /// The means.
    pub mean: &'a [f32],
    /// The biased variances: the mean squares of the differences from the mean.
    pub variance: &'a [f32],
    /// The learned factors.
    pub scale: &'a [f32],
    /// The learned terms.
    pub bias: &'a [f32],
}

/// What a batch norm computed, as [`BatchNorm::gradient`] needs it.
#[derive(Debug, Clone, Copy)]
pub struct Normalised<'a> {
    /// What it read, `[rows, channels]`.
    pub input: &'a [f32],
    /// What it computed with.
    pub parameters: NormParameters<'a>,
    /// Whether mean and variance are constants, not functions of the input.
    pub fixed: bool,
    /// The activation (ReLU or ReLU6) that followed, and its outputs, `[rows, channels]`.
    pub mask: Option<(Activation, &'a [f32])>,
}

/// Where the gradients of a norm's scale and bias go: `[channels]` each.
#[derive(Debug)]
pub struct Affine<'a> {
    /// Of the scale.
    pub scale: &'a mut [f32],
    /// Of the bias.
    pub bias: &'a mut [f32],
    /// Whether to add to what is there.
    pub accumulate: bool,
}

/// Normalises rows of channels, `(x − mean) / √(variance + ε) · scale + bias`, and computes the
/// gradients.
///
/// Rows are the pixels of all pictures: `n · height · width` of them. With the statistics of the
/// batch it is PyTorch's `BatchNorm2d` in training; with those of the pretrained network
/// (`fixed`), a scale and a shift. In the second case no kernel is needed at all if the norm is
/// folded into the convolution before it: [`fold`](Self::fold).
///
/// Each sum is divided into parts by the shape alone, which are added up in a fixed order.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm {
    class: KernelClass,
    channels: usize,
    eps: f32,
}

impl BatchNorm {
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

    /// Rows of a part.
    fn part(&self) -> usize {
        (PART / self.channels).max(1)
    }

    /// Values (f32) that all threads share in [`statistics`](Self::statistics) and in
    /// [`gradient`](Self::gradient).
    #[must_use]
    pub fn shared_len(&self, rows: usize) -> usize {
        (2 * rows.div_ceil(self.part()) + 5) * self.channels
    }

    fn check(&self, buffers: &[(&'static str, usize, usize)]) -> Result<(), KernelError> {
        buffers
            .iter()
            .try_for_each(|&(buffer, actual, wanted)| check_len(OPERATION, buffer, actual, wanted))
    }

    /// Mean and biased variance of each channel of `input`, `[rows, channels]`, in one pass over
    /// memory: parts are summed up on their own and joined in f64 (Chan, Golub and LeVeque,
    /// *Updating formulae and a pairwise algorithm for computing sample variances*, 1979).
    ///
    /// # Errors
    /// [`KernelError::BadShape`] without rows or if `shared` is too short,
    /// [`KernelError::BufferLength`].
    pub fn statistics(
        &self,
        team: &mut Team<'_>,
        shared: &mut [f32],
        input: &[f32],
        mean: &mut [f32],
        variance: &mut [f32],
    ) -> Result<(), KernelError> {
        let channels = self.channels;
        let rows = input.len() / channels;
        if rows == 0 {
            return Err(bad_shape(OPERATION, "no rows".to_owned()));
        }
        self.check(&[
            ("input", input.len(), rows * channels),
            ("mean", mean.len(), channels),
            ("variance", variance.len(), channels),
        ])?;
        check_shared(OPERATION, shared.len(), self.shared_len(rows))?;
        let part = self.part();
        let parts = rows.div_ceil(part);
        let sums = SharedMut::new(shared);
        team.run(parts, &|item, _| {
            let task = Moments {
                input: input.as_ptr().wrapping_add(item * part * channels),
                rows: part.min(rows - item * part),
                channels,
                out: sums.get().wrapping_add(item * 2 * channels),
            };
            // SAFETY: the rows lie within the input; each item writes sums of its own, for which
            // there is room.
            unsafe { dispatch(self.class, task) }
        });
        for channel in 0..channels {
            let (mut count, mut average, mut squares) = (0.0, 0.0, 0.0);
            for item in 0..parts {
                let more = part.min(rows - item * part) as f64;
                let at = item * 2 * channels + channel;
                let (other, other_squares) =
                    (f64::from(shared[at]), f64::from(shared[at + channels]));
                let (difference, total) = (other - average, count + more);
                average += difference * more / total;
                squares += other_squares + difference * difference * count * more / total;
                count = total;
            }
            mean[channel] = average as f32;
            variance[channel] = (squares / count) as f32;
        }
        Ok(())
    }

    pub(crate) fn class(&self) -> KernelClass {
        self.class
    }

    pub(crate) fn check_parameters(&self, of: &NormParameters<'_>) -> Result<(), KernelError> {
        self.check(&[
            ("mean", of.mean.len(), self.channels),
            ("variance", of.variance.len(), self.channels),
            ("scale", of.scale.len(), self.channels),
            ("bias", of.bias.len(), self.channels),
        ])
    }

    /// 1 / √(variance + ε).
    pub(crate) fn factor(&self, variance: f32) -> f32 {
        (1.0 / (f64::from(variance) + f64::from(self.eps)).sqrt()) as f32
    }

    /// Normalises: `out ← activation((x − mean) / √(variance + ε) · scale + bias + residual)`.
    ///
    /// `input`, `out` and the residual: `[rows, channels]`. The epilogue has no mask. `shared`: at
    /// least `2 · channels` values.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`], and [`KernelError::BadShape`] if `shared` is too short, for a
    /// mask, and for GELU, which the epilogue does not know.
    pub fn run(
        &self,
        team: &mut Team<'_>,
        shared: &mut [f32],
        input: &[f32],
        parameters: &NormParameters<'_>,
        epilogue: Epilogue<'_, f32>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let channels = self.channels;
        let rows = input.len() / channels;
        let len = rows * channels;
        self.check_parameters(parameters)?;
        self.check(&[
            ("input", input.len(), len),
            ("residual", epilogue.residual.map_or(len, <[f32]>::len), len),
            ("output", out.len(), len),
        ])?;
        if epilogue.mask.is_some() || epilogue.activation.is_some_and(|own| !own.is_clamp()) {
            return Err(bad_shape(OPERATION, "a mask or GELU as epilogue".to_owned()));
        }
        check_shared(OPERATION, shared.len(), 2 * channels)?;
        let (factors, terms) = shared[..2 * channels].split_at_mut(channels);
        for channel in 0..channels {
            let factor = parameters.scale[channel] * self.factor(parameters.variance[channel]);
            factors[channel] = factor;
            terms[channel] = parameters.bias[channel] - parameters.mean[channel] * factor;
        }
        let (factors, terms) = (&*factors, &*terms);
        let part = self.part();
        let out = SharedMut::new(out);
        team.run(rows.div_ceil(part), &|item, _| {
            let start = item * part * channels;
            let task = Linear {
                first: input.as_ptr().wrapping_add(start),
                second: std::ptr::null(),
                factors: [factors.as_ptr(), std::ptr::null(), terms.as_ptr()],
                ending: Ending::new(epilogue).from(start),
                out: out.get().wrapping_add(start),
                rows: part.min(rows - item * part),
                channels,
            };
            // SAFETY: the rows lie within all buffers and are written by this item only.
            unsafe { dispatch(self.class, task) }
        });
        Ok(())
    }

    /// The gradients of input, scale and bias.
    ///
    /// `gradient`: `[rows, channels]`, that of the output. If an activation followed, its
    /// derivative is applied to `gradient` first, in place: it is then also the gradient of a
    /// residual that was added before the activation. `out`: the gradient of the input; without it,
    /// it replaces `gradient`. `shared`: at least [`shared_len`](Self::shared_len) values.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`], and [`KernelError::BadShape`] if `shared` is too short or the
    /// activation is GELU.
    pub fn gradient(
        &self,
        team: &mut Team<'_>,
        shared: &mut [f32],
        of: &Normalised<'_>,
        gradient: &mut [f32],
        into: Affine<'_>,
        out: Option<&mut [f32]>,
    ) -> Result<(), KernelError> {
        let channels = self.channels;
        let rows = gradient.len() / channels;
        let len = rows * channels;
        self.check_parameters(&of.parameters)?;
        self.check(&[
            ("gradient", gradient.len(), len),
            ("input", of.input.len(), len),
            ("mask", of.mask.map_or(len, |(_, mask)| mask.len()), len),
            ("scale gradient", into.scale.len(), channels),
            ("bias gradient", into.bias.len(), channels),
            ("output", out.as_ref().map_or(len, |out| out.len()), len),
        ])?;
        if of.mask.is_some_and(|(activation, _)| !activation.is_clamp()) {
            let reason = "the derivative of GELU does not follow from its output".to_owned();
            return Err(bad_shape(OPERATION, reason));
        }
        let needed = self.shared_len(rows);
        check_shared(OPERATION, shared.len(), needed)?;
        let (coefficients, rest) = shared[..needed].split_at_mut(3 * channels);
        let (totals, sums) = rest.split_at_mut(2 * channels);
        let from = SharedMut::new(gradient);
        self.sums(team, of, from, sums);
        let part = self.part();
        let parts = rows.div_ceil(part);
        add_up(self.class, team, sums, parts, false, totals);
        self.coefficients(rows, of, totals, into, coefficients);
        let to = out.map_or(from, SharedMut::new);
        let coefficients = &*coefficients;
        team.run(parts, &|item, _| {
            let start = item * part * channels;
            let task = Linear {
                first: from.get().wrapping_add(start).cast_const(),
                second: of.input.as_ptr().wrapping_add(start),
                factors: [0, 1, 2].map(|i| coefficients[i * channels..].as_ptr()),
                ending: Ending::none(),
                out: to.get().wrapping_add(start),
                rows: part.min(rows - item * part),
                channels,
            };
            // SAFETY: the rows lie within all buffers and are written by this item only, each value
            // after it has been read.
            unsafe { dispatch(self.class, task) }
        });
        Ok(())
    }

    /// Masks the gradient, and sums it up as it is and times `input − mean`, in parts.
    fn sums(
        &self,
        team: &mut Team<'_>,
        of: &Normalised<'_>,
        gradient: SharedMut<f32>,
        sums: &mut [f32],
    ) {
        let (channels, part) = (self.channels, self.part());
        let rows = of.input.len() / channels;
        let sums = SharedMut::new(sums);
        team.run(rows.div_ceil(part), &|item, _| {
            let start = item * part * channels;
            let mask = of.mask.map_or(std::ptr::null(), |(_, mask)| mask.as_ptr());
            let activation = of.mask.map(|(activation, _)| activation);
            let task = Sums {
                input: of.input.as_ptr().wrapping_add(start),
                mean: of.parameters.mean.as_ptr(),
                ending: Ending { mask, activation, ..Ending::none() }.from(start),
                gradient: gradient.get().wrapping_add(start),
                rows: part.min(rows - item * part),
                channels,
                out: sums.get().wrapping_add(item * 2 * channels),
            };
            // SAFETY: `gradient` has checked that the rows lie within all buffers; each item masks
            // rows of its own and writes sums of its own.
            unsafe { dispatch(self.class, task) }
        });
    }

    /// The gradients of scale and bias, and that of the input as a linear function of the output's
    /// gradient, of the input and of 1: `[3, channels]`.
    fn coefficients(
        &self,
        rows: usize,
        of: &Normalised<'_>,
        totals: &[f32],
        into: Affine<'_>,
        coefficients: &mut [f32],
    ) {
        let channels = self.channels;
        for channel in 0..channels {
            let factor = self.factor(of.parameters.variance[channel]);
            let sum = totals[channel];
            let product = totals[channels + channel] * factor;
            for (to, value) in [(&mut into.scale[channel], product), (&mut into.bias[channel], sum)]
            {
                *to = if into.accumulate { *to + value } else { value };
            }
            let of_gradient = of.parameters.scale[channel] * factor;
            let share = if of.fixed { 0.0 } else { of_gradient / rows as f32 };
            let of_input = -share * factor * product;
            coefficients[channel] = of_gradient;
            coefficients[channels + channel] = of_input;
            coefficients[2 * channels + channel] =
                -share * sum - of_input * of.parameters.mean[channel];
        }
    }
}

/// Mean and sum of squared differences from it.
#[derive(Clone, Copy)]
struct Moments {
    input: *const f32,
    rows: usize,
    channels: usize,
    /// `[2][channels]`.
    out: *mut f32,
}

impl Task for Moments {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let mut channel = 0;
        // SAFETY: `channel + n ≤ channels`, in each of `rows` rows.
        unsafe {
            let share = S::splat(1.0 / self.rows as f32);
            while channel < self.channels {
                let n = S::LANES.min(self.channels - channel);
                let from = self.input.add(channel);
                let mut sum = S::splat(0.0);
                for row in 0..self.rows {
                    sum = S::add(sum, load::<S>(from.add(row * self.channels), n));
                }
                let mean = S::mul(sum, share);
                let mut squares = S::splat(0.0);
                for row in 0..self.rows {
                    let x = S::sub(load::<S>(from.add(row * self.channels), n), mean);
                    squares = S::fma(x, x, squares);
                }
                store::<S>(self.out.add(channel), mean, n);
                store::<S>(self.out.add(self.channels + channel), squares, n);
                channel += n;
            }
        }
    }
}

/// Masks gradients in place, and sums them up as they are and times the input's distance from the
/// mean.
#[derive(Clone, Copy)]
struct Sums {
    input: *const f32,
    mean: *const f32,
    ending: Ending<f32>,
    gradient: *mut f32,
    rows: usize,
    channels: usize,
    /// `[2][channels]`.
    out: *mut f32,
}

impl Task for Sums {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let mut channel = 0;
        let masked = !self.ending.mask.is_null();
        // SAFETY: `channel + n ≤ channels`, in each of `rows` rows.
        unsafe {
            while channel < self.channels {
                let n = S::LANES.min(self.channels - channel);
                let mean = load::<S>(self.mean.add(channel), n);
                let (mut sum, mut products) = (S::splat(0.0), S::splat(0.0));
                for row in 0..self.rows {
                    let at = row * self.channels + channel;
                    let mut gradient = load::<S>(self.gradient.add(at), n);
                    if masked {
                        gradient = self.ending.apply::<S>(gradient, at, n);
                        store::<S>(self.gradient.add(at), gradient, n);
                    }
                    let x = S::sub(load::<S>(self.input.add(at), n), mean);
                    sum = S::add(sum, gradient);
                    products = S::fma(gradient, x, products);
                }
                store::<S>(self.out.add(channel), sum, n);
                store::<S>(self.out.add(self.channels + channel), products, n);
                channel += n;
            }
        }
    }
}

/// `out ← first · factors[0] + second · factors[1] + factors[2]`, and an ending.
#[derive(Clone, Copy)]
struct Linear {
    first: *const f32,
    /// Null, or as `first`.
    second: *const f32,
    factors: [*const f32; 3],
    ending: Ending<f32>,
    out: *mut f32,
    rows: usize,
    channels: usize,
}

impl Task for Linear {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        // SAFETY: `channel + n ≤ channels`, in each of `rows` rows.
        unsafe {
            for row in 0..self.rows {
                let mut channel = 0;
                while channel < self.channels {
                    let n = S::LANES.min(self.channels - channel);
                    let at = row * self.channels + channel;
                    let mut value = load::<S>(self.factors[2].add(channel), n);
                    if !self.second.is_null() {
                        let factor = load::<S>(self.factors[1].add(channel), n);
                        value = S::fma(load::<S>(self.second.add(at), n), factor, value);
                    }
                    let factor = load::<S>(self.factors[0].add(channel), n);
                    value = S::fma(load::<S>(self.first.add(at), n), factor, value);
                    store::<S>(self.out.add(at), self.ending.apply::<S>(value, at, n), n);
                    channel += n;
                }
            }
        }
    }
}
