use std::{borrow::Cow, collections::HashMap, fmt, ops::Range, time::Instant};

use candle_core::Device;
use sha2::{Digest, Sha256};
use taper_callbacks::{Action, Callbacks, CheckpointId, Event, Logs, Request, StopReason};
use taper_core::random::{Key, Purpose};
use taper_data::Sampling;
use taper_graph::{Graph, Weights};
use taper_metrics::{Mean, Metrics};
use taper_optim::Schedule;

use super::{
    CheckedHeadTraining, CheckpointFolder, HeadModel, HeadTraining,
    checkpoint::{Checkpoint, Cursor, Latest, Moment},
    engine::Engine,
};
use crate::{EpochReport, Error, Features, Result, Session};

const SHUFFLE: Purpose = Purpose::new("train/shuffle");
const DROPOUT: Purpose = Purpose::new("train/dropout");

/// Steps on a device that are told of together, where no callback must see each of them at once.
const TOGETHER: usize = 64;

/// The figures that every epoch reports, in alphabetical order.
const REPORTED: [&str; 5] = ["accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"];

/// What came out of a training.
#[derive(Debug)]
pub struct Trained {
    /// The head, with the weights that the callbacks brought back.
    pub head: HeadModel,
    /// How many epochs were finished.
    pub epochs: u64,
    /// The epoch that the weights are from; none if training ended inside the first.
    pub best_epoch: Option<u64>,
    /// Why training ended early, if it did.
    pub stopped: Option<StopReason>,
    /// The base step size at the end.
    pub learning_rate: f64,
    /// How long it took.
    pub seconds: f64,
}

/// Trains a head on features, from the beginning to the end: [`HeadTrainer`] in one call.
///
/// # Errors
/// As [`HeadTrainer::new`] and [`HeadTrainer::train`].
pub fn train_head(
    graph: &Graph,
    train: &Features,
    val: &Features,
    settings: CheckedHeadTraining,
    callbacks: &mut Callbacks,
    device: &Device,
    session: &Session,
) -> Result<Trained> {
    HeadTrainer::new(graph, train, val, settings, device)?.train(callbacks, session)
}

/// Measures a head on features: metrics over all rows, the last partial batch too.
///
/// # Errors
/// If a length does not fit, or candle fails.
pub fn evaluate_head(head: &HeadModel, features: &Features, classes: usize) -> Result<Metrics> {
    head.measure(features, classes)
}

/// Trains a head on features: shuffled batches, a step of the optimizer for each, validation after each epoch.
///
/// Callbacks are told of every event and their actions carried out. The same features, settings and callbacks give the
/// same weights to the bit, on one class of processor, with any number of threads, and wherever training was
/// interrupted.
#[derive(Debug)]
pub struct HeadTrainer<'a> {
    pub(super) engine: Engine<'a>,
    pub(super) settings: HeadTraining,
    val: &'a Features,
    rows: usize,
    classes: usize,
    schedule: Schedule,
    sampling: Sampling,
    /// Where the rows of each epoch come from, if not all epochs have the same.
    fresh: Option<Fresh<'a>>,
    /// Settings and features, as a digest.
    identity: String,
    base_rate: f64,
    /// Steps of the optimizer over all epochs.
    step: u64,
    epochs: u64,
    cursor: Cursor,
    /// Copies of the weights, by the callback that asked for them.
    kept: HashMap<usize, (u64, Weights)>,
    restored: Option<u64>,
    stop: Option<StopReason>,
    folder: Option<CheckpointFolder>,
    /// The checkpoint of an interruption, which no callback knows of.
    unlisted: Option<CheckpointId>,
    /// The last checkpoint that was written or read.
    saved: Option<CheckpointId>,
    /// The callbacks' state in the checkpoint that training goes on from.
    resumed: Option<serde_json::Value>,
}

impl<'a> HeadTrainer<'a> {
    /// A training at its beginning.
    ///
    /// # Errors
    /// If the settings do not fit the rows or the device.
    pub fn new(
        graph: &Graph,
        train: &'a Features,
        val: &'a Features,
        settings: CheckedHeadTraining,
        device: &Device,
    ) -> Result<Self> {
        let model = HeadModel::initialised(graph, settings.0.seed, device)?;
        Self::with(model, train, val, settings)
    }

    /// The same through candle, on any device: the reference, and the way of CUDA.
    ///
    /// # Errors
    /// As [`HeadTrainer::new`].
    pub fn candle(
        graph: &Graph,
        train: &'a Features,
        val: &'a Features,
        settings: CheckedHeadTraining,
        device: &Device,
    ) -> Result<Self> {
        let model = HeadModel::candle(graph, settings.0.seed, device)?;
        Self::with(model, train, val, settings)
    }

    fn with(
        model: HeadModel,
        train: &'a Features,
        val: &'a Features,
        settings: CheckedHeadTraining,
    ) -> Result<Self> {
        let settings = settings.0;
        let graph = model.graph();
        let classes = graph.shapes(0, 0)?[graph.output()].channels();
        let per_step = settings.batch_size.saturating_mul(settings.accumulate);
        let steps = batches(train.len(), per_step).count() as u64;
        let schedule = settings.schedule.check(u64::from(settings.epochs), steps)?;
        let sampling = settings.sampling.of(&train.labels, classes)?;
        Ok(Self {
            val,
            rows: train.len(),
            classes,
            schedule,
            sampling,
            fresh: None,
            identity: identity(graph, &settings, [train, val]),
            engine: Engine::new(model, Cow::Borrowed(train), &settings)?,
            base_rate: settings.learning_rate,
            step: 0,
            epochs: 0,
            cursor: Cursor::at(0, classes)?,
            kept: HashMap::new(),
            restored: None,
            stop: None,
            folder: None,
            unlisted: None,
            saved: None,
            resumed: None,
            settings,
        })
    }

    /// Sets the base step size, e.g. to what [`HeadTrainer::find_rate`] has found.
    pub fn set_learning_rate(&mut self, rate: f64) {
        self.base_rate = rate;
    }

    /// The base step size.
    pub fn learning_rate(&self) -> f64 {
        self.base_rate
    }

    /// Gives every epoch rows of its own, such as new views of the same pictures. `make` is asked for those of each epoch
    /// but the first (0), which begins with the rows that are there; it must be a pure function of the epoch, and give as
    /// many rows with the same labels.
    pub fn fresh(&mut self, make: impl FnMut(u32) -> Result<Features> + 'a) {
        self.fresh = Some(Fresh { epoch: 0, make: Box::new(make) });
    }

    /// Writes the checkpoints that callbacks ask for into a folder, and one when training is interrupted.
    pub fn checkpoints(&mut self, folder: CheckpointFolder) {
        self.folder = Some(folder);
    }

    /// Goes on from the latest checkpoint in the folder that was set. Gives whether there was one, and what is wrong with
    /// later ones that cannot be read.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the checkpoint belongs to other settings or other features.
    pub fn resume(&mut self) -> Result<(bool, Vec<Error>)> {
        let Some(folder) = self.folder.clone() else { return Ok((false, Vec::new())) };
        let Latest { found, problems } = folder.latest()?;
        let Some((id, Checkpoint { moment, state, kept })) = found else {
            return Ok((false, problems));
        };
        if moment.training != self.identity {
            let path = folder.path().join(format!("{id}.safetensors"));
            let problem =
                "it was made with other settings, pictures or weights: train into a new folder";
            return Err(Error::Checkpoint { path, problem: problem.into() });
        }
        self.engine.restore(&state)?;
        self.base_rate = moment.base_rate;
        self.step = moment.step;
        self.epochs = moment.epochs;
        self.cursor = moment.cursor;
        self.stop = moment.stop;
        self.kept = kept;
        self.resumed = Some(moment.callbacks);
        self.unlisted = moment.interrupted.then_some(id);
        self.saved = Some(id);
        Ok((true, problems))
    }

    /// Trains until the last epoch is over, a callback asks to stop, or the session is interrupted.
    ///
    /// # Errors
    /// If a callback fails, or a checkpoint cannot be written.
    pub fn train(mut self, callbacks: &mut Callbacks, session: &Session) -> Result<Trained> {
        let start = Instant::now();
        session.progress().begin("training", u64::from(self.settings.epochs), "epochs");
        session.progress().advance(self.epochs);
        let outcome = self.run(callbacks, session);
        session.progress().end();
        outcome?;
        let head = match self.restored {
            // What was restored is the average already.
            Some(_) => self.engine.model,
            None => self.engine.measured(|model| Ok(model.clone()))?,
        };
        Ok(Trained {
            head,
            epochs: self.epochs,
            best_epoch: self.restored,
            stopped: self.stop,
            learning_rate: self.base_rate,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn run(&mut self, callbacks: &mut Callbacks, session: &Session) -> Result<()> {
        let resumed = self.resumed.take();
        let begun = Event::TrainBegin {
            first_epoch: u64::from(self.cursor.epoch),
            resumed: resumed.is_some(),
            reported: REPORTED.as_slice(),
        };
        if let Some(state) = resumed {
            callbacks.restore(state)?;
        }
        let requests = callbacks.handle(&begun)?;
        self.carry_out(requests, callbacks)?;
        while self.stop.is_none() && self.cursor.epoch < self.settings.epochs {
            self.epoch(callbacks, session)?;
        }
        let requests = callbacks.handle(&Event::TrainEnd)?;
        self.carry_out(requests, callbacks)
    }

    /// The rest of the epoch that the cursor is in.
    fn epoch(&mut self, callbacks: &mut Callbacks, session: &Session) -> Result<()> {
        let epoch = u64::from(self.cursor.epoch);
        match self.refresh() {
            Err(Error::Interrupted) => return self.interrupt(epoch, callbacks),
            other => other?,
        }
        let requests = callbacks.handle(&Event::EpochBegin { epoch })?;
        self.carry_out(requests, callbacks)?;
        let order = self.order(self.settings.seed, self.cursor.epoch)?;
        let key = Self::dropout(self.settings.seed);
        let mut learning_rate = self.schedule.rate(self.base_rate, self.step.saturating_sub(1));
        let together = match self.engine.is_prompt() || callbacks.follow_batches() {
            true => 1,
            false => TOGETHER,
        };
        while self.cursor.steps < self.steps_per_epoch() && self.stop.is_none() {
            let rows = &order[self.step_rows(self.cursor.steps)];
            learning_rate = self.schedule.rate(self.base_rate, self.step);
            // A number of its own for each step; 2³² steps are more than anyone takes.
            self.engine.step(rows, learning_rate, key, self.step as u32)?;
            self.step += 1;
            self.cursor.steps += 1;
            let last = self.cursor.steps == self.steps_per_epoch();
            if self.engine.waiting() >= together || last || session.interrupted() {
                self.tell(epoch, callbacks)?;
            }
            if session.interrupted() && self.stop.is_none() && self.engine.waiting() == 0 {
                // The epoch's end is a moment like any other: its figures come when training goes on.
                self.interrupt(epoch, callbacks)?;
            }
        }
        if self.stop.is_some() {
            return Ok(());
        }

        let val = self.engine.measured(|model| model.measure(self.val, self.classes))?;
        let figure = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let report = EpochReport {
            epoch,
            epochs: u64::from(self.settings.epochs),
            loss: figure(self.cursor.loss.value()),
            accuracy: figure(self.cursor.metrics.accuracy()),
            val_loss: figure(val.loss()),
            val_accuracy: figure(val.accuracy()),
            best: false,
        };
        let values =
            [report.accuracy, learning_rate, report.loss, report.val_accuracy, report.val_loss];
        let logs: Logs = REPORTED.into_iter().zip(values).collect();
        self.epochs += 1;
        self.cursor = Cursor::at(self.cursor.epoch + 1, self.classes)?;
        let ended = Event::EpochEnd {
            epoch,
            step: self.step.saturating_sub(1),
            learning_rate: self.base_rate,
            logs: &logs,
        };
        let requests = callbacks.handle(&ended)?;
        let best = requests.iter().any(|r| matches!(r.action, Action::KeepWeights { .. }));
        self.carry_out(requests, callbacks)?;
        session.progress().epoch(&EpochReport { best, ..report });
        session.progress().advance(1);
        Ok(())
    }

    /// Takes in what the last steps came to, and tells the callbacks.
    fn tell(&mut self, epoch: u64, callbacks: &mut Callbacks) -> Result<()> {
        let outcomes = self.engine.outcomes()?;
        let first = self.step - outcomes.len() as u64;
        for (step, stepped) in (first..).zip(outcomes) {
            let (loss, rate) = (stepped.loss, self.schedule.rate(self.base_rate, step));
            self.cursor.loss.update(loss, stepped.labels.len() as f64);
            self.cursor.metrics.update_logits(&stepped.logits, &stepped.labels)?;
            let ended = Event::BatchEnd { epoch, step, loss, learning_rate: rate };
            let requests = callbacks.handle(&ended)?;
            self.carry_out(requests, callbacks)?;
        }
        Ok(())
    }

    /// Ends this process's part of the training with a checkpoint.
    fn interrupt(&mut self, epoch: u64, callbacks: &Callbacks) -> Result<()> {
        let id = CheckpointId { epoch, step: self.step.saturating_sub(1) };
        if self.saved != Some(id) {
            self.save(id, true, callbacks)?;
        }
        self.stop = Some(StopReason::Interrupted);
        Ok(())
    }

    /// Brings the rows of the cursor's epoch, if they are others than those that are there.
    fn refresh(&mut self) -> Result<()> {
        let Some(fresh) = self.fresh.as_mut().filter(|f| f.epoch != self.cursor.epoch) else {
            return Ok(());
        };
        let table = (fresh.make)(self.cursor.epoch)?;
        if table.labels != self.engine.train().labels {
            return Err(Error::Setting {
                field: "fresh_views",
                value: format!("{} rows in epoch {}", table.len(), self.cursor.epoch),
                remedy: format!(
                    "epoch 0 had {}: pictures have changed during the training; leave them as they are",
                    self.rows
                ),
            });
        }
        fresh.epoch = self.cursor.epoch;
        self.engine.set_train(table)
    }

    /// Steps of the optimizer in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        batches(self.rows, self.per_step()).count()
    }

    fn per_step(&self) -> usize {
        self.settings.batch_size.saturating_mul(self.settings.accumulate)
    }

    /// Which part of an epoch's order a step takes.
    pub(super) fn step_rows(&self, step: usize) -> Range<usize> {
        batches(self.rows, self.per_step()).nth(step).unwrap_or(0..0)
    }

    /// The rows in the order of an epoch.
    pub(super) fn order(&self, seed: u64, epoch: u32) -> Result<Vec<u32>> {
        if self.sampling == Sampling::Shuffled {
            let mut order: Vec<u32> = (0..self.rows as u32).collect();
            Key::new(seed, SHUFFLE).stream(epoch, 0).shuffle(&mut order);
            return Ok(order);
        }
        let keys: Vec<u64> = (0..self.rows as u64).collect();
        let order = self.sampling.order_rows(&self.engine.train().labels, &keys, seed, epoch)?;
        Ok(order.into_iter().map(|row| row as u32).collect())
    }

    pub(super) fn dropout(seed: u64) -> Key {
        Key::new(seed, DROPOUT)
    }

    fn carry_out(&mut self, requests: Vec<Request>, callbacks: &Callbacks) -> Result<()> {
        for Request { callback, action } in requests {
            match action {
                Action::Stop { reason } => {
                    self.stop.get_or_insert(reason);
                }
                Action::KeepWeights { epoch } => {
                    let weights = self.engine.measured(HeadModel::weights)?;
                    self.kept.insert(callback, (epoch, weights));
                }
                Action::RestoreWeights { epoch } => {
                    if let Some((kept, weights)) = self.kept.get(&callback)
                        && *kept == epoch
                    {
                        self.engine.set_weights(weights)?;
                        self.restored = Some(epoch);
                    }
                }
                Action::SetLearningRate { value } => self.base_rate = value,
                Action::SaveCheckpoint { id, .. } => {
                    self.save(id, false, callbacks)?;
                    if let Some((old, folder)) = self.unlisted.take().zip(self.folder.as_ref())
                        && old != id
                    {
                        folder.delete(old)?;
                    }
                }
                Action::DeleteCheckpoint { id } => {
                    if let Some(folder) = &self.folder {
                        folder.delete(id)?;
                    }
                }
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

    fn save(&mut self, id: CheckpointId, interrupted: bool, callbacks: &Callbacks) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let state = self.engine.state()?;
        let mut kept: Vec<(usize, u64)> = self.kept.iter().map(|(i, (e, _))| (*i, *e)).collect();
        kept.sort_unstable();
        let moment = Moment {
            version: Checkpoint::version(),
            training: self.identity.clone(),
            step: self.step,
            base_rate: self.base_rate,
            epochs: self.epochs,
            cursor: self.cursor.clone(),
            optimizer_steps: state.optimizer_steps,
            callbacks: callbacks.state()?,
            kept,
            stop: self.stop.clone(),
            interrupted,
        };
        let checkpoint = Checkpoint { moment, state, kept: std::mem::take(&mut self.kept) };
        let saved = folder.save(id, &checkpoint);
        self.kept = checkpoint.kept;
        self.saved = Some(id);
        saved
    }
}

/// Rows that are made for each epoch.
struct Fresh<'a> {
    /// The epoch whose rows are there.
    epoch: u32,
    make: Box<dyn FnMut(u32) -> Result<Features> + 'a>,
}

impl fmt::Debug for Fresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Cursor {
    fn at(epoch: u32, classes: usize) -> Result<Self> {
        Ok(Self { epoch, steps: 0, loss: Mean::default(), metrics: Metrics::new(classes)? })
    }
}

/// A digest of all that decides how a training goes, but its base rate, which may come from the finder.
fn identity(graph: &Graph, settings: &HeadTraining, tables: [&Features; 2]) -> String {
    let mut hash = Sha256::new();
    let settings = HeadTraining { learning_rate: 1.0, ..settings.clone() };
    hash.update(format!("{graph:?} {settings:?}"));
    for table in tables {
        hash.update((table.len() as u64).to_le_bytes());
        for row in table.values.chunks(1 << 12) {
            let bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
            hash.update(bytes);
        }
        table.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        for (label, share) in &table.mixed {
            hash.update(label.to_le_bytes());
            hash.update(share.to_le_bytes());
        }
    }
    taper_core::hex(&hash.finalize())
}

/// The rows of each batch. A last batch of one joins the one before it: BatchNorm cannot be trained on one row.
pub(super) fn batches(rows: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let count = if rows > size && rows % size == 1 { rows / size } else { rows.div_ceil(size) };
    (0..count).map(move |i| {
        let end = if i + 1 == count { rows } else { (i + 1) * size };
        i * size..end
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SamplingChoice;

    fn classes_in_an_epoch(sampling: SamplingChoice) -> [usize; 2] {
        let labels: Vec<u32> = (0..60).map(|row| u32::from(row % 6 == 0)).collect();
        let table = Features {
            width: 2,
            values: vec![0.5; 120],
            items: (0..60).map(|sample| taper_data::Item { sample, view: 0 }).collect(),
            labels: labels.clone(),
            ..Features::default()
        };
        let graph = taper_graph::heads::linear(2, 2);
        let settings = HeadTraining { sampling, ..HeadTraining::default() }.check().unwrap();
        let trainer = HeadTrainer::new(&graph, &table, &table, settings, &Device::Cpu).unwrap();
        let order = trainer.order(3, 1).unwrap();
        assert_ne!(order, trainer.order(3, 2).unwrap());
        assert_eq!(order.len(), 60);
        let rare = order.iter().filter(|row| labels[**row as usize] == 1).count();
        [60 - rare, rare]
    }

    #[test]
    fn classes_come_as_often_as_the_sampling_says() {
        assert_eq!(classes_in_an_epoch(SamplingChoice::Shuffled), [50, 10]);
        assert_eq!(classes_in_an_epoch(SamplingChoice::Balanced), [30, 30]);
        let [_, rare] = classes_in_an_epoch(SamplingChoice::Weighted(None));
        assert!((20..=40).contains(&rare), "{rare}");
        assert_eq!(classes_in_an_epoch("weighted:0,1".parse().unwrap()), [0, 60]);
    }

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
