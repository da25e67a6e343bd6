//! The kernels of each step.

use rayon::prelude::*;
use taper_backward::{
    Affine, AttentionGradient, AttentionPoolGradient, BatchNorm, DataGradient, Gradients,
    LayerNormGradient, NormParameters, Normalised, PoolGradient, SqueezeExciteGradient,
    SqueezeExciteTensors, WeightGradient, activate, activation_gradient, class_token_gradient,
    global_average_pool_gradient, patch_tokens_gradient,
};
use taper_graph::{Activation, Shape};
use taper_kernels::{
    AlignedBuffer, Attention, AttentionPool, Conv2dShape, Epilogue, KernelClass, KernelError,
    LayerNorm, PackedFilter, Pool, PoolKind, SqueezeExcite, Team, class_token, global_average_pool,
    parts::bad_shape, patch_tokens,
};
use taper_optim::Parameter;

use super::{
    fold::Product,
    positions,
    program::{Kind, Program, Step},
    schedule::Back,
};

type Result<T> = std::result::Result<T, KernelError>;

/// What all steps share.
#[derive(Debug)]
pub(crate) struct Memory {
    class: KernelClass,
    threads: usize,
    /// For each thread of a team.
    scratch: AlignedBuffer<f32>,
    /// For all threads of a team together.
    shared: AlignedBuffer<f32>,
    /// The filters of one layer, with what is folded into them, or their gradients.
    filters: AlignedBuffer<f32>,
    /// Its biases, or theirs.
    biases: AlignedBuffer<f32>,
    /// Two numbers for each of its channels.
    channels: Vec<[f64; 2]>,
}

impl Memory {
    /// For kernels of this class on the threads of the current pool.
    pub(crate) fn new(class: KernelClass) -> Self {
        let buffer = || AlignedBuffer::new(0);
        Self {
            class,
            threads: rayon::current_num_threads(),
            scratch: buffer(),
            shared: buffer(),
            filters: buffer(),
            biases: buffer(),
            channels: Vec::new(),
        }
    }

    pub(crate) fn class(&self) -> KernelClass {
        self.class
    }

    /// All threads.
    pub(crate) fn team(&mut self) -> Team<'_> {
        Team::new(self.threads, &mut self.scratch)
    }

    /// Makes room for a layer that reads so many values of each picture.
    pub(crate) fn reserve(&mut self, kernel: &Kernel, batch: usize, values: usize) -> Result<()> {
        self.scratch.grow(self.threads * kernel.scratch_len().next_multiple_of(16));
        self.shared.grow(kernel.shared_len(batch, values)?);
        match kernel {
            Kernel::Conv { shape, .. } => {
                self.filters.grow(shape.filter_len());
                self.biases.grow(shape.out_channels);
                let channels = self.channels.len().max(shape.out_channels);
                self.channels.resize(channels, [0.0; 2]);
            }
            Kernel::PatchTokens { shape: [prefix, patches, width], .. } => {
                self.filters.grow((prefix + patches) * width);
            }
            Kernel::BatchNorm { .. }
            | Kernel::LayerNorm { .. }
            | Kernel::MaxPool(..)
            | Kernel::GlobalAvgPool(_)
            | Kernel::SqueezeExcite(_)
            | Kernel::Attention(..)
            | Kernel::AttentionPool(..)
            | Kernel::ClassToken(_)
            | Kernel::Smooth(_)
            | Kernel::Nothing => {}
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        let all = [&self.scratch, &self.shared, &self.filters, &self.biases];
        let values: usize = all.iter().map(|buffer| size_of_val(&***buffer)).sum();
        values + size_of_val(&*self.channels)
    }
}

/// What a step reads in the forward pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forward<'a> {
    pub(crate) n: usize,
    pub(crate) input: &'a [f32],
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) activation: Option<Activation>,
    pub(crate) training: bool,
}

/// What a step reads in the backward pass.
#[derive(Debug)]
pub(crate) struct Backward<'a> {
    pub(crate) n: usize,
    /// Empty where it is not needed.
    pub(crate) input: &'a [f32],
    /// Of the output, before the activation.
    pub(crate) gradient: &'a mut [f32],
    /// Added to the gradient of the input.
    pub(crate) add_to: Option<&'a [f32]>,
    /// Whether it is `gradient` that is added.
    pub(crate) add_gradient: bool,
    /// The input, if the derivative of the activation that it came from is applied.
    pub(crate) mask: Option<&'a [f32]>,
    /// That activation.
    pub(crate) activation: Option<Activation>,
    /// Whether gradients of parameters are added to those that are there.
    pub(crate) add: bool,
}

impl Backward<'_> {
    fn epilogue(&self) -> Epilogue<'_, f32> {
        let activation = self.activation.filter(|_| self.mask.is_some());
        let own = self.add_gradient.then_some(&*self.gradient);
        Epilogue { residual: own.or(self.add_to), activation, mask: self.mask }
    }
}

/// The kernels of a step, forward and backward.
#[derive(Debug)]
pub(crate) enum Kernel {
    Conv {
        shape: Conv2dShape,
        filter: Box<PackedFilter<f32>>,
        /// If the gradient of the input is wanted.
        data: Option<Box<DataGradient>>,
        /// If the layer is trained.
        weight: Option<WeightGradient>,
    },
    BatchNorm {
        kernel: BatchNorm,
        /// Of the batch.
        mean: Vec<f32>,
        variance: Vec<f32>,
    },
    LayerNorm {
        forward: LayerNorm,
        backward: LayerNormGradient,
    },
    SqueezeExcite(Box<SqueezeExcite>),
    Attention(Attention, AttentionGradient),
    AttentionPool(AttentionPool, AttentionPoolGradient),
    MaxPool(Pool, PoolGradient),
    /// Pixels and channels.
    GlobalAvgPool([usize; 2]),
    PatchTokens {
        grid: [usize; 2],
        /// Learned tokens, patches and width.
        shape: [usize; 3],
        /// What is added.
        table: Vec<f32>,
    },
    /// Tokens and width.
    ClassToken([usize; 2]),
    /// An activation that is no clamp.
    Smooth(Activation),
    Nothing,
}

impl Kernel {
    pub(crate) fn new(
        class: KernelClass,
        program: &Program,
        step: &Step,
        back: Option<&Back>,
    ) -> Result<Self> {
        let input = program.values[step.input];
        let wanted = back.is_some_and(|back| back.input.is_some());
        Ok(match &step.kind {
            Kind::Conv { shape, .. } => {
                let zeros = vec![0.0; shape.filter_len()];
                let data = || DataGradient::new(class, shape, &zeros).map(Box::new);
                Self::Conv {
                    shape: *shape,
                    filter: Box::new(PackedFilter::pack(class, shape, &zeros, None)?),
                    data: if wanted { Some(data()?) } else { None },
                    weight: if step.trains {
                        Some(WeightGradient::new(class, shape)?)
                    } else {
                        None
                    },
                }
            }
            Kind::MaxPool { window } => {
                let [height, width, channels] = map(input.shape);
                let size = [height, width];
                Self::MaxPool(
                    Pool::new(class, PoolKind::Max, size, channels, *window)?,
                    PoolGradient::new(class, PoolKind::Max, size, channels, *window)?,
                )
            }
            Kind::GlobalAvgPool => {
                let [height, width, channels] = map(input.shape);
                Self::GlobalAvgPool([height * width, channels])
            }
            Kind::PatchTokens { tokens, .. } => {
                let [height, width, channels] = map(input.shape);
                Self::PatchTokens {
                    grid: [height, width],
                    shape: [tokens.prefix, height * width, channels],
                    table: Vec::new(),
                }
            }
            Kind::ClassToken => {
                let [_, tokens, width] = map(input.shape);
                Self::ClassToken([tokens, width])
            }
            Kind::BatchNorm { norm, .. } => {
                let kernel = BatchNorm::new(class, norm.channels, norm.eps as f32)?;
                let zeros = || vec![0.0; norm.channels];
                Self::BatchNorm { kernel, mean: zeros(), variance: zeros() }
            }
            Kind::LayerNorm { norm, .. } => {
                let (channels, eps) = (norm.channels, norm.eps as f32);
                let zeros = vec![0.0; channels];
                Self::LayerNorm {
                    forward: LayerNorm::new(class, &zeros, &zeros, eps)?,
                    backward: LayerNormGradient::new(class, channels, eps)?,
                }
            }
            Kind::SqueezeExcite { sizes, .. } => {
                let (channels, reduced) = (sizes.channels, sizes.reduced);
                let zeros = vec![0.0; channels * reduced];
                let squeeze = (&*zeros, &vec![0.0; reduced][..]);
                let excite = (&*zeros, &vec![0.0; channels][..]);
                let sizes = [input.shape.positions(), channels, reduced];
                Self::SqueezeExcite(Box::new(SqueezeExcite::new(class, sizes, squeeze, excite)?))
            }
            Kind::Attention { heads } => {
                let own = program.values[step.output].shape;
                let (tokens, width) = (own.positions(), own.channels());
                Self::Attention(
                    Attention::new(class, tokens, width, *heads)?,
                    AttentionGradient::new(class, tokens, width, *heads)?,
                )
            }
            Kind::AttentionPool { heads } => {
                let [_, tokens, _] = map(input.shape);
                let [_, _, width] = map(program.values[step.output].shape);
                Self::AttentionPool(
                    AttentionPool::new(class, tokens, width, *heads)?,
                    AttentionPoolGradient::new(class, tokens, width, *heads)?,
                )
            }
            Kind::Smooth(activation) => Self::Smooth(*activation),
            Kind::Nothing => Self::Nothing,
        })
    }

    fn scratch_len(&self) -> usize {
        match self {
            Self::Conv { filter, data, weight, .. } => {
                let data = data.as_ref().map_or(0, |data| data.scratch_len());
                let weight = weight.as_ref().map_or(0, WeightGradient::scratch_len);
                filter.scratch_len().max(data).max(weight)
            }
            Self::Attention(forward, backward) => forward.scratch_len().max(backward.scratch_len()),
            Self::AttentionPool(forward, _) => forward.scratch_len(),
            Self::SqueezeExcite(kernel) => kernel.scratch_len(),
            Self::BatchNorm { .. }
            | Self::LayerNorm { .. }
            | Self::MaxPool(..)
            | Self::GlobalAvgPool(_)
            | Self::PatchTokens { .. }
            | Self::ClassToken(_)
            | Self::Smooth(_)
            | Self::Nothing => 0,
        }
    }

    fn shared_len(&self, batch: usize, values: usize) -> Result<usize> {
        match self {
            Self::Conv { weight: Some(weight), .. } => weight.shared_len(batch),
            Self::BatchNorm { kernel, mean, .. } => {
                Ok(kernel.shared_len(batch * values / mean.len()))
            }
            Self::LayerNorm { forward, backward, .. } => {
                Ok(backward.shared_len(batch * values / forward.channels()))
            }
            Self::SqueezeExcite(kernel) => Ok(SqueezeExciteGradient::shared_len(kernel, batch)),
            Self::Conv { weight: None, .. }
            | Self::Attention(..)
            | Self::AttentionPool(..)
            | Self::MaxPool(..)
            | Self::GlobalAvgPool(_)
            | Self::PatchTokens { .. }
            | Self::ClassToken(_)
            | Self::Smooth(_)
            | Self::Nothing => Ok(0),
        }
    }

    /// Bytes of packed filters and tables.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Conv { filter, data, .. } => {
                // Turned filters are about as large.
                filter.bytes() * if data.is_some() { 2 } else { 1 }
            }
            Self::BatchNorm { mean, variance, .. } => {
                size_of_val(&**mean) + size_of_val(&**variance)
            }
            Self::LayerNorm { forward, .. } => forward.bytes(),
            Self::PatchTokens { table, .. } => size_of_val(&**table),
            Self::SqueezeExcite(kernel) => kernel.bytes(),
            Self::Attention(..)
            | Self::AttentionPool(..)
            | Self::MaxPool(..)
            | Self::GlobalAvgPool(_)
            | Self::ClassToken(_)
            | Self::Smooth(_)
            | Self::Nothing => 0,
        }
    }

    /// Takes over the values of the parameters.
    pub(crate) fn load(
        &mut self,
        step: &Step,
        parameters: &[Parameter],
        memory: &mut Memory,
    ) -> Result<()> {
        match (self, &step.kind) {
            (Self::Conv { shape, filter, data, .. }, Kind::Conv { weight, bias, folded, .. }) => {
                let mut team = Team::new(memory.threads, &mut memory.scratch);
                let own = &parameters[*weight].values;
                let (weights, bias) = if folded.is_empty() {
                    (own.as_slice(), bias.map(|bias| parameters[bias].values.as_slice()))
                } else {
                    let weights = &mut memory.filters[..shape.filter_len()];
                    let biases = &mut memory.biases[..shape.out_channels];
                    let product = Product { weight: *weight, bias: *bias, stages: folded };
                    product.fold(parameters, weights, biases);
                    (&*weights, Some(&*biases))
                };
                filter.repack(&mut team, weights, bias)?;
                match data {
                    Some(data) => data.repack(&mut team, weights),
                    None => Ok(()),
                }
            }
            (Self::LayerNorm { forward, .. }, Kind::LayerNorm { scale, .. }) => {
                let [scale, bias] = [0, 1].map(|i| parameters[scale + i].values.as_slice());
                forward.set(scale, bias)
            }
            (Self::PatchTokens { grid, table, .. }, Kind::PatchTokens { first, tokens }) => {
                let own = &parameters[*first..];
                *table = match tokens.prefix {
                    0 => tokens.table(&[], &own[0].values, *grid),
                    _ => tokens.table(&own[0].values, &own[1].values, *grid),
                };
                Ok(())
            }
            (Self::SqueezeExcite(kernel), Kind::SqueezeExcite { first, .. }) => {
                let [w1, b1, w2, b2] =
                    [0, 1, 2, 3].map(|i| parameters[first + i].values.as_slice());
                kernel.set((w1, b1), (w2, b2))
            }
            _ => Ok(()),
        }
    }

    /// Computes a step; see [`Forward`].
    pub(crate) fn forward(
        &mut self,
        memory: &mut Memory,
        step: &Step,
        parameters: &mut [Parameter],
        given: Forward<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let Forward { n, input, residual, activation, training } = given;
        let class = memory.class;
        let team = &mut Team::new(memory.threads, &mut memory.scratch);
        let shared = &mut memory.shared;
        let epilogue = Epilogue { residual, activation, mask: None };
        match self {
            Self::Conv { filter, .. } => filter.run(team, n, input, epilogue, out),
            Self::BatchNorm { kernel, mean, variance } => {
                let Kind::BatchNorm { scale, norm } = &step.kind else { return Ok(()) };
                let rows = input.len() / norm.channels;
                if training {
                    if rows < 2 {
                        let reason = "BatchNorm cannot be trained on one value of each channel: \
                                      use larger batches, or frozen statistics";
                        return Err(bad_shape("batch normalisation", reason.into()));
                    }
                    kernel.statistics(team, shared, input, mean, variance)?;
                    let own = &mut parameters[*scale..*scale + 4];
                    update_statistics(own, norm, rows, mean, variance);
                }
                let own = &parameters[*scale..*scale + 4];
                let [running_mean, running_variance] = [2, 3].map(|i| own[i].values.as_slice());
                let parameters = NormParameters {
                    mean: if training { mean } else { running_mean },
                    variance: if training { variance } else { running_variance },
                    scale: &own[0].values,
                    bias: &own[1].values,
                };
                kernel.run(team, shared, input, &parameters, epilogue, out)
            }
            Self::LayerNorm { forward, .. } => {
                forward.run(team, input.len() / forward.channels(), input, out)
            }
            Self::Attention(forward, _) => forward.run(team, n, input, out),
            Self::AttentionPool(forward, _) => forward.run(team, n, input, out),
            Self::SqueezeExcite(kernel) => kernel.run(team, n, input, None, out),
            Self::MaxPool(pool, _) => pool.run(team, n, input, out),
            Self::GlobalAvgPool(shape) => global_average_pool(class, team, n, *shape, input, out),
            Self::PatchTokens { shape, table, .. } => {
                patch_tokens(class, team, n, *shape, table, input, out)
            }
            Self::ClassToken(shape) => class_token(n, *shape, input, out),
            Self::Smooth(activation) => activate(class, team, *activation, input, out),
            Self::Nothing => {
                out.copy_from_slice(input);
                if let Some(residual) = residual {
                    taper_backward::add(class, team, residual, out)?;
                }
                let limit = match activation {
                    Some(Activation::Relu) => f32::INFINITY,
                    Some(Activation::Relu6) => 6.0,
                    None
                    | Some(Activation::Gelu | Activation::QuickGelu | Activation::GeluTanh) => {
                        return Ok(());
                    }
                };
                // NaN stays: diverged training must not be hidden.
                out.par_iter_mut().for_each(|v| {
                    *v = if *v < 0.0 {
                        0.0
                    } else if *v > limit {
                        limit
                    } else {
                        *v
                    };
                });
                Ok(())
            }
        }
    }

    /// Computes a normalisation with the statistics of the last training pass, once more.
    pub(crate) fn again(
        &self,
        memory: &mut Memory,
        step: &Step,
        parameters: &[Parameter],
        given: Forward<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let (Self::BatchNorm { kernel, mean, variance }, Kind::BatchNorm { scale, .. }) =
            (self, &step.kind)
        else {
            return Ok(());
        };
        let team = &mut Team::new(memory.threads, &mut memory.scratch);
        let [scale, bias] = [0, 1].map(|i| parameters[scale + i].values.as_slice());
        let parameters = NormParameters { mean, variance, scale, bias };
        let epilogue =
            Epilogue { residual: given.residual, activation: given.activation, mask: None };
        kernel.run(team, &mut memory.shared, given.input, &parameters, epilogue, out)
    }

    /// The gradients of a step's tensors and, if there is room for it, of its input. Returns
    /// whether that has been added to and masked.
    pub(crate) fn backward(
        &mut self,
        memory: &mut Memory,
        step: &Step,
        parameters: &mut [Parameter],
        given: Backward<'_>,
        out: Option<&mut [f32]>,
    ) -> Result<bool> {
        let (n, add, class) = (given.n, given.add, memory.class);
        match (self, &step.kind) {
            (Self::Conv { data, weight, .. }, kind) => {
                if let Some(weight) = weight {
                    weight_gradient(weight, memory, kind, parameters, &given)?;
                }
                if let (Some(data), Some(out)) = (data, out) {
                    let team = &mut Team::new(memory.threads, &mut memory.scratch);
                    data.run(team, n, given.gradient, given.epilogue(), out)?;
                }
                Ok(true)
            }
            (Self::BatchNorm { kernel, mean, variance }, Kind::BatchNorm { scale, .. }) => {
                let team = &mut Team::new(memory.threads, &mut memory.scratch);
                let (scales, biases) = parameters[*scale..].split_at_mut(1);
                let (scales, biases) = (&mut scales[0], &mut biases[0]);
                let parameters =
                    NormParameters { mean, variance, scale: &scales.values, bias: &biases.values };
                let of = Normalised { input: given.input, parameters, fixed: false, mask: None };
                let into = Affine {
                    scale: &mut scales.gradient,
                    bias: &mut biases.gradient,
                    accumulate: add,
                };
                kernel.gradient(team, &mut memory.shared, &of, given.gradient, into, out)?;
                Ok(false)
            }
            (Self::LayerNorm { backward, .. }, Kind::LayerNorm { scale, .. }) => {
                let team = &mut Team::new(memory.threads, &mut memory.scratch);
                let (scales, biases) = parameters[*scale..].split_at_mut(1);
                let into = Affine {
                    scale: &mut scales[0].gradient,
                    bias: &mut biases[0].gradient,
                    accumulate: add,
                };
                let gradient = match out {
                    Some(out) => {
                        out.copy_from_slice(given.gradient);
                        out
                    }
                    None => given.gradient,
                };
                let inputs = [given.input, &scales[0].values];
                backward.run(team, &mut memory.shared, inputs, None, gradient, into)?;
                Ok(false)
            }
            (Self::PatchTokens { grid, shape, .. }, Kind::PatchTokens { first, tokens }) => {
                let team = &mut Team::new(memory.threads, &mut memory.scratch);
                let table = &mut memory.filters[..(shape[0] + shape[1]) * shape[2]];
                let into = step.trains.then_some((&mut *table, false));
                patch_tokens_gradient(class, team, n, *shape, given.gradient, into, out)?;
                if step.trains {
                    let learned = usize::from(tokens.prefix > 0);
                    let (class, positions) = parameters[*first..].split_at_mut(learned);
                    let class = class.first_mut().map(|own| own.gradient.as_mut_slice());
                    let positions = &mut positions[0].gradient;
                    let into = (class.unwrap_or_default(), positions.as_mut_slice());
                    positions::gradients(tokens, *grid, table, into, add);
                }
                Ok(false)
            }
            (Self::SqueezeExcite(kernel), Kind::SqueezeExcite { first, .. }) => {
                let team = &mut Team::new(memory.threads, &mut memory.scratch);
                let [w1, b1, w2, b2] = &mut parameters[*first..*first + 4] else {
                    return Ok(true);
                };
                let tensors = step.trains.then_some(SqueezeExciteTensors {
                    tensors: [
                        &mut w1.gradient,
                        &mut b1.gradient,
                        &mut w2.gradient,
                        &mut b2.gradient,
                    ],
                    accumulate: add,
                });
                let of = [given.input, given.gradient];
                let weights = [w1.values.as_slice(), w2.values.as_slice()];
                let shared = &mut memory.shared;
                SqueezeExciteGradient::run(team, shared, kernel, n, of, weights, tensors, out)?;
                Ok(false)
            }
            (kernel, _) => match out {
                Some(out) => kernel.pass_back(memory, given, out),
                None => Ok(true),
            },
        }
    }

    /// The gradient of the input of a step without tensors.
    fn pass_back(&self, memory: &mut Memory, given: Backward<'_>, out: &mut [f32]) -> Result<bool> {
        let (n, class) = (given.n, memory.class);
        let team = &mut Team::new(memory.threads, &mut memory.scratch);
        match self {
            Self::MaxPool(_, pool) => {
                pool.run(team, n, given.input, given.gradient, given.epilogue(), out)?;
                Ok(true)
            }
            Self::GlobalAvgPool(shape) => {
                let epilogue = given.epilogue();
                let gradient = &*given.gradient;
                global_average_pool_gradient(class, team, n, *shape, gradient, epilogue, out)?;
                Ok(true)
            }
            Self::Attention(_, attention) => {
                attention.run(team, n, given.input, given.gradient, out)?;
                Ok(false)
            }
            Self::AttentionPool(_, pool) => {
                pool.run(team, n, given.input, given.gradient, out)?;
                Ok(false)
            }
            Self::ClassToken(shape) => {
                class_token_gradient(n, *shape, given.gradient, out)?;
                Ok(false)
            }
            Self::Smooth(activation) => {
                out.copy_from_slice(given.gradient);
                activation_gradient(class, team, *activation, given.input, out)?;
                Ok(false)
            }
            Self::Conv { .. }
            | Self::BatchNorm { .. }
            | Self::LayerNorm { .. }
            | Self::PatchTokens { .. }
            | Self::SqueezeExcite(_)
            | Self::Nothing => Ok(true),
        }
    }
}

/// The gradients of filters and biases, and of what is folded into them.
fn weight_gradient(
    kernel: &WeightGradient,
    memory: &mut Memory,
    kind: &Kind,
    parameters: &mut [Parameter],
    given: &Backward<'_>,
) -> Result<()> {
    let Kind::Conv { shape, weight, bias, folded } = kind else { return Ok(()) };
    let mut team = Team::new(memory.threads, &mut memory.scratch);
    let own = folded.is_empty() && !parameters[*weight].gradient.is_empty();
    if own {
        let (filters, biases) = parameters[*weight..].split_at_mut(1);
        let into = Gradients {
            weights: &mut filters[0].gradient,
            bias: bias.map(|_| biases[0].gradient.as_mut_slice()),
            accumulate: given.add,
        };
        let shared = &mut memory.shared;
        return kernel.run(&mut team, shared, given.n, given.input, given.gradient, into);
    }
    let weights = &mut memory.filters[..shape.filter_len()];
    let biases = &mut memory.biases[..shape.out_channels];
    let into = Gradients { weights, bias: Some(biases), accumulate: false };
    kernel.run(&mut team, &mut memory.shared, given.n, given.input, given.gradient, into)?;
    let product = Product { weight: *weight, bias: *bias, stages: folded };
    product.unfold(parameters, weights, biases, given.add, &mut memory.channels);
    Ok(())
}

/// running ← (1 − momentum) · running + momentum · batch, with the unbiased variance where the
/// network was trained so.
fn update_statistics(
    own: &mut [Parameter],
    norm: &taper_graph::BatchNorm,
    rows: usize,
    mean: &[f32],
    variance: &[f32],
) {
    let correction = if norm.unbiased { (rows as f64 / (rows as f64 - 1.0)) as f32 } else { 1.0 };
    let momentum = norm.momentum as f32;
    for (running, (of_batch, correction)) in
        own[2..].iter_mut().zip([(mean, 1.0), (variance, correction)])
    {
        for (running, of_batch) in running.values.iter_mut().zip(of_batch) {
            *running = *running * (1.0 - momentum) + of_batch * correction * momentum;
        }
    }
}

/// Height, width and channels; of tokens, one row of them.
fn map(shape: Shape) -> [usize; 3] {
    match shape {
        Shape::Map { height, width, channels } => [height, width, channels],
        Shape::Tokens { count, width } => [1, count, width],
        Shape::Vector(len) => [1, 1, len],
    }
}
