use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use taper_augment::Policy;
use taper_core::{Fault, OutOfRange, Split};
use taper_data::ValChoice;
use taper_feature_cache::FeatureCache;
use taper_recipe::{HeadChoice, Recipe, check_present};
use taper_run::{
    Answer, Drawn, Observer, OutFolder, Outcome, OwnCallbacks, Resumed, Session,
    seconds_per_picture,
};

use super::{
    Gain, ModelChoice, Preset, SearchEnd, SearchReport, SearchSettings, Searched, Step, Tried,
    costs::{Costs, Sizes},
    judge::{BURST, Judge, is_interruption},
    place::{self, AtHome, Place},
    score::{Score, means},
    stages::tuned,
};
use crate::{Error, Result, tune::diverged};

/// The cache for the time of a search that has no other.
const CACHE_BYTES: u64 = 4 << 30;

/// Seconds that must be left for fine-tuning to be thought of.
const WORTH_A_BURST: f64 = 20.0;

/// With fewer groups than this share of the pictures, random parts say little.
const MANY_COPIES: f64 = 0.9;

/// What is kept free at the end, as a share of the limit.
const RESERVE: f64 = 0.03;

/// Looks for the best classifier within a time, in a new folder `out`. The folder holds the best
/// training so far from the first seconds on, and its `recipe.toml` repeats that without a clock;
/// `search.json` and `tried.csv` say what led to it.
///
/// Candidates are judged by folds of the pictures that may be learned from, in which near copies
/// stay together; test pictures play no part. One replaces another only if its gain is beyond its
/// standard error.
///
/// # Errors
/// [`OutOfRange`] for settings that leave nothing to search, before anything is trained; everything
/// that [`train`](taper_run::train()) can fail with.
pub fn search(
    recipe: Recipe,
    settings: SearchSettings,
    out: impl Into<OutFolder>,
    session: &Session,
) -> Result<Searched> {
    let start = Instant::now();
    check(&recipe)?;
    check_present(recipe.data_place())?;
    for model in &settings.models {
        let checked = with_model(&fast(&recipe), model).check()?;
        if model.weights != "pretrained" {
            // Opens them: a wrong file is found now.
            seconds_per_picture(&checked)?;
        }
    }
    let out = out.into();
    out.check()?;
    let made = out.to_be_made();
    let (folder, ()) = out.make(|folder| place::begin(folder, &recipe, &settings))?;
    let place = Place::open(&folder)?;
    let searched = Search::new(place, recipe, settings, start, session).carry_out();
    let failed = searched.as_ref().is_err_and(|error| !is_interrupted(error));
    if failed && !folder.join("model.safetensors").exists() {
        // There is nothing to go on from.
        crate::files::remove_run(&folder)?;
        taper_outputs::remove_empty_parents(&folder, &made);
    }
    searched
}

fn is_interrupted(error: &Error) -> bool {
    matches!(error, Error::Run(error) if is_interruption(error))
}

/// Whether a folder is that of a search, which [`resume_search`] goes on with.
pub fn is_search(folder: &Path) -> bool {
    place::is_search(folder)
}

/// Goes on with a search that was interrupted, within the time that it has left; or with another
/// limit for all of its parts together, also if it had ended. `data`: where the pictures are now.
///
/// # Errors
/// [`taper_run::Error::Resume`] if another process is at it; [`OutOfRange`] for a limit that is
/// over already; as [`search`].
pub fn resume_search(
    folder: &Path,
    limit: Option<Duration>,
    data: Option<&str>,
    session: &Session,
) -> Result<Searched> {
    let start = Instant::now();
    let place = Place::open(folder)?;
    let (mut recipe, mut settings) = place.read()?;
    let report = place.report();
    if let Some(limit) = limit {
        let used = report.as_ref().map_or(0.0, |report| report.seconds);
        if limit.as_secs_f64() <= used {
            let remedy = format!("the search has used {used:.0} s already: use more than that");
            let shown = format!("{}s", limit.as_secs_f64());
            return Err(OutOfRange::new("time_limit", shown, remedy).into());
        }
        settings.time_limit = limit.as_secs_f64();
    }
    if let Some(data) = data {
        recipe = Recipe { data: data.to_owned(), data_path: None, ..recipe };
    } else if check_present(recipe.data_place()).is_err() {
        let remedy = "the data of the search are no longer there: if they have moved, say where to with `data`";
        return Err(OutOfRange::new("data", format!("'{}'", recipe.data), remedy).into());
    }
    check_present(recipe.data_place())?;
    place::begin(folder, &recipe, &settings)?;
    match report.filter(|report| limit.is_none() && report.ended != SearchEnd::Interrupted) {
        // There is nothing left to do.
        Some(report) => Ok(Searched { answer: place.answer()?, search: report }),
        None => Search::new(place, recipe, settings, start, session).carry_out(),
    }
}

/// Refuses recipes that stand for something else than one training.
fn check(recipe: &Recipe) -> Result<()> {
    let refuse = |field: &'static str, remedy: &str| {
        Err(OutOfRange::new(field, "set", remedy.to_owned()).into())
    };
    if recipe.seeds.is_some() {
        return refuse("seeds", "a search is many trainings already: leave it out");
    }
    if recipe.folds.is_some() {
        return refuse("folds", "a search has folds of its own: leave it out");
    }
    if recipe.fine_tune.is_some() {
        return refuse("fine_tune", "a search tries that by itself: leave it out");
    }
    if recipe.val == ValChoice::Split(Split::Test) {
        let remedy = "a search would choose by the test pictures: use val or a fraction";
        return Err(OutOfRange::new("val", "test", remedy).into());
    }
    Ok(())
}

/// The recipe of the fast result.
fn fast(recipe: &Recipe) -> Recipe {
    Recipe { head: HeadChoice::Logistic, ..recipe.clone() }
}

pub(crate) fn with_model(recipe: &Recipe, choice: &ModelChoice) -> Recipe {
    Recipe {
        model: choice.model.clone(),
        weights: choice.weights.clone(),
        weights_path: None,
        ..recipe.clone()
    }
}

/// What is tried.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) recipe: Recipe,
    scores: Vec<Score>,
}

/// A search at work.
pub(crate) struct Search<'a> {
    pub(crate) place: Place,
    pub(crate) base: Recipe,
    pub(crate) settings: SearchSettings,
    start: Instant,
    /// Seconds that earlier parts of the search took.
    before: f64,
    pub(crate) session: Session,
    /// That of the caller, which knows of no limit.
    asked: &'a Session,
    /// What earlier parts of the search tried.
    earlier: Vec<Tried>,
    pub(crate) tried: Vec<Tried>,
    /// Seconds for the features of a picture.
    features: f64,
    steps: Vec<Step>,
    about: (usize, usize),
    pub(crate) chosen: String,
}

impl<'a> Search<'a> {
    fn new(
        place: Place,
        base: Recipe,
        settings: SearchSettings,
        start: Instant,
        asked: &'a Session,
    ) -> Self {
        let session = match asked.cache() {
            Some(_) => asked.clone(),
            None => asked.clone().with_cache(FeatureCache::new(place.cache(), CACHE_BYTES)),
        };
        let report = place.report();
        let before = report.as_ref().map_or(0.0, |report| report.seconds);
        let (chosen, steps, earlier) =
            report.map_or_else(Default::default, |own| (own.chosen, own.steps, own.tried));
        let (tried, about, features) = (Vec::new(), (0, 0), 0.0);
        Self {
            place,
            base,
            settings,
            start,
            before,
            session,
            asked,
            earlier,
            tried,
            features,
            steps,
            about,
            chosen,
        }
    }

    /// Whether somebody asked to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.asked.interrupted()
    }

    /// Seconds so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// Seconds that may still be planned for.
    pub(crate) fn left(&self) -> f64 {
        self.settings.time_limit * (1.0 - RESERVE) - self.seconds()
    }

    /// The session that ends with the limit, or so many seconds before it.
    fn limited(&self, reserved: f64) -> Session {
        let left = (self.settings.time_limit - reserved - self.seconds()).max(0.0);
        self.session.until(Instant::now() + Duration::from_secs_f64(left))
    }

    pub(crate) fn say(&self, text: &str) {
        self.session.progress().say(text);
    }

    fn carry_out(mut self) -> Result<Searched> {
        let ended = self.steps()?;
        let ended = match ended {
            _ if self.asked.interrupted() => SearchEnd::Interrupted,
            true => SearchEnd::Complete,
            false => SearchEnd::Time,
        };
        let report = self.write(ended)?;
        if ended != SearchEnd::Interrupted {
            self.place.clean()?;
        }
        Ok(Searched { answer: self.place.answer()?, search: report })
    }

    fn write(&self, ended: SearchEnd) -> Result<SearchReport> {
        let report = SearchReport {
            preset: self.settings.preset,
            time_limit: self.settings.time_limit,
            seconds: self.seconds(),
            ended,
            pictures: self.about.0,
            groups: self.about.1,
            tried: self.all_tried(),
            steps: self.steps.clone(),
            chosen: self.chosen.clone(),
        };
        self.place.write(&report)?;
        Ok(report)
    }

    /// What was tried by now, in order; with what an earlier part of the search tried and this one
    /// has not come to.
    fn all_tried(&self) -> Vec<Tried> {
        let mut all = self.tried.clone();
        let here = |own: &&Tried| !self.tried.iter().any(|tried| tried.name == own.name);
        all.extend(self.earlier.iter().filter(here).cloned());
        all
    }

    /// All of it; false if there was no time for something.
    fn steps(&mut self) -> Result<bool> {
        let base = match self.settings.models.first() {
            Some(first) => with_model(&fast(&self.base), first),
            None => fast(&self.base),
        };
        let fast = self.fast(&base)?;
        self.write(SearchEnd::Interrupted)?;
        let drawn = Drawn::new(&base.clone().check()?, &self.session.muted())?;
        let folder = self.place.judged();
        let judge = Judge::new(drawn, &self.place.folder, &base, folder, &self.session)?;
        let Some(judge) = judge else {
            self.session.progress().warn(
                "a class has too few pictures, or only near copies of one, to judge anything by: the fast result remains",
            );
            return Ok(true);
        };
        self.introduce(&judge);
        let costs = self.measured(&base, &fast, &judge)?;
        self.features = costs.features;
        self.plan(&base, &costs, &judge);
        let mut best = Candidate { name: "fast".into(), recipe: base, scores: Vec::new() };
        let recipe = best.recipe.clone();
        let mut complete = self.judge(&judge, &mut best, "fast", Attempt::new(recipe, &judge))?;
        if best.scores.is_empty() {
            return Ok(false);
        }
        complete &= self.fit(&judge, &mut best, &costs)?;
        complete &= self.networks(&judge, &mut best, &costs)?;
        complete &= self.size(&judge, &mut best, &costs)?;
        let costs = costs.scaled(self.forward_of(&best.recipe)?);
        complete &= self.views(&judge, &mut best, &costs)?;
        complete &= self.heads(&judge, &mut best)?;
        let trained = self.steps.iter().any(|step| step.name == best.name);
        if !trained {
            complete &= self.train(&best)?;
        }
        if self.settings.preset == Preset::Best {
            complete &= self.fine_tuning(&judge, &mut best, costs)?;
        }
        Ok(complete)
    }

    /// Says what the folds are made of.
    fn introduce(&mut self, judge: &Judge) {
        let (pictures, groups) = (judge.pictures(), judge.group_count());
        self.about = (pictures, groups);
        if groups == pictures {
            return;
        }
        self.say(&format!(
            "{pictures} pictures are {groups} groups, of near copies or as the data say: each stays together in the {} folds",
            judge.folds()
        ));
        if (groups as f64) < MANY_COPIES * pictures as f64 && judge.draws() {
            self.session.progress().warn(
                "near copies: validation pictures (and test pictures, if the data have none of their own) are drawn at random, so that near copies of training pictures are among them: figures on them are too good, and those of the folds are not",
            );
        }
    }

    /// Takes a note of a training on everything.
    fn note(&mut self, name: &str, answer: &Answer) {
        self.steps.push(Step {
            name: name.to_owned(),
            at: self.seconds(),
            val_accuracy: answer.val_accuracy,
            test_accuracy: answer.test.as_ref().map(|test| test.accuracy),
            test_loss: answer.test.as_ref().map(|test| test.loss),
        });
    }

    /// The fast result, or what an earlier part of the search has come to.
    fn fast(&mut self, recipe: &Recipe) -> Result<Answer> {
        if self.place.has_answer() {
            return self.place.answer();
        }
        self.chosen = "fast".into();
        let trained = self.train_in("fast", recipe, &self.session.clone())?;
        match trained {
            Some(answer) => {
                self.note("fast", &answer);
                Ok(answer)
            }
            None => {
                let run = self.place.folder.clone();
                Err(taper_run::Error::InterruptedRun { run }.into())
            }
        }
    }

    /// Trains on everything, and makes that what the folder holds; false if there was no time.
    pub(crate) fn train(&mut self, best: &Candidate) -> Result<bool> {
        if self.chosen == best.name {
            return Ok(true);
        }
        if self.interrupted() {
            return Ok(false);
        }
        self.say(&format!("training on all pictures: {}", best.name));
        let before = std::mem::replace(&mut self.chosen, best.name.clone());
        let trained = self.train_in("final", &best.recipe, &self.limited(0.0))?;
        match &trained {
            Some(answer) => self.note(&best.name, answer),
            None => {
                if !self.asked.interrupted() {
                    self.session.progress().warn(&format!(
                        "there was no time to train it on all pictures: the model is still that of '{before}'; go on with a longer limit"
                    ));
                }
                self.chosen = before;
            }
        }
        self.write(SearchEnd::Interrupted)?;
        Ok(trained.is_some())
    }

    /// Trains into a folder of the search, or goes on there, and moves it up; none if it was
    /// interrupted.
    fn train_in(&self, name: &str, recipe: &Recipe, session: &Session) -> Result<Option<Answer>> {
        let run = self.place.run(name);
        let observer = session.observer().map(|observer| -> Arc<dyn Observer> {
            let (observer, home) = (Arc::clone(observer), self.place.folder.clone());
            Arc::new(AtHome { observer, home })
        });
        let session = &session.clone().with_observer(observer);
        let same = run.is_dir()
            && Recipe::read(&run.join("recipe.toml"))
                .is_ok_and(|before| before.anywhere() == recipe.anywhere());
        let trained = match same {
            true => taper_run::resume_with(&run, OwnCallbacks::new(), session).map(|resumed| {
                match resumed {
                    Resumed::Trained(answer) | Resumed::Complete(answer) => Some(*answer),
                    Resumed::Repeated(_) => None,
                }
            }),
            false => {
                crate::files::remove_run(&run)?;
                taper_run::train(recipe.clone().check()?, run.as_path(), session).map(Some)
            }
        };
        match trained {
            Ok(Some(answer)) if answer.stopped != Outcome::Interrupted => {
                self.place.move_up(name)?;
                Ok(Some(answer))
            }
            Ok(_) => Ok(None),
            Err(error) if is_interruption(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Judges a candidate, and makes it the best one if it is better; false if there was no time
    /// for all of its folds.
    pub(crate) fn judge(
        &mut self,
        judge: &Judge,
        best: &mut Candidate,
        name: &str,
        attempt: Attempt,
    ) -> Result<bool> {
        let Attempt { recipe, folds, each, reserved: planned, baseline } = attempt;
        let frozen = each == 0.0;
        let mut reserved = match self.tried.last() {
            // What is kept has to be trained.
            Some(last) if frozen => {
                let fold = last.seconds / last.folds.max(1) as f64;
                1.0 + 1.5 * fold + self.features * self.sizes(judge).test
            }
            _ => planned,
        };
        if self.interrupted() {
            return Ok(false);
        }
        if frozen && self.left() < reserved && !judge.knows(&recipe, folds)? {
            self.say(&format!("{name}: there is no time for it"));
            return Ok(false);
        }
        let first = best.scores.is_empty();
        let mut scores = Vec::new();
        let (mut seconds, mut judged) = (0.0, 0);
        let session = self.limited(reserved);
        session.progress().begin(name, folds as u64, "folds");
        // Where there is time, in more of them.
        let most = if frozen { folds } else { judge.folds() };
        for fold in 0..most {
            let own = match judge.judge(&recipe, fold, &session) {
                Ok(Some(own)) => own,
                Ok(None) => break,
                // What cannot be trained on these data is no reason to lose the rest.
                Err(error) if !first && (error.is_usage() || diverged(&error)) => {
                    session.progress().end();
                    self.session.progress().warn(&format!("{name}: left out: {error}"));
                    return Ok(true);
                }
                Err(error) => return Err(error),
            };
            scores.extend(own.scores);
            seconds += own.seconds;
            judged += 1;
            session.progress().advance(1);
            // What takes longer than planned takes longer in the end, too.
            if each > 0.0 {
                let slower = (own.seconds / each).max(1.0);
                reserved = reserved.max(planned * slower);
                if self.left() < 1.1 * own.seconds + reserved {
                    break;
                }
            }
        }
        session.progress().end();
        if judged == 0 || self.interrupted() {
            return Ok(false);
        }
        let (accuracy, brier) = means(&scores);
        let over = |other: &Candidate| Gain::of(&scores, &other.scores, &judge.groups);
        let gain = over(baseline.as_ref().unwrap_or(best));
        let best_of_kind = baseline.is_none() || over(best).is_some_and(|gain| gain.brier > 0.0);
        let whole = judged >= if frozen { folds } else { FEWEST.min(folds) };
        let kept = first || (whole && best_of_kind && gain.is_some_and(|gain| gain.is_real()));
        self.tried.push(Tried {
            name: name.to_owned(),
            folds: judged,
            pictures: scores.len(),
            accuracy,
            brier,
            gain,
            kept,
            seconds,
        });
        let verdict = match (kept, whole) {
            (true, _) => "kept".to_owned(),
            (false, true) => "not kept".to_owned(),
            (false, false) => format!("not kept, since only {judged} of {most} folds saw it"),
        };
        let compared = gain.map_or(String::new(), |gain| format!("; {}: {verdict}", gain.told()));
        self.say(&format!(
            "{name}: accuracy {accuracy:.4}, Brier score {brier:.4} on {} pictures{compared}",
            scores.len()
        ));
        if kept {
            *best = Candidate { name: name.to_owned(), recipe, scores };
        }
        self.write(SearchEnd::Interrupted)?;
        Ok(judged >= folds)
    }

    /// What pictures cost here.
    fn measured(&self, base: &Recipe, fast: &Answer, judge: &Judge) -> Result<Costs> {
        let forward = self.forward_of(base)?;
        let rows = fast.pictures.iter().sum::<usize>().saturating_sub(fast.cached).max(1);
        let computed = if fast.cached == 0 { fast.feature_seconds / rows as f64 } else { 0.0 };
        let features = computed.max(forward);
        let mut step = 5.0 * forward;
        // Four epochs are measured; a slow network would take all the time there is.
        let bursts = 4.0 * BURST as f64 * step;
        if self.settings.preset == Preset::Best && self.left() > WORTH_A_BURST.max(4.0 * bursts) {
            // What more epochs cost, without what all trainings have in common.
            let burst = |epochs| {
                judge.burst(&tuned(base, epochs, Policy::TrivialAugment)?, &self.limited(0.0))
            };
            if let (Some((short, _)), Some((long, pictures))) = (burst(1)?, burst(3)?) {
                // Few pictures are soon trained, so that their figures are rough: forward in
                // training and backward take no less than this.
                step = ((long - short) / (2.0 * pictures.max(1) as f64)).max(3.0 * forward);
            }
        }
        Ok(Costs { features, forward, step })
    }

    pub(crate) fn forward_of(&self, recipe: &Recipe) -> Result<f64> {
        Ok(seconds_per_picture(&recipe.clone().check()?)?)
    }

    pub(crate) fn sizes(&self, judge: &Judge) -> Sizes {
        let val = judge.validated() as f64;
        let test = self.place.answer().ok().map_or(0, |answer| answer.pictures[2]) as f64;
        Sizes { train: judge.pictures() as f64 - val, val, test }
    }
}

/// Folds in which fine-tuning has to be judged at least, also where it takes longer than planned: a
/// single one has too few groups ([`effort`](super::costs::effort)).
const FEWEST: usize = 2;

/// How a candidate is judged.
pub(crate) struct Attempt {
    pub(crate) recipe: Recipe,
    pub(crate) folds: usize,
    /// Seconds that a fold is going to take; 0 if that does not matter.
    pub(crate) each: f64,
    /// Seconds that must be left afterwards.
    pub(crate) reserved: f64,
    /// What it must be really better than, where it need only be better than the best one so far;
    /// without it, that is the best one so far.
    pub(crate) baseline: Option<Candidate>,
}

impl Attempt {
    /// In all folds.
    pub(crate) fn new(recipe: Recipe, judge: &Judge) -> Self {
        Self { recipe, folds: judge.folds(), each: 0.0, reserved: 0.0, baseline: None }
    }
}
