use std::{collections::HashMap, time::Instant};

use candle_core::{Device, Tensor};
use taper_callbacks::{Action, Callbacks, Event, Logs, Request, StopReason};
use taper_core::random::{Key, Purpose};
use taper_graph::{Graph, Weights};
use taper_metrics::{Mean, Metrics};
use taper_nn::{Adam, AdamConfig, Network, Pass, cross_entropy};

use crate::{EpochReport, Error, Features, Result, Session};

const SHUFFLE: Purpose = Purpose::new("train/shuffle");
const DROPOUT: Purpose = Purpose::new("train/dropout");

/// Rows that are evaluated together.
const EVALUATION_BATCH: usize = 512;

/// The figures that every epoch reports, in alphabetical order.
const REPORTED: [&str; 5] = ["accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"];

/// How a head is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadTraining {
    /// Passes over the training rows at most.
    pub epochs: u32,
    /// Rows per step.
    pub batch_size: usize,
    /// The optimizer.
    pub optimizer: AdamConfig,
    /// Everything random follows from it.
    pub seed: u64,
}

/// What came out of a training.
#[derive(Debug)]
pub struct Trained {
    /// The head, with the weights that the callbacks brought back.
    pub head: Network,
    /// How many epochs were finished.
    pub epochs: u64,
    /// The epoch that the weights are from; none if training ended inside the first.
    pub best_epoch: Option<u64>,
    /// Why training ended early, if it did.
    pub stopped: Option<StopReason>,
    /// The step size at the end.
    pub learning_rate: f64,
    /// How long it took.
    pub seconds: f64,
}

/// Trains a head on features: shuffled batches, Adam, softmax cross-entropy, validation after each epoch.
///
/// Callbacks are told of every event and their actions carried out. The same features, settings and callbacks give the
/// same weights to the bit, on one kind of machine, with any number of threads.
///
/// # Errors
/// If candle or a callback fails.
pub fn train_head(
    graph: &Graph,
    train: &Features,
    val: &Features,
    settings: HeadTraining,
    callbacks: &mut Callbacks,
    device: &Device,
    session: &Session,
) -> Result<Trained> {
    let start = Instant::now();
    let head = Network::initialised(graph, settings.seed, device)?;
    let optimizer = Adam::new(settings.optimizer.check()?, &head)?;
    let mut training = Training {
        train: Table::new(train, device)?,
        val: Table::new(val, device)?,
        head,
        optimizer,
        settings,
        step: 0,
        epochs: 0,
        kept: HashMap::new(),
        restored: None,
        stop: None,
    };
    session.progress().begin("training", u64::from(settings.epochs), "epochs");
    let begun = Event::TrainBegin { first_epoch: 0, resumed: false, reported: REPORTED.as_slice() };
    training.carry_out(callbacks.handle(&begun)?)?;
    for epoch in 0..settings.epochs {
        training.epoch(epoch, callbacks, session)?;
        if training.stop.is_some() {
            break;
        }
    }
    let ended = callbacks.handle(&Event::TrainEnd)?;
    training.carry_out(ended)?;
    session.progress().end();
    Ok(Trained {
        head: training.head,
        epochs: training.epochs,
        best_epoch: training.restored,
        stopped: training.stop,
        learning_rate: training.optimizer.learning_rate(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Runs a head over features and measures it: metrics over all rows, the last partial batch too.
///
/// # Errors
/// If candle fails.
pub fn evaluate_head(head: &Network, features: &Features, classes: usize) -> Result<Metrics> {
    Table::new(features, head.device())?.evaluate(head, classes)
}

/// Features on the device.
struct Table {
    values: Tensor,
    labels: Vec<u32>,
}

impl Table {
    fn new(features: &Features, device: &Device) -> Result<Self> {
        let shape = (features.len(), features.width);
        let values = Tensor::from_slice(&features.values, shape, device)?;
        Ok(Self { values, labels: features.labels.clone() })
    }

    fn evaluate(&self, head: &Network, classes: usize) -> Result<Metrics> {
        let mut metrics = Metrics::new(classes)?;
        for (i, labels) in self.labels.chunks(EVALUATION_BATCH).enumerate() {
            let rows = self.values.narrow(0, i * EVALUATION_BATCH, labels.len())?;
            let logits = head.forward(&rows, Pass::Evaluation)?;
            metrics.update_logits(&logits.flatten_all()?.to_vec1::<f32>()?, labels)?;
        }
        Ok(metrics)
    }
}

struct Training {
    train: Table,
    val: Table,
    head: Network,
    optimizer: Adam,
    settings: HeadTraining,
    step: u64,
    epochs: u64,
    /// Copies of the weights, by the callback that asked for them.
    kept: HashMap<usize, (u64, Weights)>,
    restored: Option<u64>,
    stop: Option<StopReason>,
}

impl Training {
    fn epoch(&mut self, epoch: u32, callbacks: &mut Callbacks, session: &Session) -> Result<()> {
        let number = u64::from(epoch);
        self.carry_out(callbacks.handle(&Event::EpochBegin { epoch: number })?)?;
        let classes = self.head.graph().shapes(0, 0)?[self.head.graph().output()].channels();
        let mut order: Vec<u32> = (0..self.train.labels.len() as u32).collect();
        Key::new(self.settings.seed, SHUFFLE).stream(epoch, 0).shuffle(&mut order);
        let mut loss_mean = Mean::default();
        let mut metrics = Metrics::new(classes)?;
        for batch in batches(order.len(), self.settings.batch_size) {
            let (loss, logits, labels) = self.batch(&order[batch])?;
            let event = Event::BatchEnd {
                epoch: number,
                step: self.step,
                loss,
                learning_rate: self.optimizer.learning_rate(),
            };
            self.step += 1;
            loss_mean.update(loss, labels.len() as f64);
            metrics.update_logits(&logits, &labels)?;
            self.carry_out(callbacks.handle(&event)?)?;
            if session.interrupted() {
                self.stop.get_or_insert(StopReason::Interrupted);
            }
            if self.stop.is_some() {
                return Ok(());
            }
        }
        let val = self.val.evaluate(&self.head, classes)?;
        let figure = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let report = EpochReport {
            epoch: number,
            epochs: u64::from(self.settings.epochs),
            loss: figure(loss_mean.value()),
            accuracy: figure(metrics.accuracy()),
            val_loss: figure(val.loss()),
            val_accuracy: figure(val.accuracy()),
            best: false,
        };
        let learning_rate = self.optimizer.learning_rate();
        let values =
            [report.accuracy, learning_rate, report.loss, report.val_accuracy, report.val_loss];
        let logs: Logs = REPORTED.into_iter().zip(values).collect();
        let step = self.step - 1;
        let ended = Event::EpochEnd { epoch: number, step, learning_rate, logs: &logs };
        let requests = callbacks.handle(&ended)?;
        let best = requests.iter().any(|r| matches!(r.action, Action::KeepWeights { .. }));
        self.carry_out(requests)?;
        self.epochs += 1;
        session.progress().epoch(&EpochReport { best, ..report });
        session.progress().advance(1);
        Ok(())
    }

    /// One step; returns the loss, the logits `[n, classes]` and the labels.
    fn batch(&mut self, rows: &[u32]) -> Result<(f64, Vec<f32>, Vec<u32>)> {
        let device = self.head.device();
        let labels: Vec<u32> = rows.iter().map(|&r| self.train.labels[r as usize]).collect();
        let x = self.train.values.index_select(&Tensor::new(rows, device)?, 0)?;
        let y = Tensor::new(labels.as_slice(), device)?;
        let pass = Pass::Training {
            dropout: Key::new(self.settings.seed, DROPOUT),
            // A number of its own for each step; 2³² steps are more than anyone takes.
            step: self.step as u32,
        };
        let logits = self.head.forward(&x, pass)?;
        let loss = cross_entropy(&logits, &y)?;
        self.optimizer.step(&self.head, &loss)?;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        Ok((loss, logits.flatten_all()?.to_vec1::<f32>()?, labels))
    }

    fn carry_out(&mut self, requests: Vec<Request>) -> Result<()> {
        for Request { callback, action } in requests {
            match action {
                Action::Stop { reason } => {
                    self.stop.get_or_insert(reason);
                }
                Action::KeepWeights { epoch } => {
                    self.kept.insert(callback, (epoch, self.head.weights()?));
                }
                Action::RestoreWeights { epoch } => {
                    if let Some((kept, weights)) = self.kept.get(&callback)
                        && *kept == epoch
                    {
                        self.head.restore(weights)?;
                        self.restored = Some(epoch);
                    }
                }
                Action::SetLearningRate { value } => self.optimizer.set_learning_rate(value),
                other => {
                    return Err(Error::Setting {
                        field: "callback",
                        value: format!("{other:?}"),
                        remedy: "this trainer cannot carry it out".into(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The rows of each batch. A last batch of one joins the one before it: BatchNorm cannot be trained on one row.
fn batches(rows: usize, size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let count = if rows > size && rows % size == 1 { rows / size } else { rows.div_ceil(size) };
    (0..count).map(move |i| {
        let end = if i + 1 == count { rows } else { (i + 1) * size };
        i * size..end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_every_row_once_and_never_end_on_one() {
        for rows in 1..200 {
            for size in 1..70 {
                let all: Vec<_> = batches(rows, size).collect();
                assert_eq!(all.first().unwrap().start, 0);
                assert_eq!(all.last().unwrap().end, rows);
                assert!(all.windows(2).all(|w| w[0].end == w[1].start));
                if size > 1 && rows > 1 {
                    assert!(all.iter().all(|b| b.len() > 1), "{rows} rows in batches of {size}");
                }
                assert!(all.iter().all(|b| b.len() <= size + 1));
            }
        }
    }
}
