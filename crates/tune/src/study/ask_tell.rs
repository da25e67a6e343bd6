use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{Outcome, Study};
use crate::{
    Error, History, Pruning, Result, Sampler, Space, Trial, TrialState, Value, journal::Operation,
    owner, pruning::current_rung, trial::key,
};

/// What is to be done next.
enum Job {
    /// A trial that waits, from its beginning or its last step.
    Waiting(usize),
    /// A paused trial, into the next rung.
    Promoted(usize),
    /// A new trial.
    New,
}

impl Study {
    /// The next trial to run: one that waits, with ASHA one that is promoted, or else a new one,
    /// whose parameters the sampler chooses. It belongs to this study, not to other processes,
    /// until it is told.
    ///
    /// A trial that has intermediate values goes on after its last step ([`Trial::last_step`]),
    /// from whatever the objective has kept of it.
    ///
    /// # Errors
    /// [`Error::GridExhausted`] if the sampler is a grid with no free point; [`Error::Parameter`]
    /// if earlier trials have a parameter of the same name and another kind; [`Error::Io`] and
    /// [`Error::Journal`].
    pub fn ask(&mut self, space: &Space) -> Result<Trial> {
        let number = self.next(space, true)?.map_or(0, |(number, _)| number);
        self.trial(number).cloned()
    }

    /// As [`Study::ask`], but no new trial: one that waits or is promoted, or none.
    ///
    /// # Errors
    /// Those of [`Study::ask`].
    pub fn ask_waiting(&mut self, space: &Space) -> Result<Option<Trial>> {
        let next = self.next(space, false)?;
        next.map(|(number, _)| self.trial(number).cloned()).transpose()
    }

    /// The number of the next trial, and whether it begins rather than goes on; none if only a new
    /// one could be, and none is wanted.
    pub(super) fn next(&mut self, space: &Space, new: bool) -> Result<Option<(usize, bool)>> {
        let Self { store, sampler, pruning, owner } = self;
        let study_id = store.id;
        let owner = Json::from(owner.as_str());
        store.transact(|history, next_id| {
            let Some(job) = job(history, *pruning, new) else { return Ok((Vec::new(), None)) };
            let mut operations = Vec::new();
            let (number, id) = match job {
                Job::New => (history.trials.len(), next_id),
                Job::Waiting(number) | Job::Promoted(number) => (number, history.trials[number].id),
            };
            let earlier = history.trials.get(number);
            let draw = draw(sampler.as_ref(), history, space, number)?;
            if let Some(trial) = earlier {
                let state = TrialState::Running;
                operations.push(Operation::SetState { trial: id, state, value: None });
                let mut note = |key: &str, value: Json| operations.push(noted(id, key, value));
                note(key::OWNER, owner);
                if trial.system_attributes.contains_key(key::WAITS) {
                    note(key::WAITS, Json::Null);
                }
                if matches!(job, Job::Promoted(_)) {
                    note(key::CURRENT, trial.rungs().into());
                }
                let attributes = draw.attributes.into_iter();
                attributes.for_each(|(key, value)| note(&key, value));
            } else {
                let study = study_id;
                let mut system_attributes = draw.attributes;
                system_attributes.insert(key::OWNER.into(), owner);
                let state = TrialState::Running;
                operations.push(Operation::CreateTrial { study, state, system_attributes });
            }
            let has = |name: &str| earlier.is_some_and(|t| t.parameters.contains_key(name));
            for (name, distribution) in space.iter().filter(|(name, _)| !has(name)) {
                let Some(internal) = draw.values.get(name).copied() else { continue };
                operations.push(Operation::SetParameter {
                    trial: id,
                    name: name.to_owned(),
                    internal,
                    distribution: distribution.clone(),
                });
            }
            let begins = earlier.is_none_or(|trial| trial.steps.is_empty());
            Ok((operations, Some((number, begins))))
        })
    }

    /// A trial, as of the last change or [`Study::sync`].
    ///
    /// # Errors
    /// [`Error::Trial`] if there is none of this number.
    pub fn trial(&self, number: usize) -> Result<&Trial> {
        let problem = "does not exist";
        self.trials().get(number).ok_or(Error::Trial { number, problem })
    }

    /// Notes an intermediate value of a trial that this study runs: after `step` steps, usually
    /// epochs, counted from 1. NaN is allowed. A value that was noted before is replaced.
    ///
    /// # Errors
    /// [`Error::Trial`] if the trial is not run by this study; [`Error::Io`] and
    /// [`Error::Journal`].
    pub fn report(&mut self, number: usize, step: i64, value: f64) -> Result<()> {
        let Self { store, pruning, owner, .. } = self;
        store.transact(|history, _| {
            let trial = own(history, number, owner)?;
            let mut operations = vec![Operation::Report { trial: trial.id, step, value }];
            if let Pruning::Asha(asha) = pruning
                && !value.is_nan()
            {
                // A trial may have come past the ends of several rungs since its last report.
                let (mut rung, mut current) = (trial.rungs(), current_rung(trial));
                while !asha.is_last(rung) && rung == current && step >= asha.budget(rung) {
                    let end = serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number);
                    operations.push(noted(trial.id, &format!("{}{rung}", key::RUNG), end));
                    if asha.promotes(history, number, rung, value) {
                        current += 1;
                        operations.push(noted(trial.id, key::CURRENT, current.into()));
                    }
                    rung += 1;
                }
            }
            Ok((operations, ()))
        })
    }

    /// Whether a trial should end, or with ASHA pause, after the last value that was reported. It
    /// is then to be told as [`Outcome::Pruned`], with a checkpoint kept if pruning is ASHA.
    ///
    /// # Errors
    /// [`Error::Trial`] if there is none of this number.
    pub fn should_prune(&self, number: usize) -> Result<bool> {
        let trial = self.trial(number)?;
        Ok(match &self.pruning {
            Pruning::None => false,
            Pruning::Median(median) => median.prunes(self.history(), trial),
            Pruning::Asha(_) => {
                trial.rungs() > current_rung(trial)
                    || trial.last_step().is_some_and(|(_, value)| value.is_nan())
            }
        })
    }

    /// Notes something about a trial that this study runs, e.g. where its checkpoint is.
    ///
    /// # Errors
    /// Those of [`Study::report`].
    pub fn note(&mut self, number: usize, key: &str, value: Json) -> Result<()> {
        let Self { store, owner, .. } = self;
        store.transact(|history, _| {
            let trial = own(history, number, owner)?.id;
            Ok((vec![Operation::SetUserAttribute { trial, key: key.to_owned(), value }], ()))
        })
    }

    /// Notes something about the study.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Journal`].
    pub fn note_study(&mut self, key: &str, value: Json) -> Result<()> {
        let study = self.store.id;
        let note = Operation::SetStudyAttribute { study, key: key.to_owned(), value };
        self.store.transact(|_, _| Ok((vec![note], ())))
    }

    /// Ends a trial that this study runs, or with ASHA pauses it if it is at the end of its rung.
    /// The value of a pruned trial is its last intermediate one; a trial whose value is NaN has
    /// failed.
    ///
    /// # Errors
    /// Those of [`Study::report`].
    pub fn tell(&mut self, number: usize, outcome: Outcome) -> Result<()> {
        let Self { store, pruning, owner, .. } = self;
        store.transact(|history, _| {
            let trial = own(history, number, owner)?;
            let asha = matches!(pruning, Pruning::Asha(_));
            Ok((told(trial, outcome, asha), ()))
        })
    }

    /// Puts a trial with these parameters into the queue; those that are not given are drawn when
    /// it is run. Gives its number.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Journal`].
    pub fn enqueue<'a, V: Into<Value>>(
        &mut self,
        parameters: impl IntoIterator<Item = (&'a str, V)>,
    ) -> Result<usize> {
        let study = self.store.id;
        let mut fixed = Map::new();
        for (name, value) in parameters {
            fixed.insert(name.to_owned(), serde_json::to_value(value.into()).unwrap_or_default());
        }
        let system_attributes =
            [(key::FIXED.to_owned(), Json::Object(fixed))].into_iter().collect();
        let state = TrialState::Waiting;
        let create = Operation::CreateTrial { study, state, system_attributes };
        self.store.transact(|history, _| Ok((vec![create], history.trials.len())))
    }

    /// Lets trials whose process has certainly ended wait, to be gone on with from their last step.
    /// Gives their numbers. Only processes on Linux that used Taper are known: for others there are
    /// [`Study::release`] and [`Study::fail`].
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Journal`].
    pub fn recover(&mut self) -> Result<Vec<usize>> {
        self.store.transact(|history, _| {
            let abandoned = |trial: &&Trial| {
                trial.state == TrialState::Running
                    && owner_of(trial).is_some_and(|owner| {
                        owner.rsplit_once(' ').is_some_and(|(process, _)| owner::has_ended(process))
                    })
            };
            let trials: Vec<&Trial> = history.trials.iter().filter(abandoned).collect();
            let operations = trials.iter().flat_map(|trial| waits(trial)).collect();
            Ok((operations, trials.iter().map(|trial| trial.number).collect()))
        })
    }

    /// Lets a running trial wait, whoever ran it, to be gone on with from its last step.
    ///
    /// # Errors
    /// [`Error::Trial`] if it is not running; [`Error::Io`] and [`Error::Journal`].
    pub fn release(&mut self, number: usize) -> Result<()> {
        self.store.transact(|history, _| Ok((waits(running(history, number)?), ())))
    }

    /// Ends a running trial as failed, whoever ran it.
    ///
    /// # Errors
    /// Those of [`Study::release`].
    pub fn fail(&mut self, number: usize) -> Result<()> {
        self.store.transact(|history, _| {
            let outcome = Outcome::Failed("it was given up".into());
            Ok((told(running(history, number)?, outcome, false), ()))
        })
    }

    /// Ends paused trials as pruned, so that no other program takes them up. Gives how many.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Journal`].
    pub fn finish(&mut self) -> Result<usize> {
        self.store.transact(|history, _| {
            let paused: Vec<&Trial> = history.trials.iter().filter(|t| t.is_paused()).collect();
            let end = |trial: &&Trial| told(trial, Outcome::Pruned, false);
            Ok((paused.iter().flat_map(end).collect(), paused.len()))
        })
    }
}

/// What comes next: what was interrupted or queued, then promotions, then something new.
fn job(history: History<'_>, pruning: Pruning, new: bool) -> Option<Job> {
    let waits = |trial: &&Trial| trial.state == TrialState::Waiting && !trial.is_paused();
    if let Some(trial) = history.trials.iter().find(waits) {
        return Some(Job::Waiting(trial.number));
    }
    if let Pruning::Asha(asha) = pruning {
        let remaining = || if new { None } else { asha.remaining(history) };
        if let Some(number) = asha.promotable(history).or_else(remaining) {
            return Some(Job::Promoted(number));
        }
    }
    new.then_some(Job::New)
}

/// Values for the parameters that a trial does not have yet, all of them checked.
fn draw(
    sampler: &dyn Sampler,
    history: History<'_>,
    space: &Space,
    number: usize,
) -> Result<crate::Draw> {
    let trial = history.trials.get(number);
    let fixed: BTreeMap<String, f64> = trial.map(|t| t.fixed(space)).unwrap_or_default();
    let mut draw = if fixed.len() < space.len() {
        sampler.sample(history, space, number)?
    } else {
        crate::Draw::default()
    };
    draw.values.extend(fixed);
    for (name, distribution) in space.iter() {
        let earlier = history.trials.iter().find_map(|trial| trial.parameters.get(name));
        if earlier.is_some_and(|p| !p.distribution.is_compatible(distribution)) {
            let problem =
                "has another kind, scale or other choices in earlier trials: use another \
                           name, or another study"
                    .to_owned();
            return Err(Error::Parameter { name: name.to_owned(), problem });
        }
        if !draw.values.get(name).is_some_and(|value| distribution.contains(*value)) {
            let problem = "has no value within its range from the sampler".to_owned();
            return Err(Error::Parameter { name: name.to_owned(), problem });
        }
    }
    Ok(draw)
}

/// The operations that end, pause or interrupt a trial.
fn told(trial: &Trial, outcome: Outcome, asha: bool) -> Vec<Operation> {
    let id = trial.id;
    let state = |state, value| Operation::SetState { trial: id, state, value };
    let last = trial.last_step().map(|(_, value)| value).filter(|value| !value.is_nan());
    match outcome {
        Outcome::Complete(value) if value.is_nan() => {
            told(trial, Outcome::Failed("its value is NaN".into()), asha)
        }
        Outcome::Complete(value) => vec![state(TrialState::Complete, Some(value))],
        Outcome::Pruned if asha && last.is_some() && trial.rungs() > current_rung(trial) => {
            waits(trial)
        }
        Outcome::Pruned => vec![state(TrialState::Pruned, last)],
        Outcome::Failed(reason) => {
            vec![noted(id, "fail_reason", reason.into()), state(TrialState::Failed, None)]
        }
        Outcome::Interrupted => waits(trial),
    }
}

/// The operations that let a trial wait: at the end of its rung, or wherever it was interrupted.
fn waits(trial: &Trial) -> Vec<Operation> {
    let paused = trial.rungs() > current_rung(trial);
    let why = if paused { key::PAUSED } else { key::INTERRUPTED };
    let state = TrialState::Waiting;
    vec![
        noted(trial.id, key::WAITS, why.into()),
        Operation::SetState { trial: trial.id, state, value: None },
    ]
}

fn noted(trial: u64, key: &str, value: Json) -> Operation {
    Operation::SetSystemAttribute { trial, key: key.to_owned(), value }
}

fn owner_of(trial: &Trial) -> Option<&str> {
    trial.system_attributes.get(key::OWNER).and_then(Json::as_str)
}

fn running<'a>(history: History<'a>, number: usize) -> Result<&'a Trial> {
    let problem = "does not exist";
    let trial = history.trials.get(number).ok_or(Error::Trial { number, problem })?;
    if trial.state != TrialState::Running {
        return Err(Error::Trial { number, problem: "is not running" });
    }
    Ok(trial)
}

/// A running trial, unless it was taken away from this study.
fn own<'a>(history: History<'a>, number: usize, owner: &str) -> Result<&'a Trial> {
    let trial = running(history, number)?;
    if owner_of(trial).is_some_and(|other| other != owner) {
        return Err(Error::Trial { number, problem: "is run by another process" });
    }
    Ok(trial)
}
