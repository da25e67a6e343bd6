//! The trained part of a network, forward and backward.

mod fold;
mod kernel;
mod positions;
mod program;
mod schedule;

use taper_graph::{Graph, WeightSource, check_weights};
use taper_kernels::{AlignedBuffer, Kernels};
use taper_optim::{Parameter, Parameters};

use crate::{Boundary, Error, Result, error::check_length};
use kernel::{Kernel, Memory};
use program::{CUT, Program, Step, ValueId};
use schedule::{Again, Back, Schedule, Target};

/// What BatchNorm does in the part of a network that is trained, and in its head. Below the
/// boundary, its statistics never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchNormMode {
    /// The statistics stay; scale and bias are trained. Each picture is then independent of the
    /// others in its batch.
    #[default]
    Frozen,
    /// Normalises with the statistics of the batch, and updates the running ones with the network's
    /// own momentum.
    Trained,
}

/// How to build a [`Suffix`].
#[derive(Debug, Clone)]
pub struct SuffixOptions {
    /// Height and width of the network's pictures, in pixels.
    pub size: [usize; 2],
    /// The most pictures in a pass, at least 1.
    pub batch: usize,
    /// What BatchNorm does.
    pub batch_norm: BatchNormMode,
    /// Which instructions to use.
    pub kernels: Kernels,
}

impl SuffixOptions {
    /// For pictures of this size and batches of up to `batch` of them, with frozen statistics and
    /// the best kernels.
    pub fn new(size: [usize; 2], batch: usize) -> Self {
        Self { size, batch, batch_norm: BatchNormMode::default(), kernels: Kernels::default() }
    }
}

/// The layers of a network above a [`Boundary`], up to its features, in training: forward with
/// what the backward pass needs, and backward. The layers' tensors are the caller's
/// ([`Suffix::parameters`]).
///
/// All memory is allocated when it is built: one arena, in which values and gradients share
/// buffers as soon as they are no longer needed.
#[derive(Debug)]
pub struct Suffix {
    network: String,
    program: Program,
    schedule: Schedule,
    batch: usize,
    batch_norm: BatchNormMode,
    /// Pictures in the last pass.
    rows: usize,
    kernels: Vec<Kernel>,
    buffers: Vec<AlignedBuffer<f32>>,
    memory: Memory,
}

impl Suffix {
    /// Builds the layers above the boundary.
    ///
    /// # Errors
    /// [`Error::Layer`] names a layer that cannot be trained, [`Error::Graph`] if the size does not
    /// fit, [`Error::Kernel`] if the processor lacks the kernels.
    pub fn new(graph: &Graph, boundary: Boundary, options: &SuffixOptions) -> Result<Self> {
        let class = options.kernels.resolve()?;
        let program = Program::new(graph, options.size, boundary, options.batch_norm)?;
        let schedule = Schedule::new(&program);
        let batch = options.batch.max(1);
        let mut kernels = Vec::with_capacity(program.steps.len());
        let mut memory = Memory::new(class);
        for (index, step) in program.steps.iter().enumerate() {
            let back = schedule.back.iter().find(|back| back.step == index);
            let kernel = Kernel::new(class, &program, step, back)
                .map_err(|source| Error::of_kernel(graph.name(), &step.name, source))?;
            let values = program.values[step.input].len;
            memory
                .reserve(&kernel, batch, values)
                .map_err(|source| Error::of_kernel(graph.name(), &step.name, source))?;
            kernels.push(kernel);
        }
        let buffers = schedule.sizes.iter().map(|len| AlignedBuffer::new(len * batch)).collect();
        let network = graph.name().to_owned();
        let batch_norm = options.batch_norm;
        Ok(Self {
            network,
            program,
            schedule,
            batch,
            batch_norm,
            rows: 0,
            kernels,
            buffers,
            memory,
        })
    }

    /// The tensors of these layers, with values from `weights`: those that are trained have
    /// gradients, those of layers below the boundary and running statistics have none.
    ///
    /// # Errors
    /// [`taper_graph::Error::Weights`] if a tensor is missing or of another shape.
    pub fn parameters(&self, graph: &Graph, weights: &dyn WeightSource) -> Result<Parameters> {
        Ok(Parameters::from_tensors(self.tensors(graph, weights)?))
    }

    /// The tensors of [`Suffix::parameters`], with their values, and whether they are trained.
    pub(crate) fn tensors(
        &self,
        graph: &Graph,
        weights: &dyn WeightSource,
    ) -> Result<Vec<(taper_graph::Parameter, Vec<f32>, bool)>> {
        check_weights(graph, weights)?;
        let tensors = self.program.tensors.iter().map(|(tensor, trained)| {
            let values = weights.values(&tensor.name).map(|values| values.into_owned());
            let values = values.ok_or_else(|| Error::Layer {
                network: self.network.clone(),
                layer: tensor.name.clone(),
                problem: "its values cannot be read from the weights".into(),
            })?;
            Ok((tensor.clone(), values, *trained))
        });
        tensors.collect()
    }

    /// Numbers for one picture where the frozen part ends: channels last, or tokens in sequence.
    pub fn input_len(&self) -> usize {
        self.program.values[CUT].len
    }

    /// Features of one picture.
    pub fn width(&self) -> usize {
        self.program.values[self.last()].len
    }

    /// The most pictures in a pass.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What BatchNorm does.
    pub fn batch_norm(&self) -> BatchNormMode {
        self.batch_norm
    }

    /// Bytes that the values and gradients of one picture take in a pass, without building
    /// anything. Filters and scratch memory, which do not grow with the batch, are not counted.
    ///
    /// # Errors
    /// As [`Suffix::new`].
    pub fn bytes_per_picture(
        graph: &Graph,
        boundary: Boundary,
        options: &SuffixOptions,
    ) -> Result<usize> {
        let program = Program::new(graph, options.size, boundary, options.batch_norm)?;
        Ok(Schedule::new(&program).sizes.iter().sum::<usize>() * size_of::<f32>())
    }

    /// Bytes of the arena, the packed filters and all scratch memory.
    pub fn bytes(&self) -> usize {
        let values: usize = self.buffers.iter().map(|buffer| buffer.len()).sum();
        let kernels: usize = self.kernels.iter().map(Kernel::bytes).sum();
        values * size_of::<f32>() + kernels + self.memory.bytes()
    }

    fn last(&self) -> ValueId {
        self.program.values.len() - 1
    }

    /// Takes over the values of the parameters, as [`Suffix::parameters`] gave them, after they
    /// have changed.
    ///
    /// # Errors
    /// [`Error::Kernel`] if they are another network's.
    pub fn load(&mut self, parameters: &[Parameter]) -> Result<()> {
        let Self { kernels, program, memory, .. } = self;
        for (kernel, step) in kernels.iter_mut().zip(&program.steps) {
            kernel
                .load(step, parameters, memory)
                .map_err(|source| Error::of_kernel(&self.network, &step.name, source))?;
        }
        Ok(())
    }

    /// The training pass over `n` pictures, at most [`Suffix::batch`]: `fill` writes what the
    /// frozen part gives for them, f32 `[n, input_len]`, into the slice that it gets. Returns the
    /// features, `[n, width]`.
    ///
    /// # Errors
    /// [`Error::Length`] for too many pictures; [`Error::Layer`] if a BatchNorm that is trained
    /// would see a single value of each channel.
    pub fn forward(
        &mut self,
        parameters: &mut [Parameter],
        n: usize,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<&[f32]> {
        self.pass(parameters, n, fill, true)
    }

    /// The features for evaluation: BatchNorm uses its running statistics. Otherwise as
    /// [`Suffix::forward`].
    ///
    /// # Errors
    /// As [`Suffix::forward`].
    pub fn evaluate(
        &mut self,
        parameters: &mut [Parameter],
        n: usize,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<&[f32]> {
        self.pass(parameters, n, fill, false)
    }

    fn pass(
        &mut self,
        parameters: &mut [Parameter],
        n: usize,
        fill: impl FnOnce(&mut [f32]),
        training: bool,
    ) -> Result<&[f32]> {
        if n > self.batch {
            return Err(Error::Length { what: "batch", found: n, needed: self.batch });
        }
        self.rows = if training { n } else { 0 };
        let len = n * self.input_len();
        fill(&mut self.buffers[self.schedule.slot[CUT]][..len]);
        for index in 0..self.kernels.len() {
            let step = &self.program.steps[index];
            let out = self.schedule.slot[step.output];
            let mut to = std::mem::take(&mut self.buffers[out]);
            let places = (&self.program, &self.schedule, &self.buffers[..]);
            let input = reads(places, step, n, training);
            let own = &mut to[..n * self.program.values[step.output].len];
            let memory = &mut self.memory;
            let result = self.kernels[index].forward(memory, step, parameters, input, own);
            self.buffers[out] = to;
            result.map_err(|source| Error::of_kernel(&self.network, &step.name, source))?;
        }
        let last = self.last();
        Ok(&self.buffers[self.schedule.slot[last]][..n * self.program.values[last].len])
    }

    /// The backward pass of the last [`Suffix::forward`], from the loss's gradient with respect to
    /// the features, `[n, width]`. The gradients are added to those that the parameters have, or
    /// replace them ([`Parameters::begin_backward`]): `add`.
    ///
    /// # Errors
    /// [`Error::Length`] if the gradient does not fit the last pass.
    pub fn backward(
        &mut self,
        parameters: &mut [Parameter],
        gradient: &[f32],
        add: bool,
    ) -> Result<()> {
        let n = self.rows;
        check_length("gradient", gradient.len(), n * self.width())?;
        let Some(features) = self.schedule.features else { return Ok(()) };
        self.buffers[self.schedule.slot[features]][..gradient.len()].copy_from_slice(gradient);
        let mut again = 0;
        for position in 0..self.schedule.back.len() {
            while self.schedule.again.get(again).is_some_and(|own| own.before == position) {
                self.again(self.schedule.again[again], n, parameters)?;
                again += 1;
            }
            let back = self.schedule.back[position];
            self.residual(back, n)?;
            self.back(back, n, parameters, add)?;
        }
        Ok(())
    }

    /// Computes what the forward pass has given, but was not kept.
    fn again(&mut self, again: Again, n: usize, parameters: &[Parameter]) -> Result<()> {
        let step = &self.program.steps[again.step];
        let out = self.schedule.slot[again.out];
        let mut to = std::mem::take(&mut self.buffers[out]);
        let input = reads((&self.program, &self.schedule, &self.buffers), step, n, true);
        let own = &mut to[..n * self.program.values[step.output].len];
        let result = self.kernels[again.step].again(&mut self.memory, step, parameters, input, own);
        self.buffers[out] = to;
        result.map_err(|source| Error::of_kernel(&self.network, &step.name, source))
    }

    /// Numbers of a gradient: as many as of the value that it belongs to.
    fn target_len(&self, value: ValueId, n: usize) -> usize {
        n * self.program.values[value].len
    }

    /// The gradient of what a step adds: that of its output, with what else there is.
    fn residual(&mut self, back: Back, n: usize) -> Result<()> {
        let step = &self.program.steps[back.step];
        match (back.residual, step.residual) {
            (Some(target), Some(value)) => self.pass_on(back, target, value, n),
            _ => Ok(()),
        }
    }

    fn pass_on(&mut self, back: Back, target: Target, value: ValueId, n: usize) -> Result<()> {
        let len = self.target_len(value, n);
        let slot = |tensor: usize| self.schedule.slot[tensor];
        let mut to = std::mem::take(&mut self.buffers[slot(target.out)]);
        to[..len].copy_from_slice(&self.buffers[slot(back.from)][..len]);
        self.buffers[slot(target.out)] = to;
        self.finish(target, n, value, back.step)
    }

    /// Adds and masks what a kernel without an epilogue has written.
    fn finish(&mut self, target: Target, n: usize, value: ValueId, step: usize) -> Result<()> {
        let len = self.target_len(value, n);
        let slot = |tensor: usize| self.schedule.slot[tensor];
        let mut to = std::mem::take(&mut self.buffers[slot(target.out)]);
        let class = self.memory.class();
        let mut team = self.memory.team();
        let mut result = Ok(());
        if let Some(other) = target.add {
            let other = &self.buffers[slot(other)][..len];
            result = taper_backward::add(class, &mut team, other, &mut to[..len]);
        }
        let activation = self.program.values[value].activation;
        if let (Ok(()), Some(mask), Some(activation)) = (&result, target.mask, activation) {
            let kept = &self.buffers[slot(mask)][..len];
            let to = &mut to[..len];
            result = taper_backward::activation_gradient(class, &mut team, activation, kept, to);
        }
        self.buffers[slot(target.out)] = to;
        let name = &self.program.steps[step].name;
        result.map_err(|source| Error::of_kernel(&self.network, name, source))
    }

    fn back(
        &mut self,
        back: Back,
        n: usize,
        parameters: &mut [Parameter],
        add: bool,
    ) -> Result<()> {
        let step = &self.program.steps[back.step];
        let input = step.input;
        if matches!(step.kind, program::Kind::Nothing) {
            return match back.input {
                Some(target) => self.pass_on(back, target, input, n),
                None => Ok(()),
            };
        }
        let slot = |tensor: usize| self.schedule.slot[tensor];
        let values = &self.program.values;
        let len = n * values[step.input].len;
        let out = back.input.map(|target| slot(target.out));
        let mut to = out.map(|slot| std::mem::take(&mut self.buffers[slot]));
        let mut from = std::mem::take(&mut self.buffers[slot(back.from)]);
        let read = |tensor: usize| &self.buffers[slot(tensor)][..len];
        let add_to = back.input.and_then(|target| target.add);
        let given = kernel::Backward {
            n,
            input: back.reads.map_or(&[], read),
            gradient: &mut from[..n * values[step.output].len],
            add_to: add_to.filter(|add| *add != back.from).map(read),
            add_gradient: add_to == Some(back.from),
            mask: back.input.and_then(|target| target.mask).map(read),
            activation: values[step.input].activation,
            add,
        };
        let into = to.as_mut().map(|to| &mut to[..len]);
        let memory = &mut self.memory;
        let result = self.kernels[back.step].backward(memory, step, parameters, given, into);
        self.buffers[slot(back.from)] = from;
        if let (Some(slot), Some(to)) = (out, to) {
            self.buffers[slot] = to;
        }
        let finished =
            result.map_err(|source| Error::of_kernel(&self.network, &step.name, source))?;
        match back.input {
            Some(target) if !finished => self.finish(target, n, input, back.step),
            _ => Ok(()),
        }
    }
}

/// What a step reads in the forward pass.
fn reads<'a>(
    (program, schedule, buffers): (&Program, &Schedule, &'a [AlignedBuffer<f32>]),
    step: &Step,
    n: usize,
    training: bool,
) -> kernel::Forward<'a> {
    let read = |value: ValueId| &buffers[schedule.slot[value]][..n * program.values[value].len];
    kernel::Forward {
        n,
        input: read(step.input),
        residual: step.residual.map(read),
        activation: program.values[step.output].activation,
        training,
    }
}
