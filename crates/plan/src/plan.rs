use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use taper_graph::{Graph, Input, Op, WeightSource};
use taper_kernels::{
    AlignedBuffer, Bf16, Element, Epilogue, KernelClass, KernelError, Team, class_token, convert,
    global_average_pool, patch_tokens,
};

use crate::PlanLayer;
use crate::arena::{Layout, lay_out};
use crate::lower::{Kernel, Lowered, Step, Value, ValueId, lower};
use crate::threads::{Chunks, fork};
use crate::{Output, PlanError, PlanOptions, Precision, Result};

/// A network compiled for one input size, with its weights packed. Immutable; many threads may
/// share it.
#[derive(Debug)]
pub struct FrozenPlan {
    id: u64,
    network: String,
    size: [usize; 2],
    channels: usize,
    output_width: usize,
    class: KernelClass,
    precision: Precision,
    program: Program,
}

#[derive(Debug)]
enum Program {
    F32(Compiled<f32>),
    Bf16(Compiled<Bf16>),
}

#[derive(Debug)]
struct Compiled<E: Element> {
    class: KernelClass,
    lowered: Lowered<E>,
    layout: Layout,
}

/// The buffers in which a plan runs. Made by [`FrozenPlan::workspace`]; nothing is allocated
/// afterwards.
#[derive(Debug)]
pub struct Workspace {
    plan: u64,
    arenas: Arenas,
}

#[derive(Debug)]
enum Arenas {
    F32(Vec<Arena<f32>>, AlignedBuffer<f32>),
    Bf16(Vec<Arena<Bf16>>, AlignedBuffer<f32>),
}

#[derive(Debug)]
pub(crate) struct Arena<E: Element> {
    maps: Vec<AlignedBuffer<E>>,
    wide: Vec<AlignedBuffer<f32>>,
}

/// A value within a plan: what a layer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tap {
    step: usize,
    len: usize,
}

impl Tap {
    /// How many numbers it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What is taken along the way of a pass.
#[derive(Default)]
struct Along<'a> {
    /// How long each step takes.
    times: Option<&'a mut [Duration]>,
    /// A value of the first picture.
    tap: Option<(usize, &'a mut [f32])>,
}

impl FrozenPlan {
    /// Compiles a network for pictures of one size.
    ///
    /// # Errors
    /// [`PlanError::Graph`] if the size or the weights do not fit; [`PlanError::Kernels`] if the
    /// processor lacks the kernels that were asked for; [`PlanError::Unsupported`] and
    /// [`PlanError::Layer`] name a layer that cannot be computed.
    pub fn compile(
        graph: &Graph,
        weights: &dyn WeightSource,
        options: &PlanOptions,
    ) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if options.group == 0 {
            return Err(PlanError::Options("the group must be at least 1".to_owned()));
        }
        let class = options.kernels.resolve().map_err(PlanError::Kernels)?;
        let without;
        let graph = match options.output {
            Output::Features => {
                without = graph.without_classifier();
                &without
            }
            Output::Logits => graph,
        };
        let Op::Input(Input { channels }) = graph.nodes()[0].op else {
            return Err(PlanError::Options(format!(
                "{} does not start from pictures",
                graph.name()
            )));
        };
        let (program, output_width) = match options.precision {
            Precision::F32 => {
                let compiled = Compiled::new(graph, weights, options, class)?;
                let width = compiled.output_width();
                (Program::F32(compiled), width)
            }
            Precision::Bf16 => {
                let compiled = Compiled::new(graph, weights, options, class)?;
                let width = compiled.output_width();
                (Program::Bf16(compiled), width)
            }
            precision @ (Precision::F16 | Precision::Tf32) => {
                return Err(PlanError::Options(format!(
                    "the CPU does not compute in {precision}: use f32 or bf16"
                )));
            }
        };
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            network: graph.name().to_owned(),
            size: options.size,
            channels,
            output_width,
            class,
            precision: options.precision,
            program,
        })
    }

    /// The network's name.
    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    /// Height and width of the pictures.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Values of one picture: height × width × channels.
    #[must_use]
    pub fn picture_len(&self) -> usize {
        self.size[0] * self.size[1] * self.channels
    }

    /// Output values per picture.
    #[must_use]
    pub fn output_width(&self) -> usize {
        self.output_width
    }

    /// The kernels that run.
    #[must_use]
    pub fn class(&self) -> KernelClass {
        self.class
    }

    /// What activations are stored in.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Every step, in order.
    #[must_use]
    pub fn layers(&self) -> Vec<PlanLayer> {
        match &self.program {
            Program::F32(compiled) => compiled.layers(),
            Program::Bf16(compiled) => compiled.layers(),
        }
    }

    /// Bytes of packed weights.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.layers().iter().map(|layer| layer.weight_bytes).sum()
    }

    /// Floating-point operations per picture, of the direct algorithms.
    #[must_use]
    pub fn flops(&self) -> u64 {
        self.layers().iter().map(|layer| layer.flops).sum()
    }

    /// Buffers for `threads` threads (at least 1) of whichever rayon pool
    /// [`forward`](Self::forward) is called in.
    #[must_use]
    pub fn workspace(&self, threads: usize) -> Workspace {
        let threads = threads.max(1);
        let arenas = match &self.program {
            Program::F32(compiled) => {
                let (arenas, scratch) = compiled.arenas(threads);
                Arenas::F32(arenas, scratch)
            }
            Program::Bf16(compiled) => {
                let (arenas, scratch) = compiled.arenas(threads);
                Arenas::Bf16(arenas, scratch)
            }
        };
        Workspace { plan: self.id, arenas }
    }

    /// As [`forward`](Self::forward) on the calling thread alone; returns the time that each of
    /// [`layers`](Self::layers) took.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn profile(
        &self,
        workspace: &mut Workspace,
        pixels: &[u8],
        n: usize,
        out: &mut [f32],
    ) -> Result<Vec<Duration>> {
        self.check(workspace, pixels, n, out)?;
        match (&self.program, &mut workspace.arenas) {
            (Program::F32(compiled), Arenas::F32(arenas, scratch)) => {
                compiled.profile(arenas, scratch, pixels, n, out)
            }
            (Program::Bf16(compiled), Arenas::Bf16(arenas, scratch)) => {
                compiled.profile(arenas, scratch, pixels, n, out)
            }
            _ => Err(PlanError::ForeignWorkspace),
        }
    }

    fn check(&self, workspace: &Workspace, pixels: &[u8], n: usize, out: &[f32]) -> Result<()> {
        let check = |buffer, actual: usize, per_picture: usize| {
            let expected = n.saturating_mul(per_picture);
            if actual == expected {
                Ok(())
            } else {
                Err(PlanError::BufferLength { buffer, expected, actual, n })
            }
        };
        check("pixels", pixels.len(), self.picture_len())?;
        check("output", out.len(), self.output_width)?;
        if workspace.plan == self.id { Ok(()) } else { Err(PlanError::ForeignWorkspace) }
    }

    /// Runs `n` pictures through the network.
    ///
    /// `pixels`: `[n, height, width, channels]`, 0 to 255. `out`: `[n, output_width]`. The result
    /// of a picture depends neither on the number of threads nor on the other pictures, not even in
    /// the last bit. Nothing is allocated.
    ///
    /// # Errors
    /// [`PlanError::BufferLength`] or [`PlanError::ForeignWorkspace`]; nothing has been written
    /// then.
    pub fn forward(
        &self,
        workspace: &mut Workspace,
        pixels: &[u8],
        n: usize,
        out: &mut [f32],
    ) -> Result<()> {
        self.check(workspace, pixels, n, out)?;
        match (&self.program, &mut workspace.arenas) {
            (Program::F32(compiled), Arenas::F32(arenas, scratch)) => {
                compiled.forward(arenas, scratch, pixels, n, out)
            }
            (Program::Bf16(compiled), Arenas::Bf16(arenas, scratch)) => {
                compiled.forward(arenas, scratch, pixels, n, out)
            }
            _ => Err(PlanError::ForeignWorkspace),
        }
    }

    /// What a layer reads, which can be [taken along](Self::forward_tapped): channels last. None if
    /// there is no such layer, or it is fused to the one before it.
    #[must_use]
    pub fn tap(&self, layer: &str) -> Option<Tap> {
        match &self.program {
            Program::F32(compiled) => compiled.tap(layer),
            Program::Bf16(compiled) => compiled.tap(layer),
        }
    }

    /// As [`forward`](Self::forward) for one picture; writes what a layer reads to `values` too,
    /// which must have the length of the tap. The output is the same to the last bit.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_tapped(
        &self,
        workspace: &mut Workspace,
        pixels: &[u8],
        out: &mut [f32],
        (tap, values): (Tap, &mut [f32]),
    ) -> Result<()> {
        self.check(workspace, pixels, 1, out)?;
        let (expected, actual) = (tap.len, values.len());
        if expected != actual {
            return Err(PlanError::BufferLength { buffer: "values", expected, actual, n: 1 });
        }
        let along = Along { times: None, tap: Some((tap.step, values)) };
        match (&self.program, &mut workspace.arenas) {
            (Program::F32(compiled), Arenas::F32(arenas, scratch)) => {
                compiled.together(arenas, scratch, pixels, out, along)
            }
            (Program::Bf16(compiled), Arenas::Bf16(arenas, scratch)) => {
                compiled.together(arenas, scratch, pixels, out, along)
            }
            _ => Err(PlanError::ForeignWorkspace),
        }
    }
}

impl Workspace {
    /// Bytes of all buffers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        fn bytes<E: Element>(arenas: &[Arena<E>], scratch: &[f32]) -> usize {
            let values = |arena: &Arena<E>| {
                arena.maps.iter().map(|b| b.len() * size_of::<E>()).sum::<usize>()
                    + arena.wide.iter().map(|b| b.len() * size_of::<f32>()).sum::<usize>()
            };
            arenas.iter().map(values).sum::<usize>() + size_of_val(scratch)
        }
        match &self.arenas {
            Arenas::F32(arenas, scratch) => bytes(arenas, scratch),
            Arenas::Bf16(arenas, scratch) => bytes(arenas, scratch),
        }
    }

    /// Threads that it was made for.
    #[must_use]
    pub fn threads(&self) -> usize {
        match &self.arenas {
            Arenas::F32(arenas, _) => arenas.len(),
            Arenas::Bf16(arenas, _) => arenas.len(),
        }
    }
}

impl<E: Element> Compiled<E> {
    fn new(
        graph: &Graph,
        weights: &dyn WeightSource,
        options: &PlanOptions,
        class: KernelClass,
    ) -> Result<Self> {
        let lowered = lower(graph, weights, options, class)?;
        let layout = lay_out(&lowered, options.group, options.early_bytes);
        Ok(Self { class, lowered, layout })
    }

    fn output_width(&self) -> usize {
        match self.lowered.values[self.lowered.output] {
            Value::Map(len) | Value::Wide(len) => len,
        }
    }

    fn scratch_len(&self) -> usize {
        self.lowered.steps.iter().map(Step::scratch_len).max().unwrap_or(0).next_multiple_of(16)
    }

    fn arenas(&self, threads: usize) -> (Vec<Arena<E>>, AlignedBuffer<f32>) {
        let arena = || Arena {
            maps: self.layout.maps.iter().map(|&len| AlignedBuffer::new(len)).collect(),
            wide: self.layout.wide.iter().map(|&len| AlignedBuffer::new(len)).collect(),
        };
        ((0..threads).map(|_| arena()).collect(), AlignedBuffer::new(threads * self.scratch_len()))
    }

    fn profile(
        &self,
        arenas: &mut [Arena<E>],
        scratch: &mut [f32],
        pixels: &[u8],
        n: usize,
        out: &mut [f32],
    ) -> Result<Vec<Duration>> {
        let mut times = vec![Duration::ZERO; self.lowered.steps.len()];
        let width = self.output_width();
        let picture = pixels.len().checked_div(n).unwrap_or(0);
        let share = scratch.len() / arenas.len();
        let group = self.layout.group;
        for first in (0..n).step_by(group) {
            let count = group.min(n - first);
            let pixels = &pixels[first * picture..][..count * picture];
            let out = &mut out[first * width..][..count * width];
            let along = Along { times: Some(&mut times), tap: None };
            self.pass(&mut arenas[0], &mut scratch[..share], 1, pixels, out, along)?;
        }
        Ok(times)
    }

    fn layers(&self) -> Vec<PlanLayer> {
        let mut layers = Vec::new();
        for segment in &self.layout.segments {
            for step in &self.lowered.steps[segment.steps.clone()] {
                let (algorithm, shape) = step.described();
                layers.push(PlanLayer {
                    name: step.name.clone(),
                    fused: step.fused.clone(),
                    algorithm: algorithm.to_owned(),
                    shape,
                    group: segment.group,
                    flops: step.flops,
                    weight_bytes: step.weight_bytes(),
                });
            }
        }
        layers
    }

    fn forward(
        &self,
        arenas: &mut [Arena<E>],
        scratch: &mut [f32],
        pixels: &[u8],
        n: usize,
        out: &mut [f32],
    ) -> Result<()> {
        if n == 0 {
            return Ok(());
        }
        let threads = arenas.len();
        let (picture, width) = (pixels.len() / n, out.len() / n);
        if threads == 1 || (!n.is_multiple_of(threads) && n < 4 * threads) {
            // With one thread, or too few pictures for all threads, all threads work on each layer
            // together.
            let group = self.layout.group;
            let mut chunks = pixels.chunks(group * picture).zip(out.chunks_mut(group * width));
            return chunks.try_for_each(|(pixels, out)| {
                self.together(arenas, scratch, pixels, out, Along::default())
            });
        }
        // Each thread takes pictures of its own through the whole network.
        let group = self.layout.group.min(n.div_ceil(threads));
        let chunks = Chunks::new(pixels, out, group * picture, group * width);
        let share = scratch.len() / threads;
        let errors: Mutex<Option<PlanError>> = Mutex::new(None);
        fork(arenas, scratch, share, &|arena, scratch| {
            while let Some((pixels, out)) = chunks.next() {
                if let Err(error) = self.pass(arena, scratch, 1, pixels, out, Along::default()) {
                    if let Ok(mut first) = errors.lock() {
                        first.get_or_insert(error);
                    }
                    break;
                }
            }
        });
        errors.into_inner().ok().flatten().map_or(Ok(()), Err)
    }

    /// As [`pass`](Self::pass), on all threads.
    fn together(
        &self,
        arenas: &mut [Arena<E>],
        scratch: &mut [f32],
        pixels: &[u8],
        out: &mut [f32],
        along: Along<'_>,
    ) -> Result<()> {
        let threads = arenas.len();
        let mut result = Ok(());
        let run = || result = self.pass(&mut arenas[0], scratch, threads, pixels, out, along);
        // A join moves the whole pass into the pool, once, if the caller is outside of it.
        if threads == 1 {
            run();
        } else {
            rayon::join(run, || ());
        }
        result
    }

    fn tap(&self, layer: &str) -> Option<Tap> {
        let step = self.lowered.steps.iter().position(|step| step.name == layer)?;
        let (Value::Map(len) | Value::Wide(len)) =
            self.lowered.values[self.lowered.steps[step].input?];
        Some(Tap { step, len })
    }

    /// Takes up to one group of pictures through the network.
    fn pass(
        &self,
        arena: &mut Arena<E>,
        scratch: &mut [f32],
        threads: usize,
        pixels: &[u8],
        out: &mut [f32],
        mut along: Along<'_>,
    ) -> Result<()> {
        let width = self.output_width();
        let n = out.len() / width;
        let picture = pixels.len() / n;
        for segment in &self.layout.segments {
            let mut first = 0;
            while first < n {
                let count = segment.group.min(n - first);
                for index in segment.steps.clone() {
                    let step = &self.lowered.steps[index];
                    if let Some((at, values)) = along.tap.as_mut()
                        && *at == index
                    {
                        self.read(step, arena, [first, count], values);
                    }
                    let start = along.times.is_some().then(Instant::now);
                    let mut team = Team::new(threads, scratch);
                    let pixels = &pixels[first * picture..][..count * picture];
                    let out = &mut out[first * width..][..count * width];
                    self.step(step, arena, &mut team, [first, count], pixels, out)
                        .map_err(|source| PlanError::Layer { layer: step.name.clone(), source })?;
                    if let (Some(times), Some(start)) = (&mut along.times, start) {
                        times[index] += start.elapsed();
                    }
                }
                first += count;
            }
        }
        Ok(())
    }

    /// Copies what a step reads, of one picture.
    fn read(&self, step: &Step<E>, arena: &Arena<E>, pictures: [usize; 2], to: &mut [f32]) {
        let Some(input) = step.input else { return };
        let (slot, part) = (self.layout.places[input].slot, self.part(input, pictures));
        match self.lowered.values[input] {
            Value::Map(_) => {
                let from = &arena.maps[slot][part];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32());
            }
            Value::Wide(_) => to.copy_from_slice(&arena.wide[slot][part]),
        }
    }

    /// The part of a buffer that holds a value for `count` pictures from `first` on.
    fn part(&self, value: ValueId, [first, count]: [usize; 2]) -> std::ops::Range<usize> {
        let (Value::Map(len) | Value::Wide(len)) = self.lowered.values[value];
        let start = if self.layout.places[value].crosses { first * len } else { 0 };
        start..start + count * len
    }

    fn step(
        &self,
        step: &Step<E>,
        arena: &mut Arena<E>,
        team: &mut Team<'_>,
        pictures: [usize; 2],
        pixels: &[u8],
        out: &mut [f32],
    ) -> std::result::Result<(), KernelError> {
        let n = pictures[1];
        let slot = |value: ValueId| self.layout.places[value].slot;
        let part = |value: ValueId| self.part(value, pictures);
        let input = step.input.unwrap_or(0);
        let output = slot(step.output);
        match &step.kernel {
            Kernel::Pixels { filter, activation } => {
                let to = &mut arena.maps[output][part(step.output)];
                filter.run(team, n, pixels, *activation, to)
            }
            Kernel::WidePixels { filter, activation } => {
                let to = &mut arena.wide[output][part(step.output)];
                filter.run(team, n, pixels, *activation, to)
            }
            Kernel::Round => {
                let from = &arena.wide[slot(input)][part(input)];
                convert(self.class, team, from, &mut arena.maps[output][part(step.output)])
            }
            Kernel::Conv { filter, activation, .. } => {
                self.on_maps(step, arena, pictures, |from, residual, to| {
                    let epilogue = Epilogue { residual, activation: *activation, mask: None };
                    filter.run(team, n, from, epilogue, to)
                })
            }
            Kernel::MaxPool(pool) => {
                self.on_maps(step, arena, pictures, |from, _, to| pool.run(team, n, from, to))
            }
            Kernel::LayerNorm(norm) => self.on_maps(step, arena, pictures, |from, _, to| {
                norm.run(team, from.len() / norm.channels(), from, to)
            }),
            Kernel::PatchTokens { shape, table } => {
                self.on_maps(step, arena, pictures, |from, _, to| {
                    patch_tokens(self.class, team, n, *shape, table, from, to)
                })
            }
            Kernel::Attention(attention) => {
                self.on_maps(step, arena, pictures, |from, _, to| attention.run(team, n, from, to))
            }
            Kernel::SqueezeExcite { kernel, activation } => {
                self.on_maps(step, arena, pictures, |from, _, to| {
                    kernel.run(team, n, from, *activation, to)
                })
            }
            Kernel::AttentionPool(pool) => {
                self.on_maps(step, arena, pictures, |from, _, to| pool.run(team, n, from, to))
            }
            Kernel::FirstToken { shape } => {
                self.on_maps(step, arena, pictures, |from, _, to| class_token(n, *shape, from, to))
            }
            Kernel::ClassToken { shape } => {
                let from = &arena.maps[slot(input)][part(input)];
                let to = if step.output == self.lowered.output {
                    out
                } else {
                    &mut arena.wide[output][part(step.output)]
                };
                class_token(n, *shape, from, to)
            }
            Kernel::Output { len } => {
                class_token(n, [1, *len], &arena.maps[slot(input)][part(input)], out)
            }
            Kernel::GlobalAvgPool { pixels, channels } => {
                let from = &arena.maps[slot(input)][part(input)];
                let shape = [*pixels, *channels];
                let to = if step.output == self.lowered.output {
                    out
                } else {
                    &mut arena.wide[output][part(step.output)]
                };
                global_average_pool(self.class, team, n, shape, from, to)
            }
            Kernel::WideNorm(norm) => {
                self.on_wide(step, arena, pictures, out, |from, to| norm.run(team, n, from, to))
            }
            Kernel::Wide { filter, activation } => {
                let epilogue = Epilogue { activation: *activation, ..Epilogue::default() };
                self.on_wide(step, arena, pictures, out, |from, to| {
                    filter.run(team, n, from, epilogue, to)
                })
            }
        }
    }

    /// Runs a step that reads maps, including its residual, and writes a map.
    fn on_maps(
        &self,
        step: &Step<E>,
        arena: &mut Arena<E>,
        pictures: [usize; 2],
        run: impl FnOnce(&[E], Option<&[E]>, &mut [E]) -> std::result::Result<(), KernelError>,
    ) -> std::result::Result<(), KernelError> {
        let output = self.layout.places[step.output].slot;
        let mut to = std::mem::take(&mut arena.maps[output]);
        let read = |value: ValueId| {
            &arena.maps[self.layout.places[value].slot][self.part(value, pictures)]
        };
        let from = read(step.input.unwrap_or(0));
        let result =
            run(from, step.residual().map(read), &mut to[self.part(step.output, pictures)]);
        arena.maps[output] = to;
        result
    }

    /// Runs a step that reads an f32 value and writes one, or the plan's output.
    fn on_wide(
        &self,
        step: &Step<E>,
        arena: &mut Arena<E>,
        pictures: [usize; 2],
        out: &mut [f32],
        run: impl FnOnce(&[f32], &mut [f32]) -> std::result::Result<(), KernelError>,
    ) -> std::result::Result<(), KernelError> {
        let input = step.input.unwrap_or(0);
        let (from, output) = (self.layout.places[input].slot, self.layout.places[step.output].slot);
        if step.output == self.lowered.output {
            return run(&arena.wide[from][self.part(input, pictures)], out);
        }
        let mut to = std::mem::take(&mut arena.wide[output]);
        let from = &arena.wide[from][self.part(input, pictures)];
        let result = run(from, &mut to[self.part(step.output, pictures)]);
        arena.wide[output] = to;
        result
    }
}
