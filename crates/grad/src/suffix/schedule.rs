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
    pub(crate) mask: Option<TensorId>,
}

/// The backward pass of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Back {
    pub(crate) step: usize,
    /// Its input, if that is needed.
    pub(crate) reads: Option<TensorId>,
    /// The gradient of the step's output, before its activation.
    pub(crate) from: TensorId,
    /// The gradient of its input. Steps that pass on what they get have none if nothing has to be
    /// added or masked.
    pub(crate) input: Option<Target>,
    /// The gradient of its residual: mask(`from` + `add`).
    pub(crate) residual: Option<Target>,
}

/// A value that is not kept until the backward pass needs it, but computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    /// Before which step of the backward pass.
    pub(crate) before: usize,
    /// The step of the forward pass.
    pub(crate) step: usize,
    pub(crate) out: TensorId,
}

/// The order of a backward pass, and the memory of a whole step.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) back: Vec<Back>,
    /// In the order of the backward pass.
    pub(crate) again: Vec<Again>,
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
                | Kind::SqueezeExcite { .. }
                | Kind::Attention { .. }
                | Kind::AttentionPool { .. }
                | Kind::ClassToken
                | Kind::Smooth(_) => flow.compute(step.input),
            };
            let reads = reads_input(step).then_some(step.input);
            back.push(Back { step: index, reads, from, input, residual });
        }
        let again = flow.again(&mut back);
        let lives = lives(program, &back, &again, features, flow.tensors.len());
        let (slot, sizes) = assign(&lives, &flow.tensors);
        Self { back, again, features, slot, sizes }
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

    /// Chooses what is computed again, and lets the backward pass read that: what a normalisation
    /// with batch statistics gives, as long as nothing has to be kept for it that is not kept
    /// anyway. Its input always is, and one pass over that costs little.
    fn again(&mut self, back: &mut [Back]) -> Vec<Again> {
        let Program { steps, values, .. } = self.program;
        let mut first = vec![None; values.len()];
        for (position, own) in back.iter().enumerate() {
            let masks = [own.input, own.residual].into_iter().flatten().filter_map(|t| t.mask);
            for value in own.reads.into_iter().chain(masks) {
                first[value].get_or_insert(position);
            }
        }
        let mut source: Vec<TensorId> = (0..values.len()).collect();
        let mut again = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let kept = |value: ValueId| first[value].is_some() && source[value] == value;
            let cheap = matches!(step.kind, Kind::BatchNorm { .. });
            let Some(before) = first[step.output].filter(|_| cheap) else { continue };
            if step.output + 1 < values.len() && step.residual.is_none_or(kept) {
                let out = self.tensor(values[step.output].len);
                source[step.output] = out;
                again.push(Again { before, step: index, out });
            }
        }
        again.sort_by_key(|own| own.before);
        for own in back {
            let masks = [&mut own.input, &mut own.residual].into_iter().flatten();
            let read = masks.filter_map(|target| target.mask.as_mut()).chain(&mut own.reads);
            read.for_each(|value| *value = source[*value]);
        }
        again
    }
}

/// Whether the backward pass of a step reads its input.
fn reads_input(step: &Step) -> bool {
    match step.kind {
        Kind::Conv { .. } => step.trains,
        Kind::BatchNorm { .. }
        | Kind::LayerNorm { .. }
        | Kind::MaxPool { .. }
        | Kind::SqueezeExcite { .. }
        | Kind::Attention { .. }
        | Kind::AttentionPool { .. }
        | Kind::Smooth(_) => true,
        Kind::GlobalAvgPool | Kind::PatchTokens { .. } | Kind::ClassToken | Kind::Nothing => false,
    }
}

/// The first and the last moment at which each tensor is needed: a step of the forward pass, or,
/// counted on from there, of the backward pass.
fn lives(
    program: &Program,
    back: &[Back],
    again: &[Again],
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
        at(own.from, moment);
        own.reads.into_iter().for_each(|tensor| at(tensor, moment));
        for target in [own.input, own.residual].into_iter().flatten() {
            at(target.out, moment);
            target.add.into_iter().chain(target.mask).for_each(|tensor| at(tensor, moment));
        }
    }
    for own in again {
        let step = &steps[own.step];
        let read = [Some(step.input), step.residual, Some(own.out)];
        read.into_iter().flatten().for_each(|tensor| at(tensor, steps.len() + own.before));
    }
    lives
}

/// Buffers for tensors: those that never live at the same time may share one. The largest come
/// first (Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference",
/// greedy by size for shared objects), so that no buffer has to grow for a later one.
fn assign(lives: &[[usize; 2]], sizes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<TensorId> = (0..lives.len()).collect();
    order.sort_by_key(|&tensor| (std::cmp::Reverse(sizes[tensor]), lives[tensor][0]));
    let mut slots: Vec<(usize, Vec<[usize; 2]>)> = Vec::new();
    let mut slot = vec![0; lives.len()];
    for tensor in order {
        let [from, to] = lives[tensor];
        let free =
            |own: &Vec<[usize; 2]>| own.iter().all(|[begin, end]| to < *begin || *end < from);
        // The smallest that is free: all of them are large enough.
        let index = slots.iter().rposition(|(_, own)| free(own)).unwrap_or_else(|| {
            slots.push((sizes[tensor], Vec::new()));
            slots.len() - 1
        });
        slots[index].1.push(lives[tensor]);
        slot[tensor] = index;
    }
    (slot, slots.into_iter().map(|(size, _)| size).collect())
}
