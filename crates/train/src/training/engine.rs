use std::{borrow::Cow, ops::Range};

use candle_core::Tensor;
use taper_candle::{Gradients, Network, Pass, weighted_cross_entropy};
use taper_core::random::Key;
use taper_grad::{Average, Loss, Optimizer, Targets};
use taper_graph::Weights;

use super::{
    HeadTraining,
    head_model::{Form, HeadModel},
};
use crate::{Features, Result};

/// A head and everything that a step changes.
#[derive(Debug)]
pub(super) struct Engine<'a> {
    train: Cow<'a, Features>,
    pub(super) model: HeadModel,
    optimizer: Kind,
    loss: Loss,
    clip_norm: Option<f64>,
    batch_size: usize,
    /// The gradient of the logits.
    gradient: Vec<f32>,
    /// What steps came to and nobody has asked for yet.
    outcomes: Vec<(Outcome, Vec<u32>)>,
}

#[derive(Debug)]
enum Kind {
    Slices { optimizer: Optimizer, average: Option<Average> },
    Candle(Box<Candle>),
}

/// What trains a head on a device.
#[derive(Debug)]
struct Candle {
    optimizer: taper_candle::Optimizer,
    average: Option<taper_candle::Average>,
    /// The training rows, on the device.
    rows: Tensor,
}

#[derive(Debug)]
enum Outcome {
    Here {
        loss: f64,
        logits: Vec<f32>,
    },
    /// On its way: loss and logits of each part of the step.
    There(Vec<[Tensor; 2]>),
}

/// What a step came to.
#[derive(Debug, Default)]
pub(super) struct Stepped {
    pub(super) loss: f64,
    /// f32 `[n, classes]`, in the order of the rows.
    pub(super) logits: Vec<f32>,
    pub(super) labels: Vec<u32>,
}

/// Everything that a step changes, as tensors by name.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) head: Weights,
    pub(super) optimizer_steps: u64,
    pub(super) optimizer: Weights,
    pub(super) average: Option<Weights>,
}

impl<'a> Engine<'a> {
    /// Begins with this head, which must have fresh weights of the settings' seed.
    pub(super) fn new(
        model: HeadModel,
        train: Cow<'a, Features>,
        settings: &HeadTraining,
    ) -> Result<Self> {
        let graph = model.graph();
        let classes = graph.shapes(0, 0)?[graph.output()].channels();
        let mut counts = vec![0; classes];
        for &label in &train.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        let loss = settings.loss.check(&counts)?;
        let optimizer = settings.optimizer.clone().check()?;
        let optimizer = match &model.0 {
            Form::Slices(head) => Kind::Slices {
                optimizer: Optimizer::new(optimizer, head)?,
                average: settings.ema.map(|decay| Average::new(decay, head)).transpose()?,
            },
            Form::Candle(network) => {
                let average = settings.ema.map(|decay| taper_candle::Average::new(decay, network));
                let rows = (train.len(), train.width);
                Kind::Candle(Box::new(Candle {
                    optimizer: taper_candle::Optimizer::new(&optimizer, network)?,
                    average: average.transpose()?,
                    rows: Tensor::from_slice(&train.values, rows, network.device())?,
                }))
            }
        };
        Ok(Self {
            train,
            model,
            optimizer,
            loss,
            clip_norm: settings.clip_norm,
            batch_size: settings.batch_size,
            gradient: Vec::new(),
            outcomes: Vec::new(),
        })
    }

    /// Begins anew with the weights of another seed.
    pub(super) fn reseed(&mut self, settings: &HeadTraining, seed: u64) -> Result<()> {
        let settings = HeadTraining { seed, ..settings.clone() };
        let train = std::mem::replace(&mut self.train, Cow::Owned(Features::default()));
        *self = Self::new(self.model.anew(seed)?, train, &settings)?;
        Ok(())
    }

    /// Goes on with other rows of the same width and labels: new views of the same pictures.
    pub(super) fn set_train(&mut self, train: Features) -> Result<()> {
        if let Kind::Candle(candle) = &mut self.optimizer {
            let rows = (train.len(), train.width);
            candle.rows = Tensor::from_slice(&train.values, rows, candle.rows.device())?;
        }
        self.train = Cow::Owned(train);
        Ok(())
    }

    pub(super) fn train(&self) -> &Features {
        &self.train
    }

    /// Whether the outcome of a step is known when the step returns; else asking for it means waiting for a device.
    pub(super) fn is_prompt(&self) -> bool {
        matches!(self.optimizer, Kind::Slices { .. })
    }

    /// How many outcomes nobody has asked for yet.
    pub(super) fn waiting(&self) -> usize {
        self.outcomes.len()
    }

    /// One step of the optimizer on these rows of the training table, in batches whose gradients are added up.
    pub(super) fn step(&mut self, rows: &[u32], rate: f64, dropout: Key, step: u32) -> Result<()> {
        let labels: Vec<u32> = rows.iter().map(|&r| self.train.labels[r as usize]).collect();
        let classes = self.loss.classes();
        let soft = soft_targets(&self.train, rows, classes);
        let targets = |part: Range<usize>| match &soft {
            None => Targets::Labels(&labels[part]),
            Some(soft) => Targets::Soft(&soft[part.start * classes..part.end * classes]),
        };
        let weight = self.loss.weight(targets(0..rows.len()));
        // Parts of one step must not share their masks.
        let key = |part: &Range<usize>| match part.start {
            0 => dropout,
            start => dropout.part(&start.to_string()),
        };
        let parts = super::trainer::batches(rows.len(), self.batch_size);
        let outcome = match (&mut self.model.0, &mut self.optimizer) {
            (Form::Slices(head), Kind::Slices { optimizer, average }) => {
                let (mut total, mut all) = (0.0, Vec::new());
                for part in parts {
                    let (rows, train) = (&rows[part.clone()], self.train.as_ref());
                    let gather = |x: &mut [f32]| {
                        for (x, &row) in x.chunks_exact_mut(train.width).zip(rows) {
                            x.copy_from_slice(
                                &train.values[row as usize * train.width..][..train.width],
                            );
                        }
                    };
                    let logits = head.forward(rows.len(), gather, key(&part), step)?;
                    all.extend_from_slice(logits);
                    self.gradient.resize(logits.len(), 0.0);
                    total +=
                        self.loss.evaluate(logits, targets(part), weight, &mut self.gradient)?;
                    head.backward(&self.gradient)?;
                }
                if let Some(norm) = self.clip_norm {
                    head.clip_gradients(norm);
                }
                optimizer.step(head, rate);
                if let Some(average) = average {
                    average.update(head);
                }
                Outcome::Here { loss: total, logits: all }
            }
            (Form::Candle(network), Kind::Candle(candle)) => {
                let mut sum: Option<Gradients> = None;
                let mut outcome = Vec::new();
                for part in parts {
                    let pass = Pass::Training { dropout: key(&part), step };
                    let factors = self.loss.factors(targets(part.clone()), weight)?;
                    let gamma = self.loss.focal_gamma();
                    let [loss, logits] = candle.part(network, &rows[part], factors, gamma, pass)?;
                    let gradients = Gradients::of(network, &loss)?;
                    match &mut sum {
                        Some(sum) => sum.add(gradients)?,
                        None => sum = Some(gradients),
                    }
                    outcome.push([loss.detach(), logits.detach()]);
                }
                if let Some(mut gradients) = sum {
                    if let Some(norm) = self.clip_norm {
                        gradients.clip(norm)?;
                    }
                    candle.optimizer.step(network, &gradients, rate)?;
                }
                if let Some(average) = &mut candle.average {
                    average.update(network)?;
                }
                Outcome::There(outcome)
            }
            // Both are made together.
            _ => Outcome::There(Vec::new()),
        };
        self.outcomes.push((outcome, labels));
        Ok(())
    }

    /// What the steps since the last call came to, in order.
    pub(super) fn outcomes(&mut self) -> Result<Vec<Stepped>> {
        let outcomes = std::mem::take(&mut self.outcomes);
        let there = outcomes.iter().flat_map(|(outcome, _)| match outcome {
            Outcome::There(parts) => parts.as_slice(),
            Outcome::Here { .. } => &[],
        });
        let parts: Vec<&[Tensor; 2]> = there.collect();
        // All of them are read together: the device is waited for once.
        let (mut losses, mut logits) = (Vec::new(), Vec::new());
        if !parts.is_empty() {
            let all: Vec<&Tensor> = parts.iter().map(|[loss, _]| loss).collect();
            losses = Tensor::stack(&all, 0)?.to_vec1::<f32>()?;
            let all: Vec<&Tensor> = parts.iter().map(|[_, logits]| logits).collect();
            logits = Tensor::cat(&all, 0)?.flatten_all()?.to_vec1::<f32>()?;
        }
        let (mut losses, mut logits) = (losses.into_iter(), logits.into_iter());
        let stepped = outcomes.into_iter().map(|(outcome, labels)| match outcome {
            Outcome::Here { loss, logits } => Stepped { loss, logits, labels },
            Outcome::There(parts) => {
                let loss = losses.by_ref().take(parts.len()).map(f64::from).sum();
                let values = labels.len() * self.loss.classes();
                Stepped { loss, logits: logits.by_ref().take(values).collect(), labels }
            }
        });
        Ok(stepped.collect())
    }

    /// The head as it is measured and kept: averaged, if an average was asked for.
    pub(super) fn measured<T>(
        &mut self,
        measure: impl FnOnce(&HeadModel) -> Result<T>,
    ) -> Result<T> {
        self.swap()?;
        let measured = measure(&self.model);
        self.swap()?;
        measured
    }

    fn swap(&mut self) -> Result<()> {
        match (&mut self.model.0, &mut self.optimizer) {
            (Form::Slices(head), Kind::Slices { average: Some(average), .. }) => average.swap(head),
            (Form::Candle(network), Kind::Candle(candle)) => {
                if let Some(average) = &mut candle.average {
                    average.swap(network)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Sets the weights of the head, and of its average.
    pub(super) fn set_weights(&mut self, weights: &Weights) -> Result<()> {
        match (&mut self.model.0, &mut self.optimizer) {
            (Form::Slices(head), Kind::Slices { average, .. }) => {
                head.restore(weights)?;
                if let Some(average) = average {
                    average
                        .restore(head.parameters().iter().map(|p| p.values.clone()).collect())?;
                }
            }
            (Form::Candle(network), Kind::Candle(candle)) => {
                network.restore(weights)?;
                if let Some(average) = &mut candle.average {
                    average.reset(network)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn state(&mut self) -> Result<State> {
        let head = self.model.weights()?;
        let averages = match &self.optimizer {
            Kind::Slices { average, .. } => average.is_some(),
            Kind::Candle(candle) => candle.average.is_some(),
        };
        let average = if averages { Some(self.measured(HeadModel::weights)?) } else { None };
        let (optimizer_steps, optimizer) = match (&self.model.0, &self.optimizer) {
            (Form::Slices(head), Kind::Slices { optimizer, .. }) => optimizer.state(head),
            (Form::Candle(network), Kind::Candle(candle)) => candle.optimizer.state(network)?,
            _ => Default::default(),
        };
        Ok(State { head, optimizer_steps, optimizer, average })
    }

    pub(super) fn restore(&mut self, state: &State) -> Result<()> {
        if let Some(average) = &state.average {
            self.set_weights(average)?;
        }
        match (&mut self.model.0, &mut self.optimizer) {
            (Form::Slices(head), Kind::Slices { optimizer, .. }) => {
                head.restore(&state.head)?;
                optimizer.restore(head, state.optimizer_steps, &state.optimizer)?;
            }
            (Form::Candle(network), Kind::Candle(candle)) => {
                network.restore(&state.head)?;
                candle.optimizer.restore(network, state.optimizer_steps, &state.optimizer)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Candle {
    /// Loss and logits of a part of a step: `factors` are those of the loss.
    fn part(
        &self,
        network: &Network,
        rows: &[u32],
        factors: Vec<f32>,
        gamma: f64,
        pass: Pass,
    ) -> Result<[Tensor; 2]> {
        let device = network.device();
        let x = self.rows.index_select(&Tensor::new(rows, device)?, 0)?;
        let classes = factors.len() / rows.len().max(1);
        let factors = Tensor::from_vec(factors, (rows.len(), classes), device)?;
        let logits = network.forward(&x, pass)?;
        Ok([weighted_cross_entropy(&logits, &factors, gamma)?, logits])
    }
}

/// Distributions over the classes, `[n, classes]`, where rows were mixed.
fn soft_targets(train: &Features, rows: &[u32], classes: usize) -> Option<Vec<f32>> {
    if train.mixed.is_empty() {
        return None;
    }
    let mut soft = vec![0.0; rows.len() * classes];
    for (target, &row) in soft.chunks_exact_mut(classes).zip(rows) {
        let (second, share) = train.mixed[row as usize];
        target[train.labels[row as usize] as usize] += 1.0 - share;
        target[second as usize] += share;
    }
    Some(soft)
}
