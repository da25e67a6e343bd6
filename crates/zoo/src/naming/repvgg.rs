//! RepVGG in its training form: a 3 × 3 convolution, a 1 × 1 convolution and perhaps the identity,
//! each with BatchNorm. Their sum is one 3 × 3 convolution (Ding et al., *RepVGG*, 2021, section
//! 3.3; timm's `RepVggBlock.reparameterize`).

use std::borrow::Cow;

use taper_graph::{Parameter, WeightSource};

use super::{Found, Recipe};
use taper_weights::WeightFile;

/// Which tensor of the fused convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Weight,
    Bias,
}

/// timm's name of the fused convolution.
const FUSED: &str = ".reparam_conv";
const EPS: f64 = 1e-5;
/// The tensors of BatchNorm, in the order of [`Part::apply`].
const NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// The branches that a fused convolution is made of, if the file has them.
pub(super) fn fused(file: &WeightFile, prefix: &str, parameter: &Parameter) -> Option<Found> {
    let (module, tensor) = parameter.name.rsplit_once('.')?;
    let block = format!("{prefix}{}", module.strip_suffix(FUSED)?);
    let part = if tensor == "weight" { Part::Weight } else { Part::Bias };
    let mut sources = Vec::new();
    for (branch, kernel) in [("conv_kxk", 3), ("conv_1x1", 1)] {
        let conv = format!("{block}.{branch}.conv.weight");
        let shape = file.shape(&conv)?;
        if shape.len() != 4 || shape[2..] != [kernel; 2] {
            return None;
        }
        sources.push(conv);
        sources.extend(NORM.map(|tensor| format!("{block}.{branch}.bn.{tensor}")));
    }
    let identity = NORM.map(|tensor| format!("{block}.identity.{tensor}"));
    if file.shape(&identity[0]).is_some() {
        sources.extend(identity);
    }
    let three = file.shape(&sources[0])?;
    let norms = sources.iter().filter(|name| !name.ends_with("conv.weight"));
    let fits = norms.into_iter().all(|name| file.shape(name) == Some(&three[..1]))
        && file.shape(&sources[5])?[..2] == three[..2];
    let shape = if part == Part::Weight { three.to_vec() } else { three[..1].to_vec() };
    fits.then_some(Found { shape, sources, recipe: Recipe::Fused(part) })
}

impl Part {
    /// `sources`: weight of the 3 × 3 branch and its BatchNorm, of the 1 × 1 branch, BatchNorm of
    /// the identity.
    pub(super) fn apply(self, sources: &[Cow<'_, [f32]>], shape: &[usize]) -> Vec<f32> {
        let outputs = shape[0];
        // Factor and shift of each output channel of a BatchNorm.
        let affine = |norm: &[Cow<'_, [f32]>], o: usize| {
            let at = |i: usize| f64::from(norm[i][o]);
            let factor = at(0) / (at(3) + EPS).sqrt();
            (factor, at(1) - at(2) * factor)
        };
        let (three, one, identity) = (&sources[1..5], &sources[6..10], sources.get(10..14));
        let each = |o: usize| {
            (affine(three, o), affine(one, o), identity.map_or((0.0, 0.0), |norm| affine(norm, o)))
        };
        if self == Part::Bias {
            let sum = |o| {
                let (a, b, c) = each(o);
                (a.1 + b.1 + c.1) as f32
            };
            return (0..outputs).map(sum).collect();
        }
        let inputs = shape[1];
        let mut weight = Vec::with_capacity(9 * outputs * inputs);
        for o in 0..outputs {
            let (a, b, c) = each(o);
            for i in 0..inputs {
                let position = o * inputs + i;
                for tap in 0..9 {
                    let mut value = a.0 * f64::from(sources[0][9 * position + tap]);
                    if tap == 4 {
                        value += b.0 * f64::from(sources[5][position]);
                        if i == o % inputs {
                            value += c.0;
                        }
                    }
                    weight.push(value as f32);
                }
            }
        }
        weight
    }
}
