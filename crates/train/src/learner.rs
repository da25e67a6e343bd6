use taper_core::{Identity, random::Key};
use taper_graph::Weights;
use taper_metrics::Metrics;

use crate::Result;

/// What learns: a network with everything that a step changes. A head over slices, a head on a
/// device, the layers above a boundary: the [`Trainer`](crate::Trainer) knows no more of them than
/// this.
pub trait Learner {
    /// What a step is taken on, as [`Batches`](crate::Batches) give it.
    type Batch;
    /// What it is measured on.
    type Validation: ?Sized;

    /// How many classes it tells apart.
    fn classes(&self) -> usize;

    /// Takes one step of the optimizer. What it came to is asked for afterwards, so that a device
    /// need not be waited for.
    ///
    /// # Errors
    /// If the batch does not fit, or the device fails.
    fn step(&mut self, batch: &Self::Batch, context: StepContext) -> Result<()>;

    /// What the steps since the last call came to, in order.
    ///
    /// # Errors
    /// If the device fails.
    fn outcomes(&mut self) -> Result<Vec<StepOutcome>>;

    /// Of how many steps nobody has asked for the outcome yet.
    fn waiting(&self) -> usize;

    /// Whether the outcome of a step is known when the step returns; else asking for it means
    /// waiting for a device. The default is yes.
    fn is_prompt(&self) -> bool {
        true
    }

    /// Measures the weights that count: their moving average, if there is one.
    ///
    /// # Errors
    /// If the rows do not fit, or the device fails.
    fn measure(&mut self, validation: &Self::Validation) -> Result<Metrics>;

    /// A copy of the weights that count: their moving average, if there is one.
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

    /// Puts such a copy back, to the bit.
    ///
    /// # Errors
    /// If it is another network's.
    fn restore(&mut self, state: &State) -> Result<()>;

    /// Begins anew with the fresh weights of another seed, as the learning-rate finder's further
    /// sweeps do.
    ///
    /// # Errors
    /// If the device has no room.
    fn reseed(&mut self, seed: u64) -> Result<()>;

    /// Adds what decides how it learns, but for the settings, and what it is measured on, to the
    /// identity of a training.
    fn identify(&self, validation: &Self::Validation, identity: Identity) -> Identity;
}

/// What a step needs beside its batch.
#[derive(Debug, Clone, Copy)]
pub struct StepContext {
    /// The step size.
    pub rate: f64,
    /// The key of all dropout of this training.
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
    /// What the optimizer remembers.
    pub optimizer: Weights,
    /// The moving average of the network's tensors, if there is one.
    pub average: Option<Weights>,
}
