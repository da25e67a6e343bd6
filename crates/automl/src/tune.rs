use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use taper_core::{Fault, OutOfRange};
use taper_picture::Finding;
use taper_recipe::{Recipe, check_present};
use taper_run::{Answer, OutFolder, Session};
use taper_tune::{Outcome, Pruning, Space, Study, TrialState, Value};

use crate::{
    Error, MonitorChoice, Result, StudySettings,
    fields::{check_space, with_fields},
    files::{self, ANSWER, BEST, JOURNAL, NAME, Plan, trial_folder},
    objective::{Shared, Trial, all_epochs, lock},
};

/// How a study, or this process's part in it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// It has all of its trials, or all points of the grid.
    Complete,
    /// There was no time for another trial.
    Time,
    /// Somebody asked to stop.
    Interrupted,
}

/// How many trials are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialCounts {
    /// With a value.
    pub complete: usize,
    /// Ended early, for good.
    pub pruned: usize,
    /// Paused or interrupted: they may go on.
    pub waiting: usize,
    /// In work, in this process or another one.
    pub running: usize,
    /// Without a value: the recipe contradicted itself, or the loss became NaN.
    pub failed: usize,
}

/// The best trial of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestTrial {
    /// Its number, from 0.
    pub number: usize,
    /// The monitored figure. The best of many is better than it will be on other pictures.
    pub value: f64,
    /// Its parameters.
    pub parameters: BTreeMap<String, Value>,
    /// The folder of its run, with the trained model.
    pub run: String,
    /// Its recipe, which repeats it.
    pub recipe: String,
    /// Accuracy on its validation pictures.
    pub val_accuracy: f64,
    /// Loss on its validation pictures.
    pub val_loss: f64,
    /// Accuracy on test pictures, which play no part in the study; `null` if there are none.
    pub test_accuracy: Option<f64>,
    /// Loss on test pictures; `null` if there are none.
    pub test_loss: Option<f64>,
}

/// What a study came to: the answer of `taper tune`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// Its folder.
    pub study: String,
    /// The Optuna journal in it.
    pub journal: String,
    /// What was to be as good as possible.
    pub monitor: MonitorChoice,
    /// How it ended.
    pub ended: Ended,
    /// Its trials.
    pub trials: TrialCounts,
    /// Epochs of all trials together.
    pub epochs: usize,
    /// The best one; `null` if none is complete.
    pub best: Option<BestTrial>,
    /// How much each parameter mattered, as a share; empty with fewer than two complete trials.
    pub importance: BTreeMap<String, f64>,
    /// Pictures that could not be used and were left out; as far as this process trained.
    pub unreadable: Vec<Finding>,
    /// Remarks about the data; as far as this process trained.
    pub remarks: Vec<Finding>,
    /// Seconds that this process took.
    pub seconds: f64,
}

/// Looks for the values of a recipe's fields with which training is best, in a new folder `out`:
/// `study.journal` (an Optuna journal), `trials/NUMBER` (a run each; weights of the best one and of
/// those that may go on), `best.toml`, `trials.csv`, `study.json`, and charts.
///
/// All trials have the recipe's data, split and seed. Test pictures play no part.
///
/// # Errors
/// [`OutOfRange`] for a setting, a field that the recipe does not have or a value that it does not
/// take, before anything is trained; errors of the disk, and of the first three trials if all of
/// them fail.
pub fn tune(
    recipe: Recipe,
    space: Space,
    settings: StudySettings,
    out: impl Into<OutFolder>,
    limit: Option<Duration>,
    session: &Session,
) -> Result<Tuned> {
    check_limit(limit)?;
    let (folder, plan) = made(recipe, space, settings, &out.into())?;
    let tuned = go_on(&folder, plan, limit, session);
    if tuned.is_err() && !trial_folder(&folder, 0).exists() {
        files::remove_run(&folder)?;
        // Nothing is left to go on with.
        return tuned.map_err(|error| match error {
            Error::Stopped { source, .. } => *source,
            other => other,
        });
    }
    tuned
}

/// Makes the folder of a study without a trial: for processes that [go on](resume) with it at the
/// same time. Returns the folder.
///
/// # Errors
/// As [`tune`], before anything is trained.
pub fn create(
    recipe: Recipe,
    space: Space,
    settings: StudySettings,
    out: impl Into<OutFolder>,
) -> Result<PathBuf> {
    Ok(made(recipe, space, settings, &out.into())?.0)
}

fn made(
    recipe: Recipe,
    space: Space,
    settings: StudySettings,
    out: &OutFolder,
) -> Result<(PathBuf, Plan)> {
    settings.check()?;
    if recipe.seeds.is_some() {
        let remedy = "a trial is one training: leave it out";
        return Err(OutOfRange::new("seeds", "set", remedy).into());
    }
    if recipe.folds.is_some() && recipe.fold.is_none() {
        let remedy = "a trial is one training: say which `fold` to train, or leave it out";
        return Err(OutOfRange::new("folds", "set", remedy).into());
    }
    recipe.clone().check()?;
    check_present(recipe.data_place())?;
    check_space(&recipe, &space)?;
    let plan = Plan { recipe, space, settings };
    out.check()?;
    let (folder, ()) = out.make(|folder| plan.write(folder))?;
    Ok((folder, plan))
}

/// What a study has come to, after several processes went on with it: its answer, without another
/// trial.
///
/// # Errors
/// [`taper_run::Error::Resume`] if it is no folder of a study; errors of the disk.
pub fn summary(folder: &Path, ended: Ended, start: Instant, session: &Session) -> Result<Tuned> {
    let work = Work::open(folder, Plan::read(folder)?, None, session)?;
    let any = (0..lock(&work.study).trials().len()).find_map(|number| {
        let answer = trial_folder(folder, number).join("result.json");
        files::read_json::<Answer>(&answer).ok()
    });
    let about_data = any.map(|answer| (answer.unreadable, answer.remarks));
    let complete = {
        let study = lock(&work.study);
        let open = |state| matches!(state, TrialState::Running);
        study.trials().len() >= work.plan.settings.trials
            && !study.trials().iter().any(|trial| open(trial.state))
    };
    let ended = if complete && ended == Ended::Time { Ended::Complete } else { ended };
    Work { about_data, ..work }.answer(ended, start)
}

/// Whether a folder is that of a study, which [`resume`] goes on with.
pub fn is_study(folder: &Path) -> bool {
    folder.join(files::SETTINGS).is_file()
}

/// Goes on with the study in a folder: after an interruption, with more trials, or beside another
/// process that is at it.
///
/// # Errors
/// [`taper_run::Error::Resume`] if it is no folder of a study; [`OutOfRange`] for fewer trials than
/// it has; as [`tune`].
pub fn resume(
    folder: &Path,
    trials: Option<usize>,
    limit: Option<Duration>,
    session: &Session,
) -> Result<Tuned> {
    check_limit(limit)?;
    let mut plan = Plan::read(folder)?;
    if let Some(trials) = trials.filter(|trials| *trials != plan.settings.trials) {
        if trials < plan.settings.trials {
            let remedy = format!(
                "the study has {}, and can only be given more: use more than that, or leave it out",
                plan.settings.trials
            );
            return Err(OutOfRange::new("trials", trials, remedy).into());
        }
        plan.settings.trials = trials;
        plan.write_settings(folder)?;
    }
    check_present(plan.recipe.data_place())?;
    go_on(folder, plan, limit, session)
}

fn check_limit(limit: Option<Duration>) -> Result<()> {
    match limit {
        Some(Duration::ZERO) => {
            let remedy = "there is no time for a single trial: use more, e.g. 10m, or leave it out";
            Err(OutOfRange::new("time_limit", "0s", remedy).into())
        }
        _ => Ok(()),
    }
}

/// A study in work.
struct Work<'a> {
    folder: PathBuf,
    plan: Plan,
    study: Shared,
    until: Option<Instant>,
    session: &'a Session,
    /// Seconds of trials that this process has ended, and how many.
    spent: (f64, usize),
    /// Epochs that the study had before this process.
    before: usize,
    /// Pictures that cannot be used, and remarks.
    about_data: Option<(Vec<Finding>, Vec<Finding>)>,
}

fn go_on(folder: &Path, plan: Plan, limit: Option<Duration>, session: &Session) -> Result<Tuned> {
    let start = Instant::now();
    let until = limit.map(|limit| start + limit);
    let mut work = Work::open(folder, plan, until, session)?;
    lock(&work.study).recover()?;
    let ended = work.trials()?;
    let pruning = work.plan.settings.pruning(all_epochs(&work.plan.recipe))?;
    if ended == Ended::Complete && matches!(pruning, Pruning::Asha(_)) {
        lock(&work.study).finish()?;
    }
    work.answer(ended, start)
}

impl<'a> Work<'a> {
    fn open(
        folder: &Path,
        plan: Plan,
        until: Option<Instant>,
        session: &'a Session,
    ) -> Result<Self> {
        let settings = &plan.settings;
        let pruning = settings.pruning(all_epochs(&plan.recipe))?;
        let study = Study::open(&folder.join(JOURNAL), NAME, settings.monitor.direction())?
            .with_boxed_sampler(settings.sampler()?)
            .with_pruning(pruning);
        let before = epochs(&study);
        Ok(Self {
            folder: folder.to_owned(),
            plan,
            study: Arc::new(Mutex::new(study)),
            until,
            session,
            spent: (0.0, 0),
            before,
            about_data: None,
        })
    }
}

impl Work<'_> {
    fn trials(&mut self) -> Result<Ended> {
        let mut failures = 0;
        loop {
            if self.session.interrupted() {
                return Ok(Ended::Interrupted);
            }
            if self.is_late() {
                return Ok(Ended::Time);
            }
            let Some(trial) = self.next()? else { return Ok(Ended::Complete) };
            let begun = Instant::now();
            let (outcome, problem) = self.carry_out(&trial)?;
            let interrupted = outcome == Outcome::Interrupted;
            lock(&self.study).tell(trial.number, outcome.clone())?;
            match problem {
                Some(problem) => {
                    failures += 1;
                    let none = lock(&self.study).best_trial().is_none();
                    if failures == 3 && none {
                        return Err(problem);
                    }
                    self.session.progress().warn(&format!("trial {}: {problem}", trial.number));
                }
                None => failures = 0,
            }
            if interrupted {
                let late = !self.session.interrupted();
                return Ok(if late { Ended::Time } else { Ended::Interrupted });
            }
            self.spent = (self.spent.0 + begun.elapsed().as_secs_f64(), self.spent.1 + 1);
            self.say(trial.number, &outcome);
            files::drop_weights(&self.folder, &lock(&self.study));
        }
    }

    /// Whether another trial would come too late: on average it takes as long as those before.
    fn is_late(&self) -> bool {
        let (seconds, trials) = self.spent;
        let mean = if trials == 0 { 0.0 } else { seconds / trials as f64 };
        self.until.is_some_and(|until| {
            let left = until.saturating_duration_since(Instant::now()).as_secs_f64();
            left <= 0.0 || left < 0.5 * mean
        })
    }

    /// Whether the time that is left is just enough to bring one of the paused trials to its end,
    /// where none is complete.
    fn must_complete_one(&self, study: &Study) -> bool {
        let (seconds, trials) = self.spent;
        let Some(until) = self.until.filter(|_| trials > 0 && study.best_trial().is_none()) else {
            return false;
        };
        let paused = study.trials().iter().filter(|trial| trial.state == TrialState::Waiting);
        let furthest = paused.filter_map(|trial| Some(trial.last_step()?.0)).max();
        let Some(furthest) = furthest else { return false };
        let each = seconds / epochs(study).saturating_sub(self.before).max(1) as f64;
        let all = all_epochs(&self.plan.recipe) as f64;
        let left = until.saturating_duration_since(Instant::now()).as_secs_f64();
        // Each rung is a start of its own.
        left < 1.5 * each * (all - furthest as f64) + 2.0 * seconds / trials as f64
    }

    /// The next trial: one that waits or is promoted, or a new one as long as there may be more.
    fn next(&self) -> Result<Option<taper_tune::Trial>> {
        let mut study = lock(&self.study);
        study.sync()?;
        let open = study.trials().len() < self.plan.settings.trials;
        // Another process may be at the only one that could go on.
        if open
            && self.must_complete_one(&study)
            && let Some(trial) = study.ask_waiting(&self.plan.space)?
        {
            return Ok(Some(trial));
        }
        if open {
            match study.ask(&self.plan.space) {
                Err(taper_tune::Error::GridExhausted(_)) => {}
                trial => return Ok(Some(trial?)),
            }
        }
        Ok(study.ask_waiting(&self.plan.space)?)
    }

    /// Trains; what is wrong with the trial's recipe is told to the study, other errors end it.
    fn carry_out(&mut self, trial: &taper_tune::Trial) -> Result<(Outcome, Option<Error>)> {
        let folder = trial_folder(&self.folder, trial.number);
        let run = Trial {
            study: &self.study,
            number: trial.number,
            monitor: self.plan.settings.monitor,
            folder: &folder,
            until: self.until,
            session: self.session,
        };
        let fields = trial.parameters.iter().map(|(name, p)| (name.as_str(), p.value()));
        let outcome = with_fields(&self.plan.recipe, fields).and_then(|recipe| run.run(recipe));
        match outcome {
            Ok((outcome, answer)) => {
                if let Some(answer) = answer {
                    self.remark(&answer);
                }
                Ok((outcome, None))
            }
            Err(Error::Run(
                taper_run::Error::Interrupted | taper_run::Error::InterruptedRun { .. },
            )) => Ok((Outcome::Interrupted, None)),
            Err(error) if error.is_usage() || diverged(&error) => {
                Ok((Outcome::Failed(error.to_string()), Some(error)))
            }
            Err(error) => {
                lock(&self.study).tell(trial.number, Outcome::Interrupted)?;
                // The study is what can be resumed, not its trial alone.
                let source = match error {
                    Error::Run(taper_run::Error::Broken { source, .. }) => (*source).into(),
                    other => other,
                };
                let (study, trial) = (self.folder.clone(), trial.number);
                Err(Error::Stopped { study, trial, source: Box::new(source) })
            }
        }
    }

    /// What is to be said about the data, once: all trials have the same.
    fn remark(&mut self, answer: &Answer) {
        if self.about_data.is_some() {
            return;
        }
        let progress = self.session.progress();
        for finding in answer.unreadable.iter().chain(&answer.remarks) {
            progress.warn(&format!("{}: {}", finding.path, finding.reason));
        }
        self.about_data = Some((answer.unreadable.clone(), answer.remarks.clone()));
    }

    fn say(&self, number: usize, outcome: &Outcome) {
        let study = lock(&self.study);
        let Ok(trial) = study.trial(number) else { return };
        let monitor = self.plan.settings.monitor;
        let came_to = match outcome {
            Outcome::Complete(value) => format!("{monitor} {value:.4}"),
            Outcome::Pruned => {
                let last = trial.last_step().map_or(String::new(), |(step, value)| {
                    format!(" after {step} epochs with {monitor} {value:.4}")
                });
                let what = if trial.state == TrialState::Waiting { "paused" } else { "pruned" };
                format!("{what}{last}")
            }
            Outcome::Failed(_) => "failed".into(),
            Outcome::Interrupted => "interrupted".into(),
        };
        let best = study.best_trial().and_then(|best| Some((best.number, best.value()?)));
        let best = match best {
            Some((own, _)) if own == number => " (the best so far)".into(),
            Some((own, value)) => format!(" (best: {value:.4}, trial {own})"),
            None => String::new(),
        };
        let parameters = described(trial);
        let of = self.plan.settings.trials;
        self.session
            .progress()
            .say(&format!("trial {number} of {of}: {came_to}{best}: {parameters}"));
    }

    fn answer(self, ended: Ended, start: Instant) -> Result<Tuned> {
        let (unreadable, remarks) = self.about_data.clone().unwrap_or_default();
        let study = lock(&self.study);
        let title = format!("{}, {} trials", self.plan.recipe.data, study.trials().len());
        files::draw(&self.folder, &title, &study)?;
        let best = self.best(&study)?;
        let importance = match study.trials().iter().filter(|t| t.value().is_some()).count() {
            0 | 1 => BTreeMap::new(),
            _ => {
                let config = taper_tune::ImportanceConfig::default().check()?;
                config.of(study.history()).into_iter().map(|own| (own.name, own.share)).collect()
            }
        };
        let count = |state: TrialState| study.trials().iter().filter(|t| t.state == state).count();
        let tuned = Tuned {
            study: self.folder.display().to_string(),
            journal: self.folder.join(JOURNAL).display().to_string(),
            monitor: self.plan.settings.monitor,
            ended,
            trials: TrialCounts {
                complete: count(TrialState::Complete),
                pruned: count(TrialState::Pruned),
                waiting: count(TrialState::Waiting),
                running: count(TrialState::Running),
                failed: count(TrialState::Failed),
            },
            epochs: epochs(&study),
            best,
            importance,
            unreadable,
            remarks,
            seconds: start.elapsed().as_secs_f64(),
        };
        taper_run::write_json(&self.folder.join(ANSWER), &tuned)?;
        Ok(tuned)
    }

    /// The best trial, whose recipe is written on its own.
    fn best(&self, study: &Study) -> Result<Option<BestTrial>> {
        let Some(best) = study.best_trial() else { return Ok(None) };
        let run = trial_folder(&self.folder, best.number);
        let recipe = self.folder.join(BEST);
        Recipe::read(&run.join(files::RECIPE))?.write(&recipe)?;
        let answer: Answer = files::read_json(&run.join("result.json"))?;
        Ok(Some(BestTrial {
            number: best.number,
            value: best.value().unwrap_or(f64::NAN),
            parameters: best.parameters.iter().map(|(n, p)| (n.clone(), p.value())).collect(),
            run: run.display().to_string(),
            recipe: recipe.display().to_string(),
            val_accuracy: answer.val_accuracy,
            val_loss: answer.val_loss,
            test_accuracy: answer.test.as_ref().map(|test| test.accuracy),
            test_loss: answer.test.as_ref().map(|test| test.loss),
        }))
    }
}

/// Epochs of all trials together.
fn epochs(study: &Study) -> usize {
    study.trials().iter().map(|trial| trial.steps.len()).sum()
}

/// The parameters of a trial in a line.
fn described(trial: &taper_tune::Trial) -> String {
    let parameters = trial.parameters.iter().map(|(name, parameter)| {
        let value = match parameter.value() {
            Value::Float(value) if value != 0.0 && !(1e-2..1e4).contains(&value.abs()) => {
                format!("{value:.2e}")
            }
            Value::Float(value) => format!("{value:.4}"),
            other => other.to_string(),
        };
        format!("{name} {value}")
    });
    parameters.collect::<Vec<_>>().join(", ")
}

/// Whether the loss became NaN.
pub(crate) fn diverged(error: &Error) -> bool {
    matches!(error, Error::Run(taper_run::Error::Diverged { .. }))
}
