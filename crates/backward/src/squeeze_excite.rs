//! Gradients of squeeze and excitation.

use taper_kernels::parts::{SharedMut, check_len, product};
use taper_kernels::{KernelError, SqueezeExcite, Team};

use crate::checks::check_shared;

const OPERATION: &str = "gradient of squeeze and excitation";

/// The gradients of a [`SqueezeExcite`]'s tensors: weight and bias of its first layer, `[reduced,
/// channels]` and `[reduced]`, then of its second, `[channels, reduced]` and `[channels]`.
#[derive(Debug)]
pub struct SqueezeExciteTensors<'a> {
    /// In this order.
    pub tensors: [&'a mut [f32]; 4],
    /// Whether they are added to what is there.
    pub accumulate: bool,
}

/// The gradients of a [`SqueezeExcite`]. Factors and means are computed again from the forward
/// pass's input. Sums over pictures are in their order, whatever the number of threads.
#[derive(Debug, Clone, Copy)]
pub struct SqueezeExciteGradient;

impl SqueezeExciteGradient {
    /// Values (f32) that all threads share.
    #[must_use]
    pub fn shared_len(forward: &SqueezeExcite, n: usize) -> usize {
        // Means, factors, their gradients, and gradients of means; what is between the layers, and
        // its gradient.
        n * (4 * forward.channels() + 2 * forward.reduced())
    }

    /// Computes the gradients for `n` maps.
    ///
    /// `input` and `gradient`: `[n, pixels, channels]`, what the forward pass read, and the
    /// gradient of its output; `second`: the second layer's weight, `[channels, reduced]`, and
    /// `first` the first one's, `[reduced, channels]`; `out`: as `input`. `tensors` and `out` may
    /// be left out.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`], or [`KernelError::BadShape`] for too little shared memory.
    #[allow(clippy::too_many_arguments)] // each is a different thing
    pub fn run(
        team: &mut Team<'_>,
        shared: &mut [f32],
        forward: &SqueezeExcite,
        n: usize,
        [input, gradient]: [&[f32]; 2],
        [first, second]: [&[f32]; 2],
        tensors: Option<SqueezeExciteTensors<'_>>,
        out: Option<&mut [f32]>,
    ) -> Result<(), KernelError> {
        let (pixels, channels, reduced) = (forward.pixels(), forward.channels(), forward.reduced());
        let map = pixels * channels;
        check_len(OPERATION, "input", input.len(), product(n, map)?)?;
        check_len(OPERATION, "gradient", gradient.len(), input.len())?;
        check_len(OPERATION, "weight of the first layer", first.len(), channels * reduced)?;
        check_len(OPERATION, "weight of the second layer", second.len(), channels * reduced)?;
        check_shared(OPERATION, shared.len(), Self::shared_len(forward, n))?;
        let mut rest = &mut shared[..Self::shared_len(forward, n)];
        let mut take = |len: usize| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        };
        let [means, factors, of_factors, of_means] = [(); 4].map(|()| take(n * channels));
        let [between, of_between] = [(); 2].map(|()| take(n * reduced));
        forward.factors(n, input, [factors, between, means])?;
        for picture in 0..n {
            let of_factors = &mut of_factors[picture * channels..][..channels];
            of_factors.fill(0.0);
            let rows = input[picture * map..][..map].chunks_exact(channels);
            for (x, dy) in rows.zip(gradient[picture * map..][..map].chunks_exact(channels)) {
                for ((sum, x), dy) in of_factors.iter_mut().zip(x).zip(dy) {
                    *sum += x * dy;
                }
            }
            // Through the sigmoid.
            let factors = &factors[picture * channels..][..channels];
            of_factors.iter_mut().zip(factors).for_each(|(sum, f)| *sum *= f * (1.0 - f));
            let of_between = &mut of_between[picture * reduced..][..reduced];
            of_between.fill(0.0);
            for (slope, weights) in of_factors.iter().zip(second.chunks_exact(reduced)) {
                of_between.iter_mut().zip(weights).for_each(|(sum, w)| *sum += slope * w);
            }
            let between = &between[picture * reduced..][..reduced];
            for (slope, value) in of_between.iter_mut().zip(between) {
                *slope = if *value > 0.0 { *slope } else { 0.0 };
            }
            let of_means = &mut of_means[picture * channels..][..channels];
            of_means.fill(0.0);
            for (slope, weights) in of_between.iter().zip(first.chunks_exact(channels)) {
                of_means.iter_mut().zip(weights).for_each(|(sum, w)| *sum += slope * w);
            }
            of_means.iter_mut().for_each(|sum| *sum /= pixels as f32);
        }
        if let Some(SqueezeExciteTensors { tensors, accumulate }) = tensors {
            let [weight1, bias1, weight2, bias2] = tensors;
            if !accumulate {
                for own in [&mut *weight1, &mut *bias1, &mut *weight2, &mut *bias2] {
                    own.fill(0.0);
                }
            }
            outer(weight1, bias1, of_between, means);
            outer(weight2, bias2, of_factors, between);
        }
        if let Some(out) = out {
            check_len(OPERATION, "output", out.len(), input.len())?;
            let out = SharedMut::new(out);
            let (factors, of_means) = (&*factors, &*of_means);
            team.run(n, &|picture, _| {
                let first = picture * map;
                // SAFETY: the picture's part of the output, as long as just checked, is written by
                // this item only.
                let to = unsafe { std::slice::from_raw_parts_mut(out.get().add(first), map) };
                let own = picture * channels..(picture + 1) * channels;
                let (factors, of_means) = (&factors[own.clone()], &of_means[own]);
                let rows = gradient[first..][..map].chunks_exact(channels);
                for (to, dy) in to.chunks_exact_mut(channels).zip(rows) {
                    for (((to, dy), factor), mean) in
                        to.iter_mut().zip(dy).zip(factors).zip(of_means)
                    {
                        *to = dy * factor + mean;
                    }
                }
            });
        }
        Ok(())
    }
}

/// Adds to a weight `[outputs, inputs]` and a bias `[outputs]` what the pictures contribute:
/// `slopes` `[n, outputs]` times `values` `[n, inputs]`.
fn outer(weight: &mut [f32], bias: &mut [f32], slopes: &[f32], values: &[f32]) {
    let outputs = bias.len();
    let inputs = weight.len() / outputs.max(1);
    for (slopes, values) in slopes.chunks_exact(outputs).zip(values.chunks_exact(inputs)) {
        bias.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
        for (row, slope) in weight.chunks_exact_mut(inputs).zip(slopes) {
            row.iter_mut().zip(values).for_each(|(sum, value)| *sum += slope * value);
        }
    }
}
