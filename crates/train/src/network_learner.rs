use std::marker::PhantomData;

use taper_core::{Identity, hex};
use taper_grad::{BatchNormMode, Boundary, Network, SuffixOptions};
use taper_graph::{Graph, WeightSource, Weights};
use taper_metrics::Metrics;
use taper_optim::{Average, Loss, Optimizer, Targets};

use crate::{
    CheckedTraining, Learner, Result, RowBatch, Rows, State, StepContext, StepOutcome, Table,
};

/// What a [`NetworkLearner`] trains: the layers of a network above a boundary, and a head.
#[derive(Clone, Copy)]
pub struct TrainedPart<'a> {
    /// The network up to its features.
    pub backbone: &'a Graph,
    /// Its weights, where training begins.
    pub weights: &'a dyn WeightSource,
    /// Where the trained part begins.
    pub boundary: Boundary,
    /// The head.
    pub head: &'a Graph,
    /// Its weights, where training begins.
    pub head_weights: &'a dyn WeightSource,
    /// Height and width of the pictures, in pixels.
    pub size: [usize; 2],
    /// What BatchNorm does in the trained part.
    pub batch_norm: BatchNormMode,
    /// The most pictures for which memory is set aside: larger batches are done in parts. Only
    /// where statistics are frozen; trained ones need whole batches.
    pub room: usize,
}

impl std::fmt::Debug for TrainedPart<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainedPart")
            .field("backbone", &self.backbone.name())
            .field("boundary", &self.boundary)
            .field("batch_norm", &self.batch_norm)
            .finish_non_exhaustive()
    }
}

/// The layers of a network above a boundary and its head, on the CPU, with their optimizer. A row
/// is what the frozen part gives for a picture: the map at the boundary, channels last.
#[derive(Debug)]
pub struct NetworkLearner<R = Table> {
    network: Network,
    /// Where training began.
    initial: Weights,
    /// The digest of that, and what else determines how it learns.
    identity: String,
    optimizer: Optimizer,
    average: Option<Average>,
    loss: Loss,
    settings: CheckedTraining,
    rows: PhantomData<fn(R)>,
    outcomes: Vec<StepOutcome>,
}

impl<R: Rows> NetworkLearner<R> {
    /// The network with the given weights, to be trained on this many rows of each class.
    ///
    /// # Errors
    /// If the graph has layers that cannot be trained, the weights do not fit, or the settings do
    /// not fit the classes.
    pub fn new(
        part: &TrainedPart<'_>,
        counts: &[usize],
        settings: &CheckedTraining,
    ) -> Result<Self> {
        let own = settings.settings();
        let room = match part.batch_norm {
            BatchNormMode::Frozen => part.room.clamp(1, own.batch_size.max(1)),
            // A last batch of one row is merged into the one before it.
            BatchNormMode::Trained => own.batch_size + 1,
        };
        let options = SuffixOptions {
            batch_norm: part.batch_norm,
            ..SuffixOptions::new(part.size, room.min(counts.iter().sum::<usize>().max(1)))
        };
        let network = Network::new(
            (part.backbone, part.weights),
            part.boundary,
            (part.head, part.head_weights),
            &options,
        )?;
        let (optimizer, average) = fresh(&network, settings)?;
        let initial = network.parameters().weights();
        let identity = network.parameters().iter().fold(
            Identity::new("taper/trained part", 1)
                .structure("head", part.head)
                .text("network", part.backbone.name())
                .text("from", &part.backbone.nodes()[part.boundary.first].name)
                .number("trained statistics", u64::from(part.batch_norm == BatchNormMode::Trained))
                .number("room", room as u64),
            |identity, tensor| identity.floats(&tensor.name, &tensor.values),
        );
        Ok(Self {
            loss: own.loss.check(counts)?,
            network,
            initial,
            identity: hex(&identity.finish()),
            optimizer,
            average,
            settings: settings.clone(),
            rows: PhantomData,
            outcomes: Vec::new(),
        })
    }

    /// The network in training.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The same learner at other weights, for evaluating them: nothing is averaged.
    ///
    /// # Errors
    /// If they are another network's.
    pub fn measure_with(&mut self, weights: &Weights, rows: &R) -> Result<Metrics> {
        let before = self.network.parameters().weights();
        self.network.restore(weights)?;
        let measured = measure(&mut self.network, rows);
        self.network.restore(&before)?;
        measured
    }

    /// Works with the averaged weights, if there are any.
    fn averaged<T>(&mut self, work: impl FnOnce(&mut Network) -> T) -> T {
        let swap = |network: &mut Network, average: &mut Option<Average>| {
            if let Some(average) = average {
                average.swap(network.parameters_mut());
            }
        };
        swap(&mut self.network, &mut self.average);
        let done = work(&mut self.network);
        swap(&mut self.network, &mut self.average);
        done
    }
}

/// An optimizer and an average at their beginning.
fn fresh(network: &Network, settings: &CheckedTraining) -> Result<(Optimizer, Option<Average>)> {
    let own = settings.settings();
    let parameters = network.parameters();
    let optimizer = Optimizer::new(own.optimizer.clone().check()?, parameters)?;
    let average = own.ema.map(|decay| Average::new(decay, parameters)).transpose()?;
    Ok((optimizer, average))
}

/// Evaluates a network over all rows.
fn measure(network: &mut Network, rows: &impl Rows) -> Result<Metrics> {
    let classes = network.classes();
    let mut metrics = Metrics::new(classes)?;
    let numbers: Vec<u32> = (0..rows.len() as u32).collect();
    let mut logits = Vec::new();
    for part in numbers.chunks(network.suffix().batch()) {
        logits.resize(part.len() * classes, 0.0);
        let mut read = Ok(());
        network.evaluate(part.len(), |values| read = rows.read(part, values), &mut logits)?;
        read?;
        let labels: Vec<u32> = part.iter().map(|&row| rows.labels()[row as usize]).collect();
        metrics.update_logits(&logits, &labels)?;
    }
    Ok(metrics)
}

impl<R: Rows> Learner for NetworkLearner<R> {
    type Batch = RowBatch<R>;
    type Validation = R;

    fn classes(&self) -> usize {
        self.loss.classes()
    }

    fn step(&mut self, batch: &RowBatch<R>, context: StepContext) -> Result<()> {
        let own = self.settings.settings();
        let labels = batch.labels();
        let classes = self.loss.classes();
        let soft = batch.soft_targets(classes);
        let targets = |part: std::ops::Range<usize>| match &soft {
            None => Targets::Labels(&labels[part]),
            Some(soft) => Targets::Soft(&soft[part.start * classes..part.end * classes]),
        };
        let weight = self.loss.weight(targets(0..labels.len()));
        let (mut total, mut all) = (0.0, Vec::with_capacity(labels.len() * classes));
        for part in crate::batch_ranges(labels.len(), own.batch_size) {
            let key = crate::part_key(context.dropout, part.start);
            let read = |within: std::ops::Range<usize>, values: &mut [f32]| {
                batch.read(part.start + within.start..part.start + within.end, values)
            };
            let loss = |logits: &[f32], gradient: &mut [f32]| {
                all.extend_from_slice(logits);
                total += self.loss.evaluate(logits, targets(part.clone()), weight, gradient)?;
                Ok::<(), crate::Error>(())
            };
            self.network.pass(part.len(), read, (key, context.number), loss)?;
        }
        let parameters = self.network.parameters_mut();
        if let Some(norm) = own.clip_norm {
            parameters.clip_gradients(norm);
        }
        self.optimizer.step(parameters, context.rate);
        if let Some(average) = &mut self.average {
            average.update(parameters);
        }
        self.outcomes.push(StepOutcome { loss: total, logits: all, labels });
        Ok(())
    }

    fn outcomes(&mut self) -> Result<Vec<StepOutcome>> {
        Ok(std::mem::take(&mut self.outcomes))
    }

    fn waiting(&self) -> usize {
        self.outcomes.len()
    }

    fn measure(&mut self, rows: &R) -> Result<Metrics> {
        self.averaged(|network| measure(network, rows))
    }

    fn weights(&mut self) -> Result<Weights> {
        Ok(self.averaged(|network| network.parameters().weights()))
    }

    fn set_weights(&mut self, weights: &Weights) -> Result<()> {
        self.network.restore(weights)?;
        if let Some(average) = &mut self.average {
            let values = self.network.parameters().iter().map(|p| p.values.clone()).collect();
            average.restore(values)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<State> {
        let network = self.network.parameters().weights();
        let average = match &self.average {
            Some(_) => Some(self.averaged(|network| network.parameters().weights())),
            None => None,
        };
        let (optimizer_steps, optimizer) = self.optimizer.state(self.network.parameters());
        Ok(State { network, optimizer_steps, optimizer, average })
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        if let Some(average) = &state.average {
            self.set_weights(average)?;
        }
        self.network.restore(&state.network)?;
        let parameters = self.network.parameters();
        Ok(self.optimizer.restore(parameters, state.optimizer_steps, &state.optimizer)?)
    }

    /// Back to where training began; only the order of the rows and dropout follow the seed.
    fn reseed(&mut self, _: u64) -> Result<()> {
        self.network.restore(&self.initial)?;
        (self.optimizer, self.average) = fresh(&self.network, &self.settings)?;
        Ok(())
    }

    fn identify(&self, validation: &R, identity: Identity) -> Identity {
        validation.identify(identity.text("trained part", &self.identity))
    }
}
