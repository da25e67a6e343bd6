use std::{marker::PhantomData, ops::Range};

use candle_core::{Device, Tensor, Var};
use taper_core::{Identity, OutOfRange, Precision, hex};
use taper_grad::BatchNormMode;
use taper_graph::Weights;
use taper_metrics::Metrics;
use taper_optim::{Loss, Targets};
use taper_train::{
    CheckedTraining, Learner, RowBatch, Rows, State, StepContext, StepOutcome, TrainedPart,
    batch_ranges, part_key,
};

use crate::{
    Average, Error, Gradients, Optimizer, Result, TrainedNetwork, outcomes::Waiting,
    scale::LossScale, trained::Parts, weighted_cross_entropy,
};

/// The layers of a network above a boundary and its head on a candle device, with their optimizer:
/// the implementation for CUDA of [`taper_train::NetworkLearner`], with the same options and the
/// same names of tensors. A row is what the frozen part gives for a picture: the map at the
/// boundary, channels last.
///
/// The weights, their gradients' sums and the optimizer are f32 in every precision. In f16, the
/// loss is scaled, and steps whose gradients are not finite are left out: neither the weights nor
/// their average change, but statistics of BatchNorm do, as in torch.
#[derive(Debug)]
pub struct DeviceNetworkLearner<R = taper_train::Table> {
    network: TrainedNetwork,
    /// Where training began.
    initial: Weights,
    /// The digest of that, and what else determines how it learns.
    identity: String,
    optimizer: Optimizer,
    average: Option<Average>,
    scale: Option<LossScale>,
    precision: Precision,
    loss: Loss,
    settings: CheckedTraining,
    rows: PhantomData<fn(R)>,
    outcomes: Waiting,
}

impl<R: Rows> DeviceNetworkLearner<R> {
    /// The network with the given weights, to be trained on this many rows of each class.
    ///
    /// # Errors
    /// If the graph has layers that cannot be trained, the weights do not fit, the settings do not
    /// fit the classes, or the device has no room.
    pub fn new(
        part: &TrainedPart<'_>,
        counts: &[usize],
        settings: &CheckedTraining,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let own = settings.settings();
        let room = match part.batch_norm {
            BatchNormMode::Frozen => part.room.clamp(1, own.batch_size.max(1)),
            // A last batch of one row is merged into the one before it.
            BatchNormMode::Trained => own.batch_size + 1,
        };
        let parts = Parts {
            backbone: (part.backbone, part.weights),
            boundary: part.boundary,
            head: (part.head, part.head_weights),
            size: part.size,
            batch_norm: part.batch_norm,
            room: room.min(counts.iter().sum::<usize>().max(1)),
        };
        let network = TrainedNetwork::new(&parts, precision, device)?;
        let (optimizer, average) = fresh(&network, settings)?;
        let initial = network.weights()?;
        let identity = Identity::new("taper/trained part", 1)
            .structure("head", part.head)
            .text("network", part.backbone.name())
            .text("from", &part.backbone.nodes()[part.boundary.first].name)
            .number("trained statistics", u64::from(part.batch_norm == BatchNormMode::Trained))
            .number("room", network.room() as u64)
            .text("computed by", if device.is_cuda() { "CUDA" } else { "candle" })
            .text("precision", &precision.to_string());
        let tensors = network.parameters().iter();
        let identity = tensors.fold(identity, |identity, tensor| {
            let values = taper_graph::WeightSource::values(&initial, &tensor.name);
            identity.floats(&tensor.name, &values.unwrap_or_default())
        });
        Ok(Self {
            loss: own.loss.check(counts)?,
            network,
            initial,
            identity: hex(&identity.finish()),
            optimizer,
            average,
            scale: LossScale::of(precision),
            precision,
            settings: settings.clone(),
            rows: PhantomData,
            outcomes: Waiting::default(),
        })
    }

    /// The network in training.
    pub fn network(&self) -> &TrainedNetwork {
        &self.network
    }

    /// The same learner at other weights, for evaluating them: nothing is averaged.
    ///
    /// # Errors
    /// If they are another network's, or the device fails.
    pub fn measure_with(&mut self, weights: &Weights, rows: &R) -> taper_train::Result<Metrics> {
        let before = self.network.weights().map_err(taper_train::Error::other)?;
        self.network.restore(weights).map_err(taper_train::Error::other)?;
        let measured = measure(&self.network, rows);
        self.network.restore(&before).map_err(taper_train::Error::other)?;
        measured
    }

    /// The gradients of a step's loss, as a step takes them: for tests and measurements. Statistics
    /// of BatchNorm are updated.
    ///
    /// # Errors
    /// If the batch does not fit, or the device fails.
    pub fn gradients(&mut self, batch: &RowBatch<R>, context: StepContext) -> Result<Weights> {
        let (mut sums, ..) = self.backpropagated(batch, context)?;
        if let Some(scale) = self.scale {
            sums.unscale(1.0 / scale.get())?;
        }
        let mut all = Weights::new();
        for (index, parameter) in self.network.parameters().iter().enumerate() {
            if let Some(gradient) = sums.get(index) {
                let values = gradient.flatten_all()?.to_vec1::<f32>()?;
                all.insert(parameter.name.clone(), gradient.dims().to_vec(), values);
            }
        }
        Ok(all)
    }

    /// Forward and backward for all parts of a step.
    fn backpropagated(
        &self,
        batch: &RowBatch<R>,
        context: StepContext,
    ) -> Result<(Gradients, Vec<[Tensor; 2]>, Vec<u32>)> {
        let own = self.settings.settings();
        let labels = batch.labels();
        let classes = self.loss.classes();
        let soft = batch.soft_targets(classes);
        let targets = |part: Range<usize>| match &soft {
            None => Targets::Labels(&labels[part]),
            Some(soft) => Targets::Soft(&soft[part.start * classes..part.end * classes]),
        };
        let weight = self.loss.weight(targets(0..labels.len()));
        let mut sums = Gradients::none(self.network.parameters().len());
        let mut outcome = Vec::new();
        for part in batch_ranges(labels.len(), own.batch_size) {
            let key = part_key(context.dropout, part.start);
            let mut read = |within: Range<usize>, values: &mut [f32]| {
                let rows = part.start + within.start..part.start + within.end;
                batch.read(rows, values).map_err(|source| Error::Rows(Box::new(source)))
            };
            let factors = self.loss.factors(targets(part.clone()), weight)?;
            let shape = (part.len(), classes);
            let factors = Tensor::from_vec(factors, shape, self.network.device())?;
            let mut loss = |logits: &Tensor| {
                let (loss, gradient) = self.evaluated(logits, &factors)?;
                outcome.push([loss, logits.clone()]);
                Ok(gradient)
            };
            let network = &self.network;
            network.pass(part.len(), &mut read, (key, context.number), &mut loss, &mut sums)?;
        }
        Ok((sums, outcome, labels))
    }

    /// The loss, and its gradient with respect to the logits, scaled.
    fn evaluated(&self, logits: &Tensor, factors: &Tensor) -> Result<(Tensor, Tensor)> {
        let logits = Var::from_tensor(logits)?;
        let loss = weighted_cross_entropy(logits.as_tensor(), factors, self.loss.focal_gamma())?;
        let gradients = loss.backward()?;
        let gradient = match gradients.get(&logits) {
            Some(gradient) => gradient.detach().contiguous()?,
            None => logits.zeros_like()?,
        };
        let gradient = match self.scale {
            Some(scale) => (gradient * scale.get())?,
            None => gradient,
        };
        Ok((loss.detach(), gradient))
    }

    fn take_step(&mut self, batch: &RowBatch<R>, context: StepContext) -> Result<()> {
        let (mut sums, outcome, labels) = self.backpropagated(batch, context)?;
        self.outcomes.push(outcome, labels);
        if let Some(scale) = &mut self.scale {
            let finite = sums.unscale(1.0 / scale.get())?;
            scale.update(finite);
            if !finite {
                return Ok(());
            }
        }
        if let Some(norm) = self.settings.settings().clip_norm {
            sums.clip(norm)?;
        }
        self.optimizer.step(self.network.parameters(), &sums, context.rate)?;
        if let Some(average) = &mut self.average {
            average.update(self.network.parameters())?;
        }
        Ok(())
    }

    /// Works with the averaged weights, if there are any.
    fn averaged<T>(&mut self, work: impl FnOnce(&TrainedNetwork) -> T) -> Result<T> {
        if let Some(average) = &mut self.average {
            average.swap(self.network.parameters())?;
        }
        let done = work(&self.network);
        if let Some(average) = &mut self.average {
            average.swap(self.network.parameters())?;
        }
        Ok(done)
    }

    fn put_weights(&mut self, weights: &Weights) -> Result<()> {
        self.network.restore(weights)?;
        match &mut self.average {
            Some(average) => average.reset(self.network.parameters()),
            None => Ok(()),
        }
    }

    fn read_state(&mut self) -> Result<State> {
        let network = self.network.weights()?;
        let average = match self.average {
            Some(_) => Some(self.averaged(TrainedNetwork::weights)??),
            None => None,
        };
        let (optimizer_steps, mut optimizer) = self.optimizer.state(self.network.parameters())?;
        if let Some(scale) = self.scale {
            scale.store(&mut optimizer);
        }
        Ok(State { network, optimizer_steps, optimizer, average })
    }

    fn put_state(&mut self, state: &State) -> Result<()> {
        if let Some(average) = &state.average {
            self.put_weights(average)?;
        }
        self.network.restore(&state.network)?;
        let parameters = self.network.parameters();
        self.optimizer.restore(parameters, state.optimizer_steps, &state.optimizer)?;
        match &mut self.scale {
            Some(scale) => Ok(scale.restore(&state.optimizer)?),
            None => Ok(()),
        }
    }
}

/// An optimizer and an average at their beginning.
fn fresh(
    network: &TrainedNetwork,
    settings: &CheckedTraining,
) -> Result<(Optimizer, Option<Average>)> {
    let own = settings.settings();
    let parameters = network.parameters();
    let optimizer = Optimizer::new(&own.optimizer.clone().check()?, parameters)?;
    let average = own.ema.map(|decay| Average::new(decay, parameters)).transpose()?;
    Ok((optimizer, average))
}

/// Evaluates a network over all rows.
fn measure(network: &TrainedNetwork, rows: &impl Rows) -> taper_train::Result<Metrics> {
    let mut metrics = Metrics::new(network.classes())?;
    let numbers: Vec<u32> = (0..rows.len() as u32).collect();
    let mut values = Vec::new();
    for part in numbers.chunks(network.room()) {
        values.resize(part.len() * network.input_len(), 0.0);
        rows.read(part, &mut values)?;
        let logits =
            network.evaluate(&values).and_then(|y| Ok(y.flatten_all()?.to_vec1::<f32>()?));
        let labels: Vec<u32> = part.iter().map(|&row| rows.labels()[row as usize]).collect();
        metrics.update_logits(&logits.map_err(taper_train::Error::other)?, &labels)?;
    }
    Ok(metrics)
}

impl<R: Rows> Learner for DeviceNetworkLearner<R> {
    type Batch = RowBatch<R>;
    type Validation = R;

    fn classes(&self) -> usize {
        self.loss.classes()
    }

    fn step(&mut self, batch: &RowBatch<R>, context: StepContext) -> taper_train::Result<()> {
        self.take_step(batch, context).map_err(|error| match error {
            // An interruption is to remain one.
            Error::Rows(source) => *source,
            error if error.is_out_of_memory() => {
                let remedy =
                    format!("it does not fit into the device's memory ({error}): use less");
                OutOfRange::new("batch_size", batch.rows.len(), remedy).into()
            }
            other => taper_train::Error::other(other),
        })
    }

    fn outcomes(&mut self) -> taper_train::Result<Vec<StepOutcome>> {
        self.outcomes.read().map_err(taper_train::Error::other)
    }

    fn waiting(&self) -> usize {
        self.outcomes.len()
    }

    fn is_prompt(&self) -> bool {
        false
    }

    fn measure(&mut self, rows: &R) -> taper_train::Result<Metrics> {
        self.averaged(|network| measure(network, rows)).map_err(taper_train::Error::other)?
    }

    fn weights(&mut self) -> taper_train::Result<Weights> {
        let weights = self.averaged(TrainedNetwork::weights).and_then(|weights| weights);
        weights.map_err(taper_train::Error::other)
    }

    fn set_weights(&mut self, weights: &Weights) -> taper_train::Result<()> {
        self.put_weights(weights).map_err(taper_train::Error::other)
    }

    fn state(&mut self) -> taper_train::Result<State> {
        self.read_state().map_err(taper_train::Error::other)
    }

    fn restore(&mut self, state: &State) -> taper_train::Result<()> {
        self.put_state(state).map_err(taper_train::Error::other)
    }

    /// Back to where training began; only the order of the rows and dropout follow the seed.
    fn reseed(&mut self, _: u64) -> taper_train::Result<()> {
        let again = |learner: &mut Self| {
            learner.network.restore(&learner.initial)?;
            (learner.optimizer, learner.average) = fresh(&learner.network, &learner.settings)?;
            learner.scale = LossScale::of(learner.precision);
            Ok::<_, Error>(())
        };
        again(self).map_err(taper_train::Error::other)
    }

    fn identify(&self, validation: &R, identity: Identity) -> Identity {
        validation.identify(identity.text("trained part", &self.identity))
    }
}
