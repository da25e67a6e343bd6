mod active;
mod ask_tell;

use std::path::{Path, PathBuf};

pub use active::{ActiveTrial, BoxError, Outcome};
use taper_core::Direction;

use crate::{
    Error, History, LockKind, Pruning, Result, Sampler, Tpe, TpeConfig, Trial, TrialState,
    journal::{self, Journal, Operation, Replay},
    owner,
};

/// Trials of one objective, kept in an Optuna journal that several processes may share.
///
/// A study is opened by each process, or thread, on its own; none needs to know of the others.
/// Everything is on the disk when a method returns.
pub struct Study {
    store: Store,
    sampler: Box<dyn Sampler>,
    pruning: Pruning,
    /// This study's process, and itself.
    owner: String,
}

/// A study's place in its journal.
struct Store {
    journal: Journal,
    id: u64,
    name: String,
    direction: Direction,
}

impl Store {
    /// Decides, with all trials and the number of the journal's next one known, what to append:
    /// see [`Journal::transact`].
    fn transact<T>(
        &mut self,
        decide: impl FnOnce(History<'_>, u64) -> Result<(Vec<Operation>, T)>,
    ) -> Result<T> {
        let Self { journal, id, name, direction } = self;
        let path = journal.path().to_owned();
        journal.transact(|replay| {
            let Some(study) = replay.studies.get(id) else {
                return Err(no_study(path, name, replay));
            };
            let history = History { direction: *direction, trials: &study.trials };
            decide(history, replay.next_trial())
        })
    }
}

fn no_study(path: PathBuf, name: &str, replay: &Replay) -> Error {
    let names: Vec<&str> = replay.studies.values().map(|study| study.name.as_str()).collect();
    let known = if names.is_empty() { "none".into() } else { names.join(", ") };
    Error::NoStudy { path, name: name.to_owned(), known }
}

/// The lock that Optuna makes unless told otherwise.
const LOCK: LockKind = LockKind::Symlink;

impl Study {
    /// Opens a study, or creates it, and the journal, if there is none of this name.
    ///
    /// # Errors
    /// [`Error::Objectives`] if it has several objectives or another direction; [`Error::Io`] and
    /// [`Error::Journal`].
    pub fn open(path: &Path, name: &str, direction: Direction) -> Result<Self> {
        Self::open_with_lock(path, name, direction, LOCK)
    }

    /// As [`Study::open`], with another kind of lock.
    ///
    /// # Errors
    /// Those of [`Study::open`].
    pub fn open_with_lock(
        path: &Path,
        name: &str,
        direction: Direction,
        lock: LockKind,
    ) -> Result<Self> {
        let mut journal = Journal::open(path, lock, true)?;
        if journal.replay().find(name).is_none() {
            journal.transact(|replay| {
                let directions = vec![if direction == Direction::Min { 1 } else { 2 }];
                let create = Operation::CreateStudy { name: name.to_owned(), directions };
                Ok((replay.find(name).map_or(vec![create], |_| Vec::new()), ()))
            })?;
        }
        let study = Self::of(journal, name)?;
        if study.direction() != direction {
            let problem = match study.direction() {
                Direction::Min => "looks for the smallest value, not the largest",
                Direction::Max => "looks for the largest value, not the smallest",
            };
            return Err(Error::Objectives { name: name.to_owned(), problem });
        }
        Ok(study)
    }

    /// Opens a study that exists, in whichever direction.
    ///
    /// # Errors
    /// [`Error::NoStudy`] if there is none of this name, [`Error::Objectives`] if it has several
    /// objectives; [`Error::Io`] and [`Error::Journal`].
    pub fn load(path: &Path, name: &str) -> Result<Self> {
        Self::of(Journal::open(path, LOCK, false)?, name)
    }

    /// The names of a journal's studies, in the order in which they were created; none if there is
    /// no such file.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Journal`].
    pub fn names(path: &Path) -> Result<Vec<String>> {
        if !journal::exists(path) {
            return Ok(Vec::new());
        }
        let journal = Journal::open(path, LOCK, false)?;
        Ok(journal.replay().studies.values().map(|study| study.name.clone()).collect())
    }

    fn of(journal: Journal, name: &str) -> Result<Self> {
        let replay = journal.replay();
        let Some(id) = replay.find(name) else {
            return Err(no_study(journal.path().to_owned(), name, replay));
        };
        let direction = match replay.studies[&id].directions[..] {
            [1] => Direction::Min,
            [2] => Direction::Max,
            _ => {
                let problem = "has several objectives: Taper tunes one";
                return Err(Error::Objectives { name: name.to_owned(), problem });
            }
        };
        let owner = format!("{} {}", owner::own(), journal::unique());
        let sampler = Box::new(Tpe::new(TpeConfig::default().check()?));
        let name = name.to_owned();
        let store = Store { journal, id, name, direction };
        Ok(Self { store, sampler, pruning: Pruning::None, owner })
    }

    /// With another sampler. Default [`Tpe`] with its defaults.
    pub fn with_sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Box::new(sampler);
        self
    }

    /// As [`Study::with_sampler`], with one that was chosen at run time.
    pub fn with_boxed_sampler(mut self, sampler: Box<dyn Sampler>) -> Self {
        self.sampler = sampler;
        self
    }

    /// With pruning. Default none.
    pub fn with_pruning(mut self, pruning: Pruning) -> Self {
        self.pruning = pruning;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.store.name
    }

    /// Its journal.
    pub fn path(&self) -> &Path {
        self.store.journal.path()
    }

    /// Whether smaller or larger values are better.
    pub fn direction(&self) -> Direction {
        self.store.direction
    }

    /// Reads what other processes have done. Methods that change the study do so, too.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Journal`].
    pub fn sync(&mut self) -> Result<()> {
        self.store.journal.sync()
    }

    /// All trials in the order of their numbers, as of the last change or [`Study::sync`]. Empty if
    /// the study was deleted.
    pub fn trials(&self) -> &[Trial] {
        self.store.journal.replay().studies.get(&self.store.id).map_or(&[], |study| &study.trials)
    }

    /// What users noted about the study.
    pub fn attributes(&self) -> serde_json::Map<String, serde_json::Value> {
        let study = self.store.journal.replay().studies.get(&self.store.id);
        study.map(|study| study.user_attributes.clone()).unwrap_or_default()
    }

    /// The complete trial with the best value, the first of several; none if none is complete.
    pub fn best_trial(&self) -> Option<&Trial> {
        let value = |trial: &Trial| trial.value().filter(|value| !value.is_nan());
        let complete = self.trials().iter().filter(|t| t.state == TrialState::Complete);
        complete.filter(|trial| value(trial).is_some()).reduce(|best, trial| {
            let better = match (value(trial), value(best), self.direction()) {
                (Some(new), Some(old), Direction::Min) => new < old,
                (Some(new), Some(old), Direction::Max) => new > old,
                _ => false,
            };
            if better { trial } else { best }
        })
    }

    /// What samplers and pruners see.
    pub fn history(&self) -> History<'_> {
        History { direction: self.direction(), trials: self.trials() }
    }
}
