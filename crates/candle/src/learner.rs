use std::{ops::Range, sync::Arc};

use candle_core::{Device, Tensor};
use taper_core::Identity;
use taper_graph::{Graph, Weights};
use taper_metrics::Metrics;
use taper_optim::{Loss, Targets};
use taper_train::{
    CheckedTraining, Learner, RowBatch, Rows as _, State, StepContext, StepOutcome, Table,
    batch_ranges, part_key,
};

use crate::{
    Average, Error, Gradients, Network, Optimizer, Pass, Result, outcomes::Waiting,
    weighted_cross_entropy,
};

/// How many rows are evaluated together.
const MEASURED: usize = 512;

/// How many rows are sent to a device together, with their logits read back together: one
/// synchronisation for all of them.
const SENT: usize = 64 * MEASURED;

/// A head on a candle device with its optimizer: the implementation for CUDA, and on the CPU the
/// reference of [`taper_train::HeadLearner`]. Steps wait for nothing.
#[derive(Debug)]
pub struct DeviceLearner {
    network: Network,
    optimizer: Optimizer,
    average: Option<Average>,
    loss: Loss,
    settings: CheckedTraining,
    /// The number of training rows of each class.
    counts: Vec<usize>,
    /// The table that steps are taken on, and its copy on the device.
    rows: Option<(Arc<Table>, Tensor)>,
    /// Outcomes of steps that have not been read yet.
    outcomes: Waiting,
}

impl DeviceLearner {
    /// A head with fresh weights from the settings' seed, to be trained on this many rows of each
    /// class.
    ///
    /// # Errors
    /// If the settings do not fit the classes, or the device has no room.
    pub fn new(
        graph: &Graph,
        counts: &[usize],
        settings: &CheckedTraining,
        device: &Device,
    ) -> Result<Self> {
        let own = settings.settings();
        let network = Network::initialised(graph, own.seed, device)?;
        let optimizer = Optimizer::new(&own.optimizer.clone().check()?, network.parameters())?;
        let average = own.ema.map(|decay| Average::new(decay, network.parameters())).transpose()?;
        Ok(Self {
            loss: own.loss.check(counts)?,
            network,
            optimizer,
            average,
            settings: settings.clone(),
            counts: counts.to_vec(),
            rows: None,
            outcomes: Waiting::default(),
        })
    }

    /// The table's copy on the device; it is sent once.
    fn rows(&mut self, table: &Arc<Table>) -> Result<Tensor> {
        match &self.rows {
            Some((there, rows)) if Arc::ptr_eq(there, table) => Ok(rows.clone()),
            _ => {
                // The old one is freed first: there may be no room for both.
                self.rows = None;
                let shape = (table.len(), table.width);
                let rows = Tensor::from_slice(&table.values, shape, self.network.device())?;
                self.rows = Some((Arc::clone(table), rows.clone()));
                Ok(rows)
            }
        }
    }

    fn take_step(&mut self, batch: &RowBatch, context: StepContext) -> Result<()> {
        let labels = batch.labels();
        let classes = self.loss.classes();
        let soft = batch.soft_targets(classes);
        let targets = |part: Range<usize>| match &soft {
            None => Targets::Labels(&labels[part]),
            Some(soft) => Targets::Soft(&soft[part.start * classes..part.end * classes]),
        };
        let weight = self.loss.weight(targets(0..labels.len()));
        let rows = self.rows(&batch.all)?;
        let own = self.settings.settings();
        let mut sum: Option<Gradients> = None;
        let mut outcome = Vec::new();
        for part in batch_ranges(labels.len(), own.batch_size) {
            let dropout = part_key(context.dropout, part.start);
            let pass = Pass::Training { dropout, step: context.number };
            let factors = self.loss.factors(targets(part.clone()), weight)?;
            let [loss, logits] = self.part(&rows, &batch.rows[part], factors, pass)?;
            let gradients = Gradients::of(&self.network, &loss)?;
            match &mut sum {
                Some(sum) => sum.add(gradients)?,
                None => sum = Some(gradients),
            }
            outcome.push([loss.detach(), logits.detach()]);
        }
        if let Some(mut gradients) = sum {
            if let Some(norm) = own.clip_norm {
                gradients.clip(norm)?;
            }
            self.optimizer.step(self.network.parameters(), &gradients, context.rate)?;
        }
        if let Some(average) = &mut self.average {
            average.update(self.network.parameters())?;
        }
        self.outcomes.push(outcome, labels);
        Ok(())
    }

    /// Loss and logits of a part of a step: `factors` are those of the loss.
    fn part(
        &self,
        rows: &Tensor,
        numbers: &[u32],
        factors: Vec<f32>,
        pass: Pass,
    ) -> Result<[Tensor; 2]> {
        let device = self.network.device();
        let x = rows.index_select(&Tensor::new(numbers, device)?, 0)?;
        let shape = (numbers.len(), self.loss.classes());
        let factors = Tensor::from_vec(factors, shape, device)?;
        let logits = self.network.forward(&x, pass)?;
        let loss = weighted_cross_entropy(&logits, &factors, self.loss.focal_gamma())?;
        Ok([loss, logits])
    }

    /// Works with the averaged weights, if there are any.
    fn averaged<T>(&mut self, work: impl FnOnce(&Network) -> Result<T>) -> Result<T> {
        if let Some(average) = &mut self.average {
            average.swap(self.network.parameters())?;
        }
        let done = work(&self.network);
        if let Some(average) = &mut self.average {
            average.swap(self.network.parameters())?;
        }
        done
    }
}

/// Evaluates a head over all rows, including the last partial batch.
fn measure(network: &Network, table: &Table, metrics: &mut Metrics) -> Result<()> {
    let rows = table.values.chunks(SENT * table.width.max(1));
    for (rows, labels) in rows.zip(table.labels.chunks(SENT)) {
        let n = labels.len();
        let rows = Tensor::from_slice(rows, (n, table.width), network.device())?;
        let parts = (0..n).step_by(MEASURED).map(|start| {
            let part = rows.narrow(0, start, MEASURED.min(n - start))?;
            network.forward(&part, Pass::Evaluation)
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let logits = Tensor::cat(&parts, 0)?.flatten_all()?.to_vec1::<f32>()?;
        metrics.update_logits(&logits, labels)?;
    }
    Ok(())
}

impl Learner for DeviceLearner {
    type Batch = RowBatch;
    type Validation = Table;

    fn classes(&self) -> usize {
        self.loss.classes()
    }

    fn step(&mut self, batch: &RowBatch, context: StepContext) -> taper_train::Result<()> {
        self.take_step(batch, context).map_err(taper_train::Error::other)
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

    fn measure(&mut self, table: &Table) -> taper_train::Result<Metrics> {
        let mut metrics = Metrics::new(self.loss.classes())?;
        self.averaged(|network| measure(network, table, &mut metrics))
            .map_err(taper_train::Error::other)?;
        Ok(metrics)
    }

    fn weights(&mut self) -> taper_train::Result<Weights> {
        self.averaged(Network::weights).map_err(taper_train::Error::other)
    }

    fn set_weights(&mut self, weights: &Weights) -> taper_train::Result<()> {
        let set = |learner: &mut Self| {
            learner.network.restore(weights)?;
            match &mut learner.average {
                Some(average) => average.reset(learner.network.parameters()),
                None => Ok::<_, Error>(()),
            }
        };
        set(self).map_err(taper_train::Error::other)
    }

    fn state(&mut self) -> taper_train::Result<State> {
        let read = |learner: &mut Self| {
            let network = learner.network.weights()?;
            let average = match learner.average {
                Some(_) => Some(learner.averaged(Network::weights)?),
                None => None,
            };
            let (optimizer_steps, optimizer) =
                learner.optimizer.state(learner.network.parameters())?;
            Ok::<_, Error>(State { network, optimizer_steps, optimizer, average })
        };
        read(self).map_err(taper_train::Error::other)
    }

    fn restore(&mut self, state: &State) -> taper_train::Result<()> {
        if let Some(average) = &state.average {
            self.set_weights(average)?;
        }
        let restore = |learner: &mut Self| {
            learner.network.restore(&state.network)?;
            let parameters = learner.network.parameters();
            learner.optimizer.restore(parameters, state.optimizer_steps, &state.optimizer)
        };
        restore(self).map_err(taper_train::Error::other)
    }

    fn reseed(&mut self, seed: u64) -> taper_train::Result<()> {
        let settings = self.settings.clone();
        let (graph, device) = (self.network.graph().clone(), self.network.device().clone());
        let rows = self.rows.take();
        let anew = Self::new(&graph, &self.counts, &settings.clone().with_seed(seed), &device);
        *self = Self { settings, rows, ..anew.map_err(taper_train::Error::other)? };
        Ok(())
    }

    fn identify(&self, validation: &Table, identity: Identity) -> Identity {
        validation.identify(identity.structure("head", self.network.graph()))
    }
}
