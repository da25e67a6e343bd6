use taper_core::{Identity, random::Key};
use taper_graph::Weights;
use taper_metrics::Metrics;

use crate::Result;

/// What is trained: a network with everything that a step changes. It may be a head over slices, a
/// head on a device, or the layers above a boundary: this is all that the
/// [`Trainer`](crate::Trainer) knows about it.
pub trait Learner {
    /// What a step is taken on, as [`Batches`](crate::Batches) give it.
    type Batch;
    /// What it is measured on.
    type Validation: ?Sized;

    /// How many classes it distinguishes.
    fn classes(&self) -> usize;

    /// Takes one step of the optimizer. Its outcome is read later, so that there is no need to wait
    /// for a device.
    ///
    /// # Errors
    /// If the batch does not fit, or the device fails.
    fn step(&mut self, batch: &Self::Batch, context: StepContext) -> Result<()>;

    /// The outcomes of the steps since the last call, in order.
    ///
    /// # Errors
    /// If the device fails.
    fn outcomes(&mut self) -> Result<Vec<StepOutcome>>;

    /// How many steps have outcomes that have not been read yet.
    fn waiting(&self) -> usize;

    /// Whether the outcome of a step is known when the step returns; otherwise, reading it means
    /// waiting for a device. The default is yes.
    fn is_prompt(&self) -> bool {
        true
    }

    /// Evaluates the weights in use: their moving average, if there is one.
    ///
    /// # Errors
    /// If the rows do not fit, or the device fails.
    fn measure(&mut self, validation: &Self::Validation) -> Result<Metrics>;

    /// A copy of the weights in use: their moving average, if there is one.
    ///
    /// # Errors
    /// If the device cannot be read.
    fn weights(&mut self) -> Result<Weights>;

    /// Sets the weights, and their moving average with them.
    ///
    /// # Errors
    /// If they are another network's.
    fn set_weights(&mut self, weights: &Weights) -> Result<()>;

    /// A copy of everything that a step changes.
    ///
    /// # Errors
    /// If the device cannot be read.
    fn state(&mut self) -> Result<State>;

    /// Restores such a copy, bit for bit.
    ///
    /// # Errors
    /// If it is another network's.
    fn restore(&mut self, state: &State) -> Result<()>;

    /// Starts again with fresh weights from another seed, for the learning-rate finder's further
    /// sweeps.
    ///
    /// # Errors
    /// If the device has no room.
    fn reseed(&mut self, seed: u64) -> Result<()>;

    /// Adds what determines how it learns, except the settings, and the data that it is evaluated
    /// on, to the identity of a training run.
    fn identify(&self, validation: &Self::Validation, identity: Identity) -> Identity;
}

/// What a step needs besides its batch.
#[derive(Debug, Clone, Copy)]
pub struct StepContext {
    /// The step size.
    pub rate: f64,
    /// The key of all dropout in this training run.
    pub dropout: Key,
    /// The number of the step, from 0: each has its own masks.
    pub number: u32,
}

/// What a step came to.
#[derive(Debug, Default)]
pub struct StepOutcome {
    /// The mean loss over the step's rows.
    pub loss: f64,
    /// f32 `[rows, classes]`, in the order of the rows, with dropout.
    pub logits: Vec<f32>,
    /// The label of each row.
    pub labels: Vec<u32>,
}

/// Everything that a step changes, as tensors by name.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The network's own tensors.
    pub network: Weights,
    /// Steps that the optimizer has taken.
    pub optimizer_steps: u64,
    /// The state of the optimizer.
    pub optimizer: Weights,
    /// The moving average of the network's tensors, if there is one.
    pub average: Option<Weights>,
}
