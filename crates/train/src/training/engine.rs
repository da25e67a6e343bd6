use std::{borrow::Cow, ops::Range};

use candle_core::{Device, Tensor};
use taper_core::random::Key;
use taper_graph::{Graph, Weights};
use taper_head::{Algorithm, Average, Loss, Optimizer, Targets};
use taper_nn::{Adam, AdamConfig, EpsilonMode, Pass, cross_entropy};

use super::{
    HeadTraining,
    head_model::{Form, HeadModel},
};
use crate::{Error, Features, Result};

/// A head and everything that a step changes.
#[derive(Debug)]
pub(super) struct Engine<'a> {
    train: Cow<'a, Features>,
    pub(super) model: HeadModel,
    optimizer: Kind,
    average: Option<Average>,
    loss: Loss,
    clip_norm: Option<f64>,
    batch_size: usize,
    /// The gradient of the logits.
    gradient: Vec<f32>,
}

#[derive(Debug)]
enum Kind {
    Slices(Optimizer),
    /// With the training rows on the device.
    Candle(Box<(Adam, Tensor)>),
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
    pub(super) fn new(
        graph: &Graph,
        train: Cow<'a, Features>,
        settings: &HeadTraining,
        device: &Device,
    ) -> Result<Self> {
        let model = HeadModel::initialised(graph, settings.seed, device)?;
        let classes = graph.shapes(0, 0)?[graph.output()].channels();
        let mut counts = vec![0; classes];
        for &label in &train.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        let loss = settings.loss.check(&counts)?;
        let (optimizer, average) = match &model.0 {
            Form::Slices(head) => {
                let optimizer = Optimizer::new(settings.optimizer.clone().check()?, head)?;
                let average = settings.ema.map(|decay| Average::new(decay, head)).transpose()?;
                (Kind::Slices(optimizer), average)
            }
            Form::Candle(network) => {
                if !train.mixed.is_empty() {
                    return Err(cpu_only("mix", "set"));
                }
                let adam = Adam::new(candle_adam(settings)?.check()?, network)?;
                let rows = (train.len(), train.width);
                let rows = Tensor::from_slice(&train.values, rows, device)?;
                (Kind::Candle(Box::new((adam, rows))), None)
            }
        };
        Ok(Self {
            train,
            model,
            optimizer,
            average,
            loss,
            clip_norm: settings.clip_norm,
            batch_size: settings.batch_size,
            gradient: Vec::new(),
        })
    }

    /// Begins anew with the weights of another seed.
    pub(super) fn reseed(&mut self, settings: &HeadTraining, seed: u64) -> Result<()> {
        let settings = HeadTraining { seed, ..settings.clone() };
        let train = std::mem::replace(&mut self.train, Cow::Owned(Features::default()));
        *self = Self::new(self.model.graph(), train, &settings, &self.model.device())?;
        Ok(())
    }

    /// Goes on with other rows of the same width and labels: new views of the same pictures.
    pub(super) fn set_train(&mut self, train: Features) -> Result<()> {
        if let Kind::Candle(kind) = &mut self.optimizer {
            let rows = (train.len(), train.width);
            kind.1 = Tensor::from_slice(&train.values, rows, kind.1.device())?;
        }
        self.train = Cow::Owned(train);
        Ok(())
    }

    pub(super) fn train(&self) -> &Features {
        &self.train
    }

    /// One step of the optimizer on these rows of the training table, in batches whose gradients are added up.
    pub(super) fn step(
        &mut self,
        rows: &[u32],
        rate: f64,
        dropout: Key,
        step: u32,
    ) -> Result<Stepped> {
        let labels: Vec<u32> = rows.iter().map(|&r| self.train.labels[r as usize]).collect();
        let mut stepped = Stepped { labels, ..Stepped::default() };
        match (&mut self.model.0, &mut self.optimizer) {
            (Form::Slices(head), Kind::Slices(optimizer)) => {
                let soft = soft_targets(&self.train, rows, self.loss.classes());
                let targets = |part: Range<usize>| match &soft {
                    None => Targets::Labels(&stepped.labels[part]),
                    Some(soft) => {
                        let classes = soft.len() / rows.len().max(1);
                        Targets::Soft(&soft[part.start * classes..part.end * classes])
                    }
                };
                let weight = self.loss.weight(targets(0..rows.len()));
                let (mut loss, mut all_logits) = (0.0, Vec::new());
                for part in super::trainer::batches(rows.len(), self.batch_size) {
                    let (rows, train) = (&rows[part.clone()], self.train.as_ref());
                    let gather = |x: &mut [f32]| {
                        for (x, &row) in x.chunks_exact_mut(train.width).zip(rows) {
                            x.copy_from_slice(
                                &train.values[row as usize * train.width..][..train.width],
                            );
                        }
                    };
                    // Parts of one step must not share their masks.
                    let key = if part.start == 0 {
                        dropout
                    } else {
                        dropout.part(&part.start.to_string())
                    };
                    let logits = head.forward(rows.len(), gather, key, step)?;
                    all_logits.extend_from_slice(logits);
                    self.gradient.resize(logits.len(), 0.0);
                    loss +=
                        self.loss.evaluate(logits, targets(part), weight, &mut self.gradient)?;
                    head.backward(&self.gradient)?;
                }
                (stepped.loss, stepped.logits) = (loss, all_logits);
                if let Some(norm) = self.clip_norm {
                    head.clip_gradients(norm);
                }
                optimizer.step(head, rate);
                if let Some(average) = &mut self.average {
                    average.update(head);
                }
            }
            (Form::Candle(network), Kind::Candle(kind)) => {
                let (adam, table) = kind.as_mut();
                let device = network.device();
                let x = table.index_select(&Tensor::new(rows, device)?, 0)?;
                let y = Tensor::new(stepped.labels.as_slice(), device)?;
                let logits = network.forward(&x, Pass::Training { dropout, step })?;
                let loss = cross_entropy(&logits, &y)?;
                adam.set_learning_rate(rate);
                adam.step(network, &loss)?;
                stepped.loss = f64::from(loss.to_scalar::<f32>()?);
                stepped.logits = logits.flatten_all()?.to_vec1()?;
            }
            _ => {}
        }
        Ok(stepped)
    }

    /// The head as it is measured and kept: averaged, if an average was asked for.
    pub(super) fn measured<T>(
        &mut self,
        measure: impl FnOnce(&HeadModel) -> Result<T>,
    ) -> Result<T> {
        self.swap();
        let measured = measure(&self.model);
        self.swap();
        measured
    }

    fn swap(&mut self) {
        if let (Some(average), Form::Slices(head)) = (&mut self.average, &mut self.model.0) {
            average.swap(head);
        }
    }

    /// Sets the weights of the head, and of its average.
    pub(super) fn set_weights(&mut self, weights: &Weights) -> Result<()> {
        match &mut self.model.0 {
            Form::Slices(head) => {
                head.restore(weights)?;
                if let Some(average) = &mut self.average {
                    average
                        .restore(head.parameters().iter().map(|p| p.values.clone()).collect())?;
                }
            }
            Form::Candle(network) => network.restore(weights)?,
        }
        Ok(())
    }

    pub(super) fn state(&mut self) -> Result<State> {
        let head = self.model.weights()?;
        let average = match self.average {
            Some(_) => Some(self.measured(HeadModel::weights)?),
            None => None,
        };
        let (optimizer_steps, optimizer) = match (&self.model.0, &self.optimizer) {
            (Form::Slices(head), Kind::Slices(optimizer)) => optimizer.state(head),
            (Form::Candle(network), Kind::Candle(kind)) => kind.0.state(network)?,
            _ => Default::default(),
        };
        Ok(State { head, optimizer_steps, optimizer, average })
    }

    pub(super) fn restore(&mut self, state: &State) -> Result<()> {
        if let Some(average) = &state.average {
            self.set_weights(average)?;
        }
        match (&mut self.model.0, &mut self.optimizer) {
            (Form::Slices(head), Kind::Slices(optimizer)) => {
                head.restore(&state.head)?;
                optimizer.restore(head, state.optimizer_steps, &state.optimizer)?;
            }
            (Form::Candle(network), Kind::Candle(kind)) => {
                network.restore(&state.head)?;
                kind.0.restore(network, state.optimizer_steps, &state.optimizer)?;
            }
            _ => {}
        }
        Ok(())
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

/// The settings as candle's optimizer knows them.
fn candle_adam(settings: &HeadTraining) -> Result<AdamConfig> {
    let (beta1, beta2, epsilon, mode, weight_decay) = match settings.optimizer.algorithm {
        Algorithm::Adam { beta1, beta2, epsilon, epsilon_mode } => {
            (beta1, beta2, epsilon, epsilon_mode, 0.0)
        }
        Algorithm::AdamW { beta1, beta2, epsilon, epsilon_mode, weight_decay } => {
            (beta1, beta2, epsilon, epsilon_mode, weight_decay)
        }
        Algorithm::Sgd { .. } => return Err(cpu_only("optimizer", "sgd")),
    };
    let plain = HeadTraining::default();
    for (there, field) in [
        (!settings.optimizer.groups.is_empty(), "optimizer groups"),
        (settings.loss != plain.loss, "loss"),
        (settings.clip_norm.is_some(), "clip_norm"),
        (settings.accumulate != 1, "accumulate"),
        (settings.ema.is_some(), "ema"),
    ] {
        if there {
            return Err(cpu_only(field, "set"));
        }
    }
    let epsilon_mode = match mode {
        taper_head::EpsilonMode::Keras => EpsilonMode::Keras,
        taper_head::EpsilonMode::Torch => EpsilonMode::Torch,
    };
    let learning_rate = settings.learning_rate;
    Ok(AdamConfig { learning_rate, beta1, beta2, epsilon, epsilon_mode, weight_decay })
}

fn cpu_only(field: &'static str, value: &str) -> Error {
    Error::Setting {
        field,
        value: value.into(),
        remedy: "heads are trained with it on the CPU only: leave it out, or use --device cpu"
            .into(),
    }
}
