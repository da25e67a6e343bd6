//! Networks in their training form, whose convolutions have several branches that add up to one:
//! RepVGG (Ding et al. 2021, section 3.3), MobileOne (Vasu et al. 2022) and FastViT (Vasu et al.
//! 2023); timm's `reparameterize` in `byobnet.py` and `fastvit.py`.

use std::borrow::Cow;

use taper_graph::{Parameter, WeightSource};
use taper_weights::WeightFile;

use super::{Found, Recipe};

/// How branches become a tensor of one convolution.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fusion {
    tensor: Tensor,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tensor {
    Weight,
    Bias,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    /// Branches, their sum perhaps scaled by a number per channel, plus the input itself if `skip`.
    Sum { branches: Vec<Branch>, scaled: bool, skip: bool },
    /// A normalisation before a 1 × 1 convolution without bias.
    NormedBefore,
}

/// A branch, by what its sources are.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Branch {
    /// The side of its kernel; none for the identity, which has no filters.
    kernel: Option<usize>,
    /// Whether BatchNorm follows, or it has a bias.
    normed: bool,
    /// 1, or −1 for what is taken away.
    sign: f64,
}

/// timm's name of the fused convolution.
const FUSED: &str = ".reparam_conv";
const EPS: f64 = 1e-5;
/// The tensors of BatchNorm, in the order of [`Fusion::apply`].
const NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];
/// What stands before the names of a picture's half in open_clip's files.
const TRUNK: &str = "visual.trunk.";

/// The branches that a convolution is made of, if the file has them.
pub(super) fn fused(file: &WeightFile, prefix: &str, parameter: &Parameter) -> Option<Found> {
    let (module, tensor) = parameter.name.rsplit_once('.')?;
    let tensor = if tensor == "weight" { Tensor::Weight } else { Tensor::Bias };
    let lookup = Lookup { file, shape: &parameter.shape, tensor };
    ["", TRUNK].into_iter().find_map(|trunk| {
        let name = format!("{prefix}{trunk}{module}");
        match name.strip_suffix(FUSED) {
            Some(block) => lookup.block(block),
            None => lookup.normed_before(&name),
        }
    })
}

/// Looks for one tensor of a convolution.
struct Lookup<'a> {
    file: &'a WeightFile,
    /// That of the tensor.
    shape: &'a [usize],
    tensor: Tensor,
}

/// What was found so far.
#[derive(Default)]
struct Parts {
    sources: Vec<String>,
    branches: Vec<Branch>,
    /// The shape of the largest filter.
    filter: Option<Vec<usize>>,
}

impl Lookup<'_> {
    fn block(&self, block: &str) -> Option<Found> {
        let mut parts = Parts::default();
        let (mut scaled, mut skip) = (false, false);
        if self.file.shape(&format!("{block}.mixer.conv_kxk.0.conv.weight")).is_some() {
            // FastViT's RepMixer: x + γ · (mixer(x) − norm(x)).
            self.one(&format!("{block}.mixer"), 1.0, &mut parts)?;
            self.one(&format!("{block}.norm"), -1.0, &mut parts)?;
            let gamma = format!("{block}.layer_scale.gamma");
            scaled = self.file.shape(&gamma).is_some();
            parts.sources.extend(scaled.then_some(gamma));
            skip = true;
        } else if self.file.shape(&format!("{block}.pos_enc.weight")).is_some() {
            let conv = format!("{block}.pos_enc");
            self.filter(&format!("{conv}.weight"), &mut parts)?;
            parts.sources.push(format!("{conv}.bias"));
            parts.branches.last_mut()?.normed = false;
            skip = true;
        } else if self.file.shape(&format!("{block}.large_conv.conv.weight")).is_some() {
            self.conv(&format!("{block}.large_conv"), 1.0, &mut parts)?;
            self.conv(&format!("{block}.small_conv"), 1.0, &mut parts)?;
        } else {
            self.one(block, 1.0, &mut parts)?;
        }
        let Parts { sources, branches, filter } = parts;
        let filter = filter?;
        let shape = match self.tensor {
            Tensor::Weight => filter,
            Tensor::Bias => filter[..1].to_vec(),
        };
        let form = Form::Sum { branches, scaled, skip };
        let recipe = Recipe::Fused(Fusion { tensor: self.tensor, form });
        Some(Found { shape, sources, recipe })
    }

    /// The branches of MobileOne and RepVGG: convolutions, a smaller one, the identity.
    fn one(&self, block: &str, sign: f64, parts: &mut Parts) -> Option<()> {
        let is_there = |branch: &str| self.file.shape(&format!("{block}.{branch}")).is_some();
        let before = parts.branches.len();
        let several = (0..).map(|at| format!("conv_kxk.{at}"));
        let several = several.take_while(|branch| is_there(&format!("{branch}.conv.weight")));
        let single = ["conv_kxk", "conv_1x1", "conv_scale"].map(str::to_owned);
        let single = single.into_iter().filter(|branch| is_there(&format!("{branch}.conv.weight")));
        for branch in several.chain(single) {
            self.conv(&format!("{block}.{branch}"), sign, parts)?;
        }
        if is_there("identity.weight") {
            parts.branches.push(Branch { kernel: None, normed: true, sign });
            parts.sources.extend(NORM.map(|tensor| format!("{block}.identity.{tensor}")));
        }
        (parts.branches.len() > before).then_some(())
    }

    /// A convolution and its BatchNorm.
    fn conv(&self, name: &str, sign: f64, parts: &mut Parts) -> Option<()> {
        self.filter(&format!("{name}.conv.weight"), parts)?;
        parts.branches.last_mut()?.sign = sign;
        let norm = NORM.map(|tensor| format!("{name}.bn.{tensor}"));
        let outputs = self.file.shape(&norm[0])?.to_vec();
        let fits = norm.iter().all(|own| self.file.shape(own) == Some(&outputs));
        parts.sources.extend(norm);
        (fits && parts.filter.as_ref()?[..1] == outputs[..]).then_some(())
    }

    fn filter(&self, name: &str, parts: &mut Parts) -> Option<()> {
        let shape = self.file.shape(name)?;
        let &[outputs, inputs, kernel, columns] = shape else { return None };
        let known = parts.filter.get_or_insert_with(|| shape.to_vec());
        let fits = known[..2] == [outputs, inputs] && kernel == columns;
        if kernel > known[2] {
            *known = shape.to_vec();
        }
        parts.branches.push(Branch { kernel: Some(kernel), normed: true, sign: 1.0 });
        parts.sources.push(name.to_owned());
        fits.then_some(())
    }

    /// `….token_mixer.qkv`, with the BatchNorm before it.
    fn normed_before(&self, layer: &str) -> Option<Found> {
        let block = layer.strip_suffix(".token_mixer.qkv")?;
        let weight = format!("{layer}.weight");
        let &[outputs, inputs, ..] = self.file.shape(&weight)? else { return None };
        let norm = NORM.map(|tensor| format!("{block}.norm.{tensor}"));
        if norm.iter().any(|own| self.file.shape(own) != Some(&[inputs])) {
            return None;
        }
        let shape = match self.tensor {
            Tensor::Weight => {
                [outputs, inputs].into_iter().chain(self.shape.iter().skip(2).copied()).collect()
            }
            Tensor::Bias => vec![outputs],
        };
        let recipe = Recipe::Fused(Fusion { tensor: self.tensor, form: Form::NormedBefore });
        Some(Found { shape, sources: std::iter::once(weight).chain(norm).collect(), recipe })
    }
}

/// Factor and shift of a channel of a BatchNorm.
fn affine(norm: &[Cow<'_, [f32]>], channel: usize) -> (f64, f64) {
    let at = |tensor: usize| f64::from(norm[tensor][channel]);
    let factor = at(0) / (at(3) + EPS).sqrt();
    (factor, at(1) - at(2) * factor)
}

impl Fusion {
    /// The values of the tensor, of this shape.
    pub(super) fn apply(&self, sources: &[Cow<'_, [f32]>], shape: &[usize]) -> Vec<f32> {
        match &self.form {
            Form::NormedBefore => {
                let inputs = sources[1].len();
                let norm: Vec<_> = (0..inputs).map(|i| affine(&sources[1..], i)).collect();
                let rows = sources[0].chunks_exact(inputs);
                match self.tensor {
                    Tensor::Weight => rows
                        .flat_map(|row| {
                            row.iter().zip(&norm).map(|(w, n)| (f64::from(*w) * n.0) as f32)
                        })
                        .collect(),
                    Tensor::Bias => rows
                        .map(|row| {
                            row.iter().zip(&norm).map(|(w, n)| f64::from(*w) * n.1).sum::<f64>()
                                as f32
                        })
                        .collect(),
                }
            }
            Form::Sum { branches, scaled, skip } => {
                let outputs = shape[0];
                let (inputs, side) = match self.tensor {
                    Tensor::Weight => (shape[1], shape[2]),
                    Tensor::Bias => (1, 1),
                };
                let mut all = vec![0f64; outputs * inputs * side * side];
                let taps = side * side;
                let mut at = 0;
                for branch in branches {
                    let filter = branch.kernel.map(|_| at);
                    at += usize::from(branch.kernel.is_some());
                    let count = if branch.normed { NORM.len() } else { 1 };
                    let norm = &sources[at..at + count];
                    at += count;
                    for (o, row) in all.chunks_exact_mut(inputs * taps).enumerate() {
                        let (factor, shift) = match branch.normed {
                            true => affine(norm, o),
                            false => (1.0, f64::from(norm[0][o])),
                        };
                        match (self.tensor, filter, branch.kernel) {
                            (Tensor::Bias, ..) => row[0] += branch.sign * shift,
                            (Tensor::Weight, Some(filter), Some(kernel)) => {
                                let own = &sources[filter][o * inputs * kernel * kernel..];
                                add(row, side, own, kernel, branch.sign * factor);
                            }
                            (Tensor::Weight, ..) => {
                                row[o % inputs * taps + taps / 2] += branch.sign * factor;
                            }
                        }
                    }
                }
                for (o, row) in all.chunks_exact_mut(inputs * taps).enumerate() {
                    if *scaled {
                        let gamma = f64::from(sources[at][o]);
                        row.iter_mut().for_each(|value| *value *= gamma);
                    }
                    if *skip && self.tensor == Tensor::Weight {
                        row[o % inputs * taps + taps / 2] += 1.0;
                    }
                }
                all.into_iter().map(|value| value as f32).collect()
            }
        }
    }
}

/// Adds the smaller filters of an output to the middle of larger ones.
fn add(row: &mut [f64], side: usize, own: &[f32], kernel: usize, factor: f64) {
    let edge = (side - kernel) / 2;
    let filters = own.chunks_exact(kernel * kernel);
    for (to, from) in row.chunks_exact_mut(side * side).zip(filters) {
        for (y, line) in from.chunks_exact(kernel).enumerate() {
            for (x, value) in line.iter().enumerate() {
                to[(y + edge) * side + x + edge] += factor * f64::from(*value);
            }
        }
    }
}
