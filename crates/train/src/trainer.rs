use std::{collections::HashMap, time::Instant};

use taper_callbacks::{Action, Callbacks, CheckpointId, Event, Logs, Request, StopReason};
use taper_core::{
    Identity, OutOfRange, hex,
    random::{Key, Purpose},
};
use taper_graph::Weights;
use taper_metrics::{Mean, Metrics};
use taper_optim::Schedule;

use crate::{
    Batches, CheckedTraining, CheckpointFolder, EpochReport, Error, Learner, Result, StepContext,
    Training, Watch,
    checkpoint::{Checkpoint, Cursor, Latest, Moment},
};

const DROPOUT: Purpose = Purpose::new("train/dropout");

/// The key of all dropout in a training run.
pub(crate) fn dropout(seed: u64) -> Key {
    Key::new(seed, DROPOUT)
}

/// Settings, learner and batches, as a digest.
fn identity<L, B>(
    version: u64,
    settings: Training,
    learner: &L,
    batches: &B,
    validation: &L::Validation,
) -> String
where
    L: Learner,
    B: Batches<Batch = L::Batch>,
{
    // The base rate may come from the finder.
    let form = Training { learning_rate: 1.0, ..settings };
    let identity = Identity::new("taper/training", version).structure("settings", &form);
    hex(&batches.identify(learner.identify(validation, identity)).finish())
}

/// How many steps on a device are reported together, if no callback must see each of them
/// immediately.
const TOGETHER: usize = 64;

/// The figures that every epoch reports, in alphabetical order.
const REPORTED: [&str; 5] = ["accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"];

/// What came out of a training.
#[derive(Debug)]
pub struct Trained<L> {
    /// The trained learner, with the weights that the callbacks restored.
    pub learner: L,
    /// How many epochs were finished.
    pub epochs: u64,
    /// The epoch that the weights are from; none if training ended inside the first.
    pub best_epoch: Option<u64>,
    /// The copies of the weights that callbacks asked to keep, with their epochs, in order.
    pub kept: Vec<(u64, Weights)>,
    /// Why training ended early, if it did.
    pub stopped: Option<StopReason>,
    /// The base learning rate at the end.
    pub learning_rate: f64,
    /// How long it took.
    pub seconds: f64,
}

impl<L> Trained<L> {
    /// A learner as it is, without any training.
    pub fn without_epochs(learner: L) -> Self {
        Self {
            learner,
            epochs: 0,
            best_epoch: None,
            kept: Vec::new(),
            stopped: None,
            learning_rate: 0.0,
            seconds: 0.0,
        }
    }
}

/// Trains any learner: a step of the optimizer for each batch, validation after each epoch.
///
/// Callbacks receive every event, and their actions are carried out. The same learner, batches,
/// settings and callbacks give bit for bit the same weights, on one class of processor, with any
/// number of threads, and wherever training was interrupted.
#[derive(Debug)]
pub struct Trainer<'v, L: Learner, B> {
    pub(crate) learner: L,
    pub(crate) batches: B,
    pub(crate) settings: Training,
    validation: &'v L::Validation,
    schedule: Schedule,
    /// Settings, learner and batches, as a digest.
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
    /// The checkpoint of an interruption, which no callback knows about.
    unlisted: Option<CheckpointId>,
    /// The last checkpoint that was written or read.
    saved: Option<CheckpointId>,
    /// The callbacks' state in the checkpoint that training resumes from.
    resumed: Option<serde_json::Value>,
}

impl<'v, L, B> Trainer<'v, L, B>
where
    L: Learner,
    B: Batches<Batch = L::Batch>,
{
    /// A training at its beginning.
    ///
    /// # Errors
    /// If the settings do not fit the batches.
    pub fn new(
        learner: L,
        batches: B,
        validation: &'v L::Validation,
        settings: &CheckedTraining,
    ) -> Result<Self> {
        let settings = settings.settings().clone();
        let schedule =
            settings.schedule.check(u64::from(settings.epochs), batches.steps() as u64)?;
        // Training goes on to any number of epochs, unless the rates depend on it.
        let epochs = if settings.schedule.depends_on_length() { settings.epochs } else { 0 };
        let form = Training { epochs, ..settings.clone() };
        let identity = identity(2, form, &learner, &batches, validation);
        Ok(Self {
            validation,
            schedule,
            identity,
            base_rate: settings.learning_rate,
            step: 0,
            epochs: 0,
            cursor: Cursor::at(0, learner.classes())?,
            kept: HashMap::new(),
            restored: None,
            stop: None,
            folder: None,
            unlisted: None,
            saved: None,
            resumed: None,
            learner,
            batches,
            settings,
        })
    }

    /// Sets the base learning rate, e.g. to the one that [`Trainer::find_rate`] found.
    pub fn set_learning_rate(&mut self, rate: f64) {
        self.base_rate = rate;
    }

    /// The base step size.
    pub fn learning_rate(&self) -> f64 {
        self.base_rate
    }

    /// Writes the checkpoints that callbacks ask for into a folder, and one when training is
    /// interrupted.
    pub fn checkpoints(&mut self, folder: CheckpointFolder) {
        self.folder = Some(folder);
    }

    /// Resumes from the latest checkpoint in the folder that was set. Returns whether there was
    /// one, and what is wrong with later ones that cannot be read.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the checkpoint belongs to other settings or other features.
    pub fn resume(&mut self) -> Result<(bool, Vec<Error>)> {
        let Some(folder) = self.folder.clone() else { return Ok((false, Vec::new())) };
        let Latest { found, problems } = folder.latest()?;
        let Some((id, Checkpoint { moment, state, kept })) = found else {
            return Ok((false, problems));
        };
        // As it was before version 2: with the number of epochs, whatever the schedule.
        let earlier =
            || identity(1, self.settings.clone(), &self.learner, &self.batches, self.validation);
        if moment.training != self.identity && moment.training != earlier() {
            let path = folder.path().join(format!("{id}.safetensors"));
            let problem =
                "it was made with different settings, pictures or weights: train into a new folder";
            return Err(Error::Checkpoint { path, problem: problem.into() });
        }
        self.learner.restore(&state)?;
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

    /// Trains until the last epoch is over, a callback asks to stop, or the watch says that it was
    /// interrupted.
    ///
    /// # Errors
    /// If a callback fails, or a checkpoint cannot be written.
    pub fn train(mut self, callbacks: &mut Callbacks, watch: &Watch) -> Result<Trained<L>> {
        let start = Instant::now();
        watch.progress().begin("training", u64::from(self.settings.epochs), "epochs");
        watch.progress().advance(self.epochs);
        let outcome = self.run(callbacks, watch);
        watch.progress().end();
        outcome?;
        let mut kept: Vec<(u64, Weights)> = self.kept.into_values().collect();
        kept.sort_by_key(|(epoch, _)| *epoch);
        kept.dedup_by_key(|(epoch, _)| *epoch);
        Ok(Trained {
            kept,
            learner: self.learner,
            epochs: self.epochs,
            best_epoch: self.restored,
            stopped: self.stop,
            learning_rate: self.base_rate,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn run(&mut self, callbacks: &mut Callbacks, watch: &Watch) -> Result<()> {
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
            self.epoch(callbacks, watch)?;
        }
        let requests = callbacks.handle(&Event::TrainEnd)?;
        self.carry_out(requests, callbacks)
    }

    /// The rest of the epoch that the cursor is in.
    fn epoch(&mut self, callbacks: &mut Callbacks, watch: &Watch) -> Result<()> {
        let epoch = u64::from(self.cursor.epoch);
        match self.batches.begin(self.cursor.epoch) {
            Err(Error::Interrupted) => return self.interrupt(epoch, callbacks),
            other => other?,
        }
        let requests = callbacks.handle(&Event::EpochBegin { epoch })?;
        self.carry_out(requests, callbacks)?;
        let key = dropout(self.settings.seed);
        let mut learning_rate = self.schedule.rate(self.base_rate, self.step.saturating_sub(1));
        let together = match self.learner.is_prompt() || callbacks.follow_batches() {
            true => 1,
            false => TOGETHER,
        };
        while self.cursor.steps < self.steps_per_epoch() && self.stop.is_none() {
            let batch =
                self.batches.batch(self.settings.seed, self.cursor.epoch, self.cursor.steps)?;
            learning_rate = self.schedule.rate(self.base_rate, self.step);
            // Each step has its own number; no training run takes 2³² steps.
            let number = self.step as u32;
            self.learner.step(&batch, StepContext { rate: learning_rate, dropout: key, number })?;
            self.step += 1;
            self.cursor.steps += 1;
            let last = self.cursor.steps == self.steps_per_epoch();
            if self.learner.waiting() >= together || last || watch.interrupted() {
                self.tell(epoch, callbacks)?;
            }
            if watch.interrupted() && self.stop.is_none() && self.learner.waiting() == 0 {
                // The epoch's end is a moment like any other: its figures follow when training
                // resumes.
                self.interrupt(epoch, callbacks)?;
            }
        }
        if self.stop.is_some() {
            return Ok(());
        }

        let val = self.learner.measure(self.validation)?;
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
        self.cursor = Cursor::at(self.cursor.epoch + 1, self.learner.classes())?;
        let ended = Event::EpochEnd {
            epoch,
            step: self.step.saturating_sub(1),
            learning_rate: self.base_rate,
            logs: &logs,
        };
        let requests = callbacks.handle(&ended)?;
        let best = requests.iter().any(|r| matches!(r.action, Action::KeepWeights { .. }));
        self.carry_out(requests, callbacks)?;
        watch.progress().epoch(&EpochReport { best, ..report });
        watch.progress().advance(1);
        Ok(())
    }

    /// Reads the outcomes of the last steps, and tells the callbacks.
    fn tell(&mut self, epoch: u64, callbacks: &mut Callbacks) -> Result<()> {
        let outcomes = self.learner.outcomes()?;
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

    /// Ends this process's part of the training run with a checkpoint.
    fn interrupt(&mut self, epoch: u64, callbacks: &Callbacks) -> Result<()> {
        let id = CheckpointId { epoch, step: self.step.saturating_sub(1) };
        if self.saved != Some(id) {
            self.save(id, true, callbacks)?;
        }
        self.stop = Some(StopReason::Interrupted);
        Ok(())
    }

    /// Steps of the optimizer in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.batches.steps()
    }

    fn carry_out(&mut self, requests: Vec<Request>, callbacks: &Callbacks) -> Result<()> {
        for Request { callback, action } in requests {
            match action {
                Action::Stop { reason } => {
                    self.stop.get_or_insert(reason);
                }
                Action::KeepWeights { epoch } => {
                    let weights = self.learner.weights()?;
                    self.kept.insert(callback, (epoch, weights));
                }
                Action::RestoreWeights { epoch } => {
                    if let Some((kept, weights)) = self.kept.get(&callback)
                        && *kept == epoch
                    {
                        self.learner.set_weights(weights)?;
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
                    let remedy = "this trainer cannot carry it out";
                    return Err(OutOfRange::new("callback", format!("{other:?}"), remedy).into());
                }
            }
        }
        Ok(())
    }

    fn save(&mut self, id: CheckpointId, interrupted: bool, callbacks: &Callbacks) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let state = self.learner.state()?;
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

impl Cursor {
    fn at(epoch: u32, classes: usize) -> Result<Self> {
        Ok(Self { epoch, steps: 0, loss: Mean::default(), metrics: Metrics::new(classes)? })
    }
}
