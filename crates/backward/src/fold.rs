//! A batch norm with fixed statistics, folded into the convolution before it.

use taper_kernels::parts::{SharedMut, check_len};
use taper_kernels::{KernelError, Team};
use taper_simd::{Simd, Task, dispatch};

use crate::batch_norm::{Affine, BatchNorm, NormParameters};
use crate::rows::{across, load, store};

const OPERATION: &str = "folded batch norm";

/// The parameters of a convolution (or linear layer) before a batch norm.
#[derive(Debug, Clone, Copy)]
pub struct Convolution<'a> {
    /// `[out_channels, …]`.
    pub weights: &'a [f32],
    /// `[out_channels]`, or zeros.
    pub bias: Option<&'a [f32]>,
}

/// The same numbers for a convolution, to be written: its folded parameters, or their gradients.
#[derive(Debug)]
pub struct ConvolutionMut<'a> {
    /// `[out_channels, …]`.
    pub weights: &'a mut [f32],
    /// `[out_channels]`.
    pub bias: &'a mut [f32],
}

impl BatchNorm {
    /// The convolution that computes what a convolution and then this norm with fixed statistics
    /// compute: with `s = scale / √(variance + ε)` per output channel, weights `W · s` and bias
    /// `bias + (b − mean) · s`.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`].
    pub fn fold(
        &self,
        team: &mut Team<'_>,
        parameters: &NormParameters<'_>,
        convolution: Convolution<'_>,
        into: ConvolutionMut<'_>,
    ) -> Result<(), KernelError> {
        let channels = self.check_convolution(parameters, convolution, &into)?;
        for channel in 0..channels {
            let bias = convolution.bias.map_or(0.0, |bias| bias[channel]);
            let scale = parameters.scale[channel] * self.factor(parameters.variance[channel]);
            into.bias[channel] =
                parameters.bias[channel] + (bias - parameters.mean[channel]) * scale;
        }
        let len = convolution.weights.len() / channels;
        let to = SharedMut::new(into.weights);
        team.run(channels, &|channel, _| {
            let task = Row {
                weights: convolution.weights.as_ptr().wrapping_add(channel * len),
                from: convolution.weights.as_ptr().wrapping_add(channel * len),
                to: to.get().wrapping_add(channel * len),
                len,
                factor: parameters.scale[channel] * self.factor(parameters.variance[channel]),
                product: std::ptr::null_mut(),
            };
            // SAFETY: the channel's weights lie in both buffers and are written by this item only.
            unsafe { dispatch(self.class(), task) }
        });
        Ok(())
    }

    /// From the gradients of a folded convolution to those of its parts: of scale and bias of the
    /// norm, and, in place of the folded ones, of weights and bias of the convolution.
    ///
    /// `convolution` and `parameters` are what was folded. With `s` as in [`fold`](Self::fold):
    /// `dW = dW' · s`, `db = db' · s`, `dscale = (⟨dW', W⟩ + db' (b − mean)) / √(variance + ε)`,
    /// `dbias = db'`. A batch in parts accumulates folded gradients and unfolds them once.
    ///
    /// # Errors
    /// [`KernelError::BufferLength`].
    pub fn unfold(
        &self,
        team: &mut Team<'_>,
        parameters: &NormParameters<'_>,
        convolution: Convolution<'_>,
        gradients: ConvolutionMut<'_>,
        into: Affine<'_>,
    ) -> Result<(), KernelError> {
        let channels = self.check_convolution(parameters, convolution, &gradients)?;
        check_len(OPERATION, "scale gradient", into.scale.len(), channels)?;
        check_len(OPERATION, "bias gradient", into.bias.len(), channels)?;
        let len = convolution.weights.len() / channels;
        let to = SharedMut::new(gradients.weights);
        let bias = SharedMut::new(gradients.bias);
        let (scale_to, bias_to) = (SharedMut::new(into.scale), SharedMut::new(into.bias));
        team.run(channels, &|channel, _| {
            let factor = self.factor(parameters.variance[channel]);
            let mut product = 0.0;
            let task = Row {
                weights: convolution.weights.as_ptr().wrapping_add(channel * len),
                from: to.get().wrapping_add(channel * len).cast_const(),
                to: to.get().wrapping_add(channel * len),
                len,
                factor: parameters.scale[channel] * factor,
                product: &raw mut product,
            };
            let distance = convolution.bias.map_or(0.0, |b| b[channel]) - parameters.mean[channel];
            // SAFETY: the channel's weights and gradients lie in both buffers, and this item alone
            // touches its gradients; `channels` values are in each of the other buffers.
            unsafe {
                dispatch(self.class(), task);
                let bias = bias.get().add(channel);
                let of_scale = (product + *bias * distance) * factor;
                for (to, value) in [(scale_to, of_scale), (bias_to, *bias)] {
                    let to = to.get().add(channel);
                    *to = if into.accumulate { *to + value } else { value };
                }
                *bias *= parameters.scale[channel] * factor;
            }
        });
        Ok(())
    }

    fn check_convolution(
        &self,
        parameters: &NormParameters<'_>,
        convolution: Convolution<'_>,
        other: &ConvolutionMut<'_>,
    ) -> Result<usize, KernelError> {
        self.check_parameters(parameters)?;
        let channels = parameters.scale.len();
        let len = convolution.weights.len();
        check_len(OPERATION, "weights", len, len / channels * channels)?;
        check_len(OPERATION, "folded weights", other.weights.len(), len)?;
        check_len(OPERATION, "folded bias", other.bias.len(), channels)?;
        if let Some(bias) = convolution.bias {
            check_len(OPERATION, "bias", bias.len(), channels)?;
        }
        Ok(channels)
    }
}

/// Multiplies a channel's values by a factor, and sums up their products with its weights.
#[derive(Clone, Copy)]
struct Row {
    weights: *const f32,
    from: *const f32,
    to: *mut f32,
    len: usize,
    factor: f32,
    /// Null, or where the sum goes.
    product: *mut f32,
}

impl Task for Row {
    type Elem = f32;

    #[inline(always)]
    unsafe fn run<S: Simd<Elem = f32>>(self) {
        let mut at = 0;
        // SAFETY: `at + n ≤ len`.
        unsafe {
            let (factor, mut sum) = (S::splat(self.factor), S::splat(0.0));
            while at < self.len {
                let n = S::LANES.min(self.len - at);
                let value = load::<S>(self.from.add(at), n);
                sum = S::fma(value, load::<S>(self.weights.add(at), n), sum);
                store::<S>(self.to.add(at), S::mul(value, factor), n);
                at += n;
            }
            if !self.product.is_null() {
                *self.product = across::<S>(sum);
            }
        }
    }
}
