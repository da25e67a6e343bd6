//! A trial: a training run whose epochs are reported to the study.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use taper_callbacks::{Action, Callback, Event, StopReason};
use taper_recipe::Recipe;
use taper_run::{Answer, Outcome as RunOutcome, OwnCallbacks, Resumed, Session};
use taper_tune::{Outcome, Study};

use crate::{MonitorChoice, Result};

/// The study, which the trainer's callback reports to.
pub(crate) type Shared = Arc<Mutex<Study>>;

/// The study for this moment.
pub(crate) fn lock(study: &Shared) -> MutexGuard<'_, Study> {
    // A panic elsewhere leaves the study as the journal has it.
    study.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a trial that is not over has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// The study says so.
    Pruned,
    /// There is no time left.
    Late,
}

/// Reports the monitored figure after each epoch, and ends a trial that is not worth more.
struct Reporter {
    study: Shared,
    number: usize,
    monitor: MonitorChoice,
    /// Epochs of the phases before the one that is trained next.
    phases: Vec<u64>,
    /// Epochs before this phase.
    before: u64,
    until: Option<Instant>,
    broken: Arc<Mutex<Option<Break>>>,
}

impl Callback for Reporter {
    fn name(&self) -> &'static str {
        "study"
    }

    fn on_event(
        &mut self,
        event: &Event<'_>,
        actions: &mut Vec<Action>,
    ) -> taper_callbacks::Result<()> {
        match event {
            Event::TrainBegin { .. } => self.before = self.phases.pop().unwrap_or(self.before),
            Event::EpochEnd { epoch, logs, .. } => {
                let value = logs.get(self.monitor.to_string().as_str()).unwrap_or(f64::NAN);
                let step = (self.before + epoch + 1) as i64;
                let mut study = lock(&self.study);
                let told = study.report(self.number, step, value);
                told.and_then(|()| study.should_prune(self.number))
                    .map(|prune| self.decide(prune, actions))
                    .map_err(|error| taper_callbacks::Error::User {
                        callback: self.name().into(),
                        source: Box::new(error),
                    })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn follows_batches(&self) -> bool {
        false
    }
}

impl Reporter {
    fn decide(&self, prune: bool, actions: &mut Vec<Action>) {
        let late = self.until.is_some_and(|until| Instant::now() >= until);
        let why = match (prune, late) {
            (true, _) => Break::Pruned,
            (false, true) => Break::Late,
            (false, false) => return,
        };
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        // With a checkpoint, so that the trial can go on later.
        actions.push(Action::Stop { reason: StopReason::Interrupted });
    }
}

/// Epochs that come before each phase of a training, the first phase last.
fn phases(recipe: &Recipe) -> Vec<u64> {
    let head = head_epochs(recipe);
    let mut before = Vec::new();
    if recipe.trains_network() {
        before.push(head);
    }
    if head > 0 {
        before.push(0);
    }
    before
}

fn head_epochs(recipe: &Recipe) -> u64 {
    if recipe.solves_head() { 0 } else { u64::from(recipe.epochs) }
}

/// Epochs of a whole training.
pub(crate) fn all_epochs(recipe: &Recipe) -> u64 {
    let tuned = recipe.fine_tune.as_ref().filter(|own| own.unfreeze().is_some());
    head_epochs(recipe) + tuned.map_or(0, |own| u64::from(own.epochs))
}

/// What a trial needs beside its recipe.
pub(crate) struct Trial<'a> {
    pub(crate) study: &'a Shared,
    pub(crate) number: usize,
    pub(crate) monitor: MonitorChoice,
    /// Its run folder, which may be there already.
    pub(crate) folder: &'a Path,
    /// When it has to end.
    pub(crate) until: Option<Instant>,
    pub(crate) session: &'a Session,
}

impl Trial<'_> {
    /// Trains, or goes on with what was trained before.
    pub(crate) fn run(&self, recipe: Recipe) -> Result<(Outcome, Option<Box<Answer>>)> {
        let broken = Arc::new(Mutex::new(None));
        let reporter = Reporter {
            study: Arc::clone(self.study),
            number: self.number,
            monitor: self.monitor,
            phases: phases(&recipe),
            before: 0,
            until: self.until,
            broken: Arc::clone(&broken),
        };
        let own: OwnCallbacks = vec![Box::new(reporter)];
        let session = self.session.muted();
        let session = self.until.map_or_else(|| session.clone(), |until| session.until(until));
        let answer = if self.folder.exists() {
            match taper_run::resume_with(self.folder, own, &session)? {
                Resumed::Trained(answer) | Resumed::Complete(answer) => answer,
                Resumed::Repeated(_) => {
                    let reason = "a trial cannot be a cross-validation".to_owned();
                    return Ok((Outcome::Failed(reason), None));
                }
            }
        } else {
            Box::new(taper_run::train_with(recipe.check()?, self.folder, own, &session)?)
        };
        let why = *broken.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match (answer.stopped, why) {
            (RunOutcome::Interrupted, Some(Break::Pruned)) => Outcome::Pruned,
            (RunOutcome::Interrupted, _) => Outcome::Interrupted,
            _ => Outcome::Complete(match self.monitor {
                MonitorChoice::ValLoss => answer.val_loss,
                MonitorChoice::ValAccuracy => answer.val_accuracy,
            }),
        };
        Ok((outcome, Some(answer)))
    }
}
