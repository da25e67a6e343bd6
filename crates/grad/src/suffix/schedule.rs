//! Which gradients a backward pass computes, in what order, and in which memory everything lives.

use super::program::{CUT, Kind, Program, Step, ValueId};

/// A value or a gradient: the values come first, with their own numbers.
pub(crate) type TensorId = usize;

/// A gradient that is written: mask(new + `add`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) out: TensorId,
    /// What other readers of the same value have contributed so far.
    pub(crate) add: Option<TensorId>,
    /// The value whose activation's derivative is applied; it follows from the value.
    pub(crate) mask: Option<ValueId>,
}

/// The backward pass of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Back {
    pub(crate) step: usize,
    /// The gradient of the step's output, before its activation.
    pub(crate) from: TensorId,
    /// The gradient of its input. Steps that pass on what they get have none if nothing has to be
    /// added or masked.
    pub(crate) input: Option<Target>,
    /// The gradient of its residual: mask(`from` + `add`).
    pub(crate) residual: Option<Target>,
}

/// The order of a backward pass, and the memory of a whole step.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) back: Vec<Back>,
    /// The gradient of the features, which the head writes.
    pub(crate) features: Option<TensorId>,
    /// The buffer of each tensor.
    pub(crate) slot: Vec<usize>,
    /// Numbers for one picture in each buffer.
    pub(crate) sizes: Vec<usize>,
}

impl Schedule {
    pub(crate) fn new(program: &Program) -> Self {
        let (steps, values) = (&program.steps, &program.values);
        let mut flow = Flow {
            program,
            tensors: values.iter().map(|value| value.len).collect(),
            gradient: vec![None; values.len()],
            waiting: vec![0; values.len()],
        };
        for step in steps.iter().filter(|step| values[step.output].wanted) {
            for input in [Some(step.input), step.residual].into_iter().flatten() {
                flow.waiting[input] += 1;
            }
        }
        let last = values.len() - 1;
        let features = values[last].wanted.then(|| flow.tensor(values[last].len));
        flow.gradient[last] = features;
        let mut back = Vec::new();
        for (index, step) in steps.iter().enumerate().rev() {
            let Some(from) = flow.gradient[step.output].filter(|_| values[step.output].wanted)
            else {
                continue;
            };
            let residual = step.residual.and_then(|value| flow.pass_on(value, from));
            let input = match step.kind {
                Kind::Nothing => flow.pass_on(step.input, from),
                Kind::Conv { .. }
                | Kind::BatchNorm { .. }
                | Kind::LayerNorm { .. }
                | Kind::MaxPool { .. }
                | Kind::GlobalAvgPool
                | Kind::PatchTokens { .. }
                | Kind::Attention { .. }
                | Kind::ClassToken
                | Kind::Gelu => flow.compute(step.input),
            };
            back.push(Back { step: index, from, input, residual });
        }
        let lives = lives(program, &back, features, flow.tensors.len());
        let (slot, sizes) = assign(&lives, &flow.tensors);
        Self { back, features, slot, sizes }
    }
}

struct Flow<'a> {
    program: &'a Program,
    /// Numbers for one picture.
    tensors: Vec<usize>,
    /// The gradient of each value, as far as its readers have contributed.
    gradient: Vec<Option<TensorId>>,
    /// How many readers have yet to contribute.
    waiting: Vec<usize>,
}

impl Flow<'_> {
    fn tensor(&mut self, len: usize) -> TensorId {
        self.tensors.push(len);
        self.tensors.len() - 1
    }

    /// A gradient that a kernel writes.
    fn compute(&mut self, value: ValueId) -> Option<Target> {
        self.waiting[value] -= 1;
        let own = self.program.values[value];
        if !own.wanted {
            return None;
        }
        let add = self.gradient[value];
        let mask = (self.waiting[value] == 0 && own.activation.is_some()).then_some(value);
        let out = self.tensor(own.len);
        self.gradient[value] = Some(out);
        Some(Target { out, add, mask })
    }

    /// A gradient that is that of an output: nothing has to be computed if it is the first and
    /// needs no mask.
    fn pass_on(&mut self, value: ValueId, from: TensorId) -> Option<Target> {
        let own = self.program.values[value];
        let masks = self.waiting[value] == 1 && own.activation.is_some();
        if own.wanted && self.gradient[value].is_none() && !masks {
            self.waiting[value] -= 1;
            self.gradient[value] = Some(from);
            return None;
        }
        self.compute(value)
    }
}

/// Whether the backward pass of a step reads its input.
pub(crate) fn reads_input(step: &Step) -> bool {
    match step.kind {
        Kind::Conv { .. } => step.trains,
        Kind::BatchNorm { .. }
        | Kind::LayerNorm { .. }
        | Kind::MaxPool { .. }
        | Kind::Attention { .. }
        | Kind::Gelu => true,
        Kind::GlobalAvgPool | Kind::PatchTokens { .. } | Kind::ClassToken | Kind::Nothing => false,
    }
}

/// The first and the last moment at which each tensor is needed: a step of the forward pass, or,
/// counted on from there, of the backward pass.
fn lives(
    program: &Program,
    back: &[Back],
    features: Option<TensorId>,
    tensors: usize,
) -> Vec<[usize; 2]> {
    let steps = &program.steps;
    let mut lives = vec![[usize::MAX, 0]; tensors];
    let mut at = |tensor: TensorId, moment: usize| {
        let [from, to] = &mut lives[tensor];
        *from = (*from).min(moment);
        *to = (*to).max(moment);
    };
    for (moment, step) in steps.iter().enumerate() {
        at(step.input, moment);
        at(step.output, moment);
        step.residual.into_iter().for_each(|value| at(value, moment));
    }
    // The caller writes the one before the first step, and reads the other after the last.
    at(CUT, 0);
    at(program.values.len() - 1, steps.len());
    features.into_iter().for_each(|tensor| at(tensor, steps.len()));
    for (position, own) in back.iter().enumerate() {
        let moment = steps.len() + position;
        let step = &steps[own.step];
        at(own.from, moment);
        if reads_input(step) {
            at(step.input, moment);
        }
        for target in [own.input, own.residual].into_iter().flatten() {
            at(target.out, moment);
            target.add.into_iter().chain(target.mask).for_each(|tensor| at(tensor, moment));
        }
    }
    lives
}

/// Buffers for tensors: those that never live at the same time may share one.
fn assign(lives: &[[usize; 2]], sizes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<TensorId> = (0..lives.len()).collect();
    order.sort_by_key(|&tensor| (lives[tensor][0], std::cmp::Reverse(sizes[tensor])));
    let mut slots: Vec<(usize, usize)> = Vec::new();
    let mut slot = vec![0; lives.len()];
    for tensor in order {
        let ([from, to], size) = (lives[tensor], sizes[tensor]);
        let free = slots.iter().enumerate().filter(|(_, (_, until))| *until < from);
        // The one that fits best: it grows least, and wastes least.
        let best = free
            .min_by_key(|(_, (own, _))| (size.saturating_sub(*own), own.saturating_sub(size)))
            .map(|(index, _)| index);
        let index = best.unwrap_or_else(|| {
            slots.push((0, 0));
            slots.len() - 1
        });
        slots[index] = (slots[index].0.max(size), to);
        slot[tensor] = index;
    }
    (slot, slots.into_iter().map(|(size, _)| size).collect())
}
