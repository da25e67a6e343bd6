//! Frozen normalisations and layer scales as part of the products before them, and the gradients
//! of all of their tensors from those of the folded ones.
//!
//! A product z = W·x + b is followed by stages z ← a·z + c, per output channel: a BatchNorm with
//! fixed statistics has a = γ/σ, c = β − μ·γ/σ; a layer scale has a = γ, c = 0. Together they are a
//! product with A·W and A·b + C. With dW and db the gradients of the folded tensors, summed over
//! all positions, Σ dy·z of the unfolded product is ⟨dW, W⟩ + b·db, so that nothing but the
//! filters has to be read again.

use rayon::prelude::*;
use taper_optim::Parameter;

/// A stage that is folded into the product before it. Indices are those of the parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Affine {
    /// BatchNorm with fixed statistics: scale, bias, mean and variance follow each other.
    BatchNorm { scale: usize, eps: f64 },
    /// A factor for each channel.
    Scale { gamma: usize },
}

/// The tensors of a product in the parameters, and its stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) stages: &'a [Affine],
}

impl Product<'_> {
    /// The factor a and the shift c of a stage, for a channel.
    fn stage(parameters: &[Parameter], stage: Affine, channel: usize) -> (f64, f64) {
        let read = |index: usize| f64::from(parameters[index].values[channel]);
        match stage {
            Affine::Scale { gamma } => (read(gamma), 0.0),
            Affine::BatchNorm { scale, eps } => {
                let a = read(scale) / (read(scale + 3) + eps).sqrt();
                (a, read(scale + 1) - read(scale + 2) * a)
            }
        }
    }

    /// The folded filters, as large as the weight, and their biases, one for each output channel.
    pub(crate) fn fold(&self, parameters: &[Parameter], weight: &mut [f32], bias: &mut [f32]) {
        let values = &parameters[self.weight].values;
        let per_channel = (values.len() / bias.len().max(1)).max(1);
        weight
            .par_chunks_mut(per_channel)
            .zip(values.par_chunks(per_channel))
            .zip(bias.par_iter_mut())
            .enumerate()
            .for_each(|(channel, ((to, from), to_bias))| {
                let own = self.bias.map_or(0.0, |b| f64::from(parameters[b].values[channel]));
                let (mut factor, mut shift) = (1.0, own);
                for &stage in self.stages {
                    let (a, c) = Self::stage(parameters, stage, channel);
                    factor *= a;
                    shift = a * shift + c;
                }
                *to_bias = shift as f32;
                for (to, from) in to.iter_mut().zip(from) {
                    *to = (f64::from(*from) * factor) as f32;
                }
            });
    }

    /// Turns gradients of the folded tensors into gradients of the tensors themselves, which are
    /// added to or, without `add`, replaced. Tensors without room for a gradient keep none.
    /// `channels`: room for two numbers for each output channel.
    pub(crate) fn unfold(
        &self,
        parameters: &mut [Parameter],
        d_weight: &[f32],
        d_bias: &[f32],
        add: bool,
        channels: &mut [[f64; 2]],
    ) {
        let per_channel = (d_weight.len() / d_bias.len().max(1)).max(1);
        // Of each channel: Σ dy·W·x, then the factor of the whole chain.
        let channels = &mut channels[..d_bias.len()];
        let values = &parameters[self.weight].values;
        values
            .par_chunks(per_channel)
            .zip(d_weight.par_chunks(per_channel))
            .zip(channels.par_iter_mut())
            .for_each(|((w, d), [product, _])| {
                *product = w.iter().zip(d).map(|(w, d)| f64::from(*w) * f64::from(*d)).sum();
            });
        for (channel, ([product, factor], sum)) in channels.iter_mut().zip(d_bias).enumerate() {
            *factor = self.unfold_stages(parameters, channel, *product, f64::from(*sum), add);
        }
        let gradient = &mut parameters[self.weight].gradient;
        gradient
            .par_chunks_mut(per_channel)
            .zip(d_weight.par_chunks(per_channel))
            .zip(&*channels)
            .for_each(|((to, from), [_, factor])| {
                for (to, from) in to.iter_mut().zip(from) {
                    let value = (f64::from(*from) * factor) as f32;
                    *to = if add { *to + value } else { value };
                }
            });
    }

    /// The gradients of a channel's stages and bias; returns the factor of all stages.
    fn unfold_stages(
        &self,
        parameters: &mut [Parameter],
        channel: usize,
        product: f64,
        sum: f64,
        add: bool,
    ) -> f64 {
        let own = self.bias.map_or(0.0, |b| f64::from(parameters[b].values[channel]));
        // Σ dy·z before the first stage.
        let unscaled = product + own * sum;
        let (mut factor, mut shift) = (1.0, 0.0);
        for (position, &stage) in self.stages.iter().enumerate() {
            let (a, c) = Self::stage(parameters, stage, channel);
            let later = self.stages[position + 1..].iter();
            let after: f64 = later.map(|s| Self::stage(parameters, *s, channel).0).product();
            // z before this stage is factor · z₀ + shift.
            let d_a = after * (factor * unscaled + shift * sum);
            let d_c = after * sum;
            match stage {
                Affine::Scale { gamma } => put(parameters, gamma, channel, d_a, add),
                Affine::BatchNorm { scale, eps } => {
                    let read = |i: usize| f64::from(parameters[scale + i].values[channel]);
                    let inverse = 1.0 / (read(3) + eps).sqrt();
                    let d_scale = (d_a - d_c * read(2)) * inverse;
                    put(parameters, scale, channel, d_scale, add);
                    put(parameters, scale + 1, channel, d_c, add);
                }
            }
            factor *= a;
            shift = a * shift + c;
        }
        if let Some(bias) = self.bias {
            put(parameters, bias, channel, factor * sum, add);
        }
        factor
    }
}

fn put(parameters: &mut [Parameter], index: usize, channel: usize, value: f64, add: bool) {
    if let Some(to) = parameters[index].gradient.get_mut(channel) {
        *to = if add { *to + value as f32 } else { value as f32 };
    }
}
