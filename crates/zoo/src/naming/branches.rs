//! Networks in their training form, whose convolutions have several branches that add up to one:
//! RepVGG (Ding et al. 2021, section 3.3), MobileOne (Vasu et al. 2022) and FastViT (Vasu et al.
//! 2023); timm's `reparameterize` in `byobnet.py` and `fastvit.py`.

use std::borrow::Cow;

use taper_graph::{Conv2d, Graph, Op, Parameter, WeightSource};
use taper_weights::WeightFile;

use super::{Found, Made, Recipe};

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
/// The only network with more than one convolution of the same size in the blocks of its stages,
/// and how many.
const SEVERAL: (&str, usize) = ("mobileone-s0", 4);
/// What stands before the names of a picture's half in open_clip's files.
const TRUNK: &str = "visual.trunk.";

/// What is the same for all blocks of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrainingForm<'a> {
    file: &'a WeightFile,
    /// Before all names.
    prefix: &'a str,
    trunk: &'static str,
    /// RepVGG has a 1 × 1 convolution beside one 3 × 3, and names both otherwise.
    repvgg: bool,
    /// Convolutions of the same size side by side, in stages.
    several: usize,
}

impl<'a> TrainingForm<'a> {
    /// That of a file for a network.
    pub(super) fn of(file: &'a WeightFile, prefix: &'a str, graph: &Graph) -> Self {
        let names = file.names();
        let repvgg = graph.name().starts_with("repvgg");
        let (network, most) = SEVERAL;
        let several = if graph.name() == network { most } else { 1 };
        let trunk = format!("{prefix}{TRUNK}");
        let trunk = if names.iter().any(|name| name.starts_with(&trunk)) { TRUNK } else { "" };
        Self { file, prefix, trunk, repvgg, several }
    }

    /// What a tensor is made of, if it is one of those that are merged.
    pub(super) fn find(self, graph: &Graph, parameter: &Parameter) -> Option<Made> {
        let Op::Conv2d(conv) = graph.nodes()[parameter.node].op else { return None };
        let (module, tensor) = parameter.name.rsplit_once('.')?;
        let tensor = if tensor == "weight" { Tensor::Weight } else { Tensor::Bias };
        let name = format!("{}{}{module}", self.prefix, self.trunk);
        // Fused already: what timm's `reparameterize` leaves alone is attention with its norm.
        if self.file.shape(&format!("{name}.bias")).is_some() {
            return None;
        }
        match (name.strip_suffix(FUSED), name.strip_suffix(".token_mixer.qkv")) {
            (Some(block), _) => Some(self.block(block, conv, tensor)),
            (None, Some(block)) => Some(self.normed_before(block, &name, conv, tensor)),
            (None, None) => None,
        }
    }

    fn block(self, block: &str, conv: Conv2d, tensor: Tensor) -> Made {
        let mut parts = Parts::new(self.file, conv);
        let (mut scaled, mut skip) = (false, false);
        if block.ends_with(".token_mixer") {
            // FastViT's RepMixer: x + γ · (mixer(x) − norm(x)).
            self.one(&format!("{block}.mixer"), &mut parts);
            parts.identity(&format!("{block}.norm.identity"), -1.0);
            parts.source(format!("{block}.layer_scale.gamma"), &[conv.out_channels, 1, 1]);
            (scaled, skip) = (true, true);
        } else if block.ends_with(".pos_emb") {
            parts.filter(format!("{block}.pos_enc.weight"), conv.kernel, false);
            parts.source(format!("{block}.pos_enc.bias"), &[conv.out_channels]);
            skip = true;
        } else if block.ends_with(".downsample.proj.0") {
            parts.conv(&format!("{block}.large_conv"), conv.kernel);
            parts.conv(&format!("{block}.small_conv"), 3);
        } else {
            self.one(block, &mut parts);
        }
        let Parts { sources, branches, lacking, .. } = parts;
        if !lacking.is_empty() {
            return Made::Part { lacking, there: sources };
        }
        let filter = [conv.out_channels, conv.in_channels / conv.groups, conv.kernel, conv.kernel];
        let shape = match tensor {
            Tensor::Weight => filter.to_vec(),
            Tensor::Bias => filter[..1].to_vec(),
        };
        let form = Form::Sum { branches, scaled, skip };
        Made::Whole(Found { shape, sources, recipe: Recipe::Fused(Fusion { tensor, form }) })
    }

    /// The branches of MobileOne and RepVGG: convolutions, a smaller one, the identity.
    fn one(self, block: &str, parts: &mut Parts<'_>) {
        let conv = parts.conv;
        let several = if block.contains("stages.") { self.several } else { 1 };
        for at in 0..several {
            let name = if self.repvgg { String::new() } else { format!(".{at}") };
            parts.conv(&format!("{block}.conv_kxk{name}"), conv.kernel);
        }
        if conv.kernel > 1 {
            let small = if self.repvgg { "conv_1x1" } else { "conv_scale" };
            parts.conv(&format!("{block}.{small}"), 1);
        }
        if conv.in_channels == conv.out_channels && conv.stride == 1 {
            parts.identity(&format!("{block}.identity"), 1.0);
        }
    }

    /// A layer of queries, keys and values with the BatchNorm before it.
    fn normed_before(self, block: &str, layer: &str, conv: Conv2d, tensor: Tensor) -> Made {
        let mut parts = Parts::new(self.file, conv);
        let (inputs, outputs) = (conv.in_channels, conv.out_channels);
        parts.source(format!("{layer}.weight"), &[outputs, inputs]);
        for own in NORM {
            parts.source(format!("{block}.norm.{own}"), &[inputs]);
        }
        if !parts.lacking.is_empty() {
            return Made::Part { lacking: parts.lacking, there: parts.sources };
        }
        let shape = match tensor {
            Tensor::Weight => vec![outputs, inputs, 1, 1],
            Tensor::Bias => vec![outputs],
        };
        let recipe = Recipe::Fused(Fusion { tensor, form: Form::NormedBefore });
        Made::Whole(Found { shape, sources: parts.sources, recipe })
    }
}

/// The sources of a convolution, as far as they are there.
struct Parts<'a> {
    file: &'a WeightFile,
    conv: Conv2d,
    sources: Vec<String>,
    branches: Vec<Branch>,
    /// What is not there, or not in the right shape.
    lacking: Vec<String>,
}

impl<'a> Parts<'a> {
    fn new(file: &'a WeightFile, conv: Conv2d) -> Self {
        Self { file, conv, sources: Vec::new(), branches: Vec::new(), lacking: Vec::new() }
    }

    fn source(&mut self, name: String, shape: &[usize]) {
        let sides = |shape: &[usize]| -> Vec<usize> {
            shape.iter().copied().filter(|side| *side != 1).collect()
        };
        match self.file.shape(&name) {
            None => self.lacking.push(name),
            Some(found) if sides(found) != sides(shape) => {
                self.lacking.push(format!("{name} in the shape {shape:?} instead of {found:?}"));
            }
            Some(_) => self.sources.push(name),
        }
    }

    fn filter(&mut self, name: String, kernel: usize, normed: bool) {
        let Conv2d { in_channels, out_channels, groups, .. } = self.conv;
        self.source(name, &[out_channels, in_channels / groups, kernel, kernel]);
        self.branches.push(Branch { kernel: Some(kernel), normed, sign: 1.0 });
    }

    fn norm(&mut self, name: &str) {
        for tensor in NORM {
            self.source(format!("{name}.{tensor}"), &[self.conv.out_channels]);
        }
    }

    /// A convolution and its BatchNorm.
    fn conv(&mut self, name: &str, kernel: usize) {
        self.filter(format!("{name}.conv.weight"), kernel, true);
        self.norm(&format!("{name}.bn"));
    }

    fn identity(&mut self, name: &str, sign: f64) {
        self.norm(name);
        self.branches.push(Branch { kernel: None, normed: true, sign });
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
            Form::NormedBefore => self.with_norm(sources),
            Form::Sum { branches, scaled, skip } => {
                self.sum(sources, shape, branches, [*scaled, *skip])
            }
        }
    }

    fn with_norm(&self, sources: &[Cow<'_, [f32]>]) -> Vec<f32> {
        let inputs = sources[1].len();
        let norm: Vec<_> = (0..inputs).map(|i| affine(&sources[1..], i)).collect();
        let rows = sources[0].chunks_exact(inputs);
        let pairs = |row: &[f32]| -> Vec<(f64, (f64, f64))> {
            row.iter().map(|w| f64::from(*w)).zip(norm.iter().copied()).collect()
        };
        match self.tensor {
            Tensor::Weight => {
                rows.flat_map(|row| pairs(row).into_iter().map(|(w, n)| (w * n.0) as f32)).collect()
            }
            Tensor::Bias => rows
                .map(|row| pairs(row).into_iter().map(|(w, n)| w * n.1).sum::<f64>() as f32)
                .collect(),
        }
    }

    fn sum(
        &self,
        sources: &[Cow<'_, [f32]>],
        shape: &[usize],
        branches: &[Branch],
        [scaled, skip]: [bool; 2],
    ) -> Vec<f32> {
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
            if scaled {
                let gamma = f64::from(sources[at][o]);
                row.iter_mut().for_each(|value| *value *= gamma);
            }
            if skip && self.tensor == Tensor::Weight {
                row[o % inputs * taps + taps / 2] += 1.0;
            }
        }
        all.into_iter().map(|value| value as f32).collect()
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
