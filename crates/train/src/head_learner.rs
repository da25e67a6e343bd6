use std::sync::Arc;

use taper_callbacks::Callbacks;
use taper_core::{Identity, random::Key};
use taper_grad::Head;
use taper_graph::{Graph, Weights};
use taper_metrics::Metrics;
use taper_optim::{Average, Loss, Optimizer, Targets};

use crate::{
    CheckedTraining, Learner, Result, RowBatch, RowBatches, Rows, State, StepContext, StepOutcome,
    Table, Trained, Trainer, Watch, batches::batch_ranges,
};

/// How many rows are evaluated together.
const MEASURED: usize = 512;

/// A head over slices, on the CPU, with its optimizer.
#[derive(Debug)]
pub struct HeadLearner {
    head: Head,
    optimizer: Optimizer,
    average: Option<Average>,
    loss: Loss,
    settings: CheckedTraining,
    /// The number of training rows of each class.
    counts: Vec<usize>,
    /// The gradient of the logits.
    gradient: Vec<f32>,
    outcomes: Vec<StepOutcome>,
}

impl HeadLearner {
    /// A head with fresh weights from the settings' seed, to be trained on this many rows of each
    /// class.
    ///
    /// # Errors
    /// If the graph is not a head, or the settings do not fit the classes.
    pub fn new(graph: &Graph, counts: &[usize], settings: &CheckedTraining) -> Result<Self> {
        let own = settings.settings();
        let head = Head::initialised(graph, own.seed)?;
        let optimizer = Optimizer::new(own.optimizer.clone().check()?, head.parameters())?;
        let average = own.ema.map(|decay| Average::new(decay, head.parameters())).transpose()?;
        Ok(Self {
            loss: own.loss.check(counts)?,
            head,
            optimizer,
            average,
            settings: settings.clone(),
            counts: counts.to_vec(),
            gradient: Vec::new(),
            outcomes: Vec::new(),
        })
    }

    /// Evaluates with the averaged weights, if there are any.
    fn averaged<T>(&mut self, work: impl FnOnce(&Head) -> T) -> T {
        let swap = |head: &mut Head, average: &mut Option<Average>| {
            if let Some(average) = average {
                average.swap(head.parameters_mut());
            }
        };
        swap(&mut self.head, &mut self.average);
        let done = work(&self.head);
        swap(&mut self.head, &mut self.average);
        done
    }
}

/// The dropout key of a part of a step that begins at row `start` of it: parts must not share their
/// masks.
pub fn part_key(dropout: Key, start: usize) -> Key {
    match start {
        0 => dropout,
        start => dropout.part(&start.to_string()),
    }
}

impl Learner for HeadLearner {
    type Batch = RowBatch;
    type Validation = Table;

    fn classes(&self) -> usize {
        self.loss.classes()
    }

    fn step(&mut self, batch: &RowBatch, context: StepContext) -> Result<()> {
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
        for part in batch_ranges(labels.len(), own.batch_size) {
            let mut read = Ok(());
            let fill = |x: &mut [f32]| read = batch.read(part.clone(), x);
            let key = part_key(context.dropout, part.start);
            let logits = self.head.forward(part.len(), fill, key, context.number)?;
            read?;
            all.extend_from_slice(logits);
            self.gradient.resize(logits.len(), 0.0);
            total += self.loss.evaluate(logits, targets(part), weight, &mut self.gradient)?;
            self.head.backward(&self.gradient)?;
        }
        let parameters = self.head.parameters_mut();
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

    fn measure(&mut self, table: &Table) -> Result<Metrics> {
        self.averaged(|head| measure_head(head, table))
    }

    fn weights(&mut self) -> Result<Weights> {
        Ok(self.averaged(|head| head.parameters().weights()))
    }

    fn set_weights(&mut self, weights: &Weights) -> Result<()> {
        self.head.restore(weights)?;
        if let Some(average) = &mut self.average {
            let values = self.head.parameters().iter().map(|p| p.values.clone()).collect();
            average.restore(values)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<State> {
        let network = self.head.parameters().weights();
        let average = match &self.average {
            Some(_) => Some(self.averaged(|head| head.parameters().weights())),
            None => None,
        };
        let (optimizer_steps, optimizer) = self.optimizer.state(self.head.parameters());
        Ok(State { network, optimizer_steps, optimizer, average })
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        if let Some(average) = &state.average {
            self.set_weights(average)?;
        }
        self.head.restore(&state.network)?;
        let parameters = self.head.parameters();
        Ok(self.optimizer.restore(parameters, state.optimizer_steps, &state.optimizer)?)
    }

    fn reseed(&mut self, seed: u64) -> Result<()> {
        let settings = self.settings.clone();
        *self = Self::new(self.head.graph(), &self.counts, &settings.clone().with_seed(seed))?;
        self.settings = settings;
        Ok(())
    }

    fn identify(&self, validation: &Table, identity: Identity) -> Identity {
        validation.identify(identity.structure("head", self.head.graph()))
    }
}

/// The logits of rows: f32 `[n, width]` in, `[n, classes]` out. Dropout does nothing, BatchNorm
/// uses its running statistics.
///
/// # Errors
/// If the length does not fit.
pub fn evaluate_rows(head: &Head, rows: &[f32]) -> Result<Vec<f32>> {
    let mut out = vec![0.0; rows.len() / head.width().max(1) * head.classes()];
    head.evaluate(rows, &mut out)?;
    Ok(out)
}

/// Evaluates a head over all rows, including the last partial batch.
///
/// # Errors
/// If the length does not fit.
pub fn measure_head(head: &Head, table: &Table) -> Result<Metrics> {
    let mut metrics = Metrics::new(head.classes())?;
    metrics.update_logits(&head_logits(head, table)?, &table.labels)?;
    Ok(metrics)
}

/// The logits of all rows of a table: f32 `[rows, classes]`.
///
/// # Errors
/// If the length does not fit.
pub fn head_logits(head: &Head, table: &Table) -> Result<Vec<f32>> {
    let mut all = Vec::with_capacity(table.len() * head.classes());
    for rows in table.values.chunks(MEASURED * table.width.max(1)) {
        all.extend(evaluate_rows(head, rows)?);
    }
    Ok(all)
}

/// Trains a head over slices from beginning to end: [`HeadLearner`], [`RowBatches`] and [`Trainer`]
/// in one call.
///
/// # Errors
/// As [`HeadLearner::new`] and [`Trainer::train`].
pub fn train_head(
    graph: &Graph,
    train: Arc<Table>,
    validation: &Table,
    settings: &CheckedTraining,
    callbacks: &mut Callbacks,
    watch: &Watch,
) -> Result<Trained<HeadLearner>> {
    let classes = graph.shapes(0, 0)?[graph.output()].channels();
    let learner = HeadLearner::new(graph, &train.counts(classes), settings)?;
    let batches = RowBatches::new(train, classes, settings)?;
    Trainer::new(learner, batches, validation, settings)?.train(callbacks, watch)
}
