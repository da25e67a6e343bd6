use std::{
    path::Path,
    time::{Duration, Instant},
};

use taper_augment::Policy;
use taper_core::{OutOfRange, Split};
use taper_data::ValChoice;
use taper_feature_cache::FeatureCache;
use taper_recipe::{FineTune, FitChoice, HeadChoice, Recipe, check_present};
use taper_run::{
    Answer, Drawn, OutFolder, Outcome, OwnCallbacks, Resumed, Session, seconds_per_picture,
};
use taper_zoo::find;

use super::{
    Gain, ModelChoice, Preset, SearchEnd, SearchReport, SearchSettings, Searched, Tried,
    costs::{Costs, Sizes, effort},
    judge::{Judge, is_interruption},
    place::{self, Place},
    score::{Score, means},
};
use crate::Result;

/// The cache for the time of a search that has no other.
const CACHE_BYTES: u64 = 4 << 30;

/// The share of the time that is left, which other networks may take together.
const FOR_NETWORKS: f64 = 0.3;

/// The share for views.
const FOR_VIEWS: f64 = 0.3;

/// What is kept free at the end, as a share of the limit.
const RESERVE: f64 = 0.03;

/// The smallest gain of a training on everything that is worth its time, in folds judged.
const VIEWS: u32 = 4;

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
        with_model(&fast(&recipe), model).check()?;
    }
    let out = out.into();
    out.check()?;
    let made = out.to_be_made();
    let (folder, ()) = out.make(|folder| place::begin(folder, &recipe, &settings))?;
    let place = Place::open(&folder)?;
    let searched = Search::new(place, recipe, settings, start, session).carry_out();
    if searched.is_err() && !folder.join("model.safetensors").exists() {
        // There is nothing to go on from.
        crate::files::remove_run(&folder)?;
        taper_outputs::remove_empty_parents(&folder, &made);
    }
    searched
}

/// Whether a folder is that of a search, which [`resume_search`] goes on with.
pub fn is_search(folder: &Path) -> bool {
    place::is_search(folder)
}

/// Goes on with a search that was interrupted, within the time that it has left; or with another
/// limit for all of its parts together.
///
/// # Errors
/// [`taper_run::Error::Resume`] if another process is at it; as [`search`].
pub fn resume_search(
    folder: &Path,
    limit: Option<Duration>,
    session: &Session,
) -> Result<Searched> {
    let start = Instant::now();
    let place = Place::open(folder)?;
    let (recipe, mut settings) = place.read()?;
    if let Some(limit) = limit {
        settings.time_limit = limit.as_secs_f64();
    }
    check_present(recipe.data_place())?;
    Search::new(place, recipe, settings, start, session).carry_out()
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

fn with_model(recipe: &Recipe, choice: &ModelChoice) -> Recipe {
    Recipe {
        model: choice.model.clone(),
        weights: choice.weights.clone(),
        weights_path: None,
        ..recipe.clone()
    }
}

/// What is tried.
#[derive(Debug, Clone)]
struct Candidate {
    name: String,
    recipe: Recipe,
    scores: Vec<Score>,
}

/// A search at work.
struct Search<'a> {
    place: Place,
    base: Recipe,
    settings: SearchSettings,
    start: Instant,
    /// Seconds that earlier parts of the search took.
    before: f64,
    session: Session,
    /// That of the caller, which knows of no limit.
    asked: &'a Session,
    tried: Vec<Tried>,
    about: (usize, usize),
    chosen: String,
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
        let chosen = report.map_or_else(String::new, |report| report.chosen);
        let (tried, about) = (Vec::new(), (0, 0));
        Self { place, base, settings, start, before, session, asked, tried, about, chosen }
    }

    /// Seconds so far.
    fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// Seconds that may still be planned for.
    fn left(&self) -> f64 {
        self.settings.time_limit * (1.0 - RESERVE) - self.seconds()
    }

    /// The session that ends with the limit.
    fn limited(&self) -> Session {
        let left = (self.settings.time_limit - self.seconds()).max(0.0);
        self.session.until(Instant::now() + Duration::from_secs_f64(left))
    }

    fn say(&self, text: &str) {
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
            tried: self.tried.clone(),
            chosen: self.chosen.clone(),
        };
        self.place.write(&report)?;
        Ok(report)
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
        let judge =
            Judge::new(drawn, &self.place.folder, &base, folder, &self.session)?;
        let Some(judge) = judge else {
            self.session.progress().warn(
                "a class has too few pictures, or only near copies of one, to judge anything by: the fast result remains",
            );
            return Ok(true);
        };
        self.about = (judge.pictures(), judge.group_count());
        if self.about.1 < self.about.0 {
            self.say(&format!(
                "{} pictures are {} groups of near copies, which stay together in the folds",
                self.about.0, self.about.1
            ));
        }
        let costs = self.measured(&base, &fast, &judge)?;
        self.plan(&base, &costs, &judge);
        let mut best = Candidate { name: "fast".into(), recipe: base, scores: Vec::new() };
        let mut complete = self.judge(&judge, &mut best, "fast", None)?;
        if best.scores.is_empty() {
            return Ok(false);
        }
        complete &= self.fit(&judge, &mut best, &costs)?;
        complete &= self.networks(&judge, &mut best, &costs)?;
        let forward = self.forward_of(&best.recipe)?;
        let costs = Costs {
            features: costs.features - costs.forward + forward,
            forward,
            step: costs.step,
        };
        complete &= self.views(&judge, &mut best, &costs)?;
        complete &= self.heads(&judge, &mut best)?;
        if best.name != "fast" {
            complete &= self.train(&best)?;
        }
        if self.settings.preset == Preset::Best {
            complete &= self.fine_tuning(&judge, &mut best, costs)?;
        }
        Ok(complete)
    }

    /// The fast result, or what an earlier part of the search has come to.
    fn fast(&mut self, recipe: &Recipe) -> Result<Answer> {
        if self.place.has_answer() {
            return self.place.answer();
        }
        self.chosen = "fast".into();
        let trained = self.train_in("fast", recipe, &self.session.clone())?;
        match trained {
            Some(answer) => Ok(answer),
            None => {
                let run = self.place.folder.clone();
                Err(taper_run::Error::InterruptedRun { run }.into())
            }
        }
    }

    /// Trains on everything, and makes that what the folder holds; false if there was no time.
    fn train(&mut self, best: &Candidate) -> Result<bool> {
        if self.chosen == best.name {
            return Ok(true);
        }
        self.say(&format!("training on all pictures: {}", best.name));
        let before = std::mem::replace(&mut self.chosen, best.name.clone());
        let done = self.train_in("final", &best.recipe, &self.limited())?.is_some();
        if !done {
            self.chosen = before;
        }
        self.write(SearchEnd::Interrupted)?;
        Ok(done)
    }

    /// Trains into a folder of the search, or goes on there, and moves it up; none if it was
    /// interrupted.
    fn train_in(&self, name: &str, recipe: &Recipe, session: &Session) -> Result<Option<Answer>> {
        let run = self.place.run(name);
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

    /// Judges a candidate in folds, and makes it the best one if it is better; false if there was
    /// no time. `seconds`: what a fold will take at most; without it, all folds are tried.
    fn judge(
        &mut self,
        judge: &Judge,
        best: &mut Candidate,
        name: &str,
        candidate: Option<(Recipe, usize)>,
    ) -> Result<bool> {
        let (recipe, folds) = match candidate {
            Some((recipe, folds)) => (recipe, folds),
            None => (best.recipe.clone(), judge.folds),
        };
        let mut scores = Vec::new();
        let (mut seconds, mut judged) = (0.0, 0);
        let session = self.limited();
        session.progress().begin(name, folds as u64, "folds");
        for fold in 0..folds {
            let Some(own) = judge.judge(&recipe, fold, &session)? else { break };
            scores.extend(own.scores);
            seconds += own.seconds;
            judged += 1;
            session.progress().advance(1);
        }
        session.progress().end();
        if judged == 0 {
            return Ok(false);
        }
        let (accuracy, brier) = means(&scores);
        let first = best.scores.is_empty();
        let gain = Gain::of(&scores, &best.scores, &judge.groups);
        let kept = first || gain.is_some_and(|gain| gain.is_real());
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
        let compared = gain.map_or(String::new(), |gain| {
            format!(
                ": Brier score better by {:.4} ± {:.4}, accuracy by {:.4}, {}",
                gain.brier,
                gain.standard_error,
                gain.accuracy,
                if kept { "kept" } else { "not kept" }
            )
        });
        self.say(&format!(
            "{name}: accuracy {accuracy:.4}, Brier score {brier:.4} in {judged} folds{compared}"
        ));
        if kept {
            *best = Candidate { name: name.to_owned(), recipe, scores };
        }
        Ok(judged == folds)
    }

    /// What pictures cost here.
    fn measured(&self, base: &Recipe, fast: &Answer, judge: &Judge) -> Result<Costs> {
        let forward = self.forward_of(base)?;
        let rows = fast.pictures.iter().sum::<usize>().saturating_sub(fast.cached).max(1);
        let computed = if fast.cached == 0 { fast.feature_seconds / rows as f64 } else { 0.0 };
        let features = computed.max(forward);
        let mut step = 5.0 * forward;
        if self.settings.preset == Preset::Best && self.left() > 0.0 {
            let recipe = tuned(base, 2, None)?;
            step = judge.burst(&recipe, &self.limited())?.unwrap_or(step);
        }
        Ok(Costs { features, forward, step })
    }

    fn forward_of(&self, recipe: &Recipe) -> Result<f64> {
        Ok(seconds_per_picture(&recipe.clone().check()?)?)
    }

    fn sizes(&self, judge: &Judge) -> Sizes {
        let val = judge.validated() as f64;
        let test = self.place.answer().ok().map_or(0, |answer| answer.pictures[2]) as f64;
        Sizes { train: judge.pictures() as f64 - val, val, test }
    }

    /// Says what is going to be tried, as far as that is known.
    fn plan(&self, base: &Recipe, costs: &Costs, judge: &Judge) {
        let limit = humantime(self.settings.time_limit);
        self.say(&format!(
            "plan for {limit}, of which {:.0} s are over; a picture takes {:.1} ms through {}{}:",
            self.seconds(),
            1e3 * costs.features,
            base.model,
            match self.settings.preset {
                Preset::Best => format!(", {:.1} ms in an epoch of all layers", 1e3 * costs.step),
                _ => String::new(),
            }
        ));
        let others = self.settings.models.len().saturating_sub(1);
        if others > 0 {
            self.say(&format!(
                "  networks: {others} more, as far as {:.0} s go",
                FOR_NETWORKS * self.left()
            ));
        }
        self.say(&format!(
            "  views: {VIEWS} of each picture, {:.0} s",
            costs.features * f64::from(VIEWS - 1) * judge.pictures() as f64
        ));
        self.say("  the whole picture instead of its centre; heads: cosine and linear");
        if self.settings.preset == Preset::Best {
            match effort(costs, self.sizes(judge), judge.folds, self.left()) {
                Some((folds, epochs, seconds)) => self.say(&format!(
                    "  fine-tuning: up to {epochs} epoch(s) of all layers, judged in {folds} fold(s), about {seconds:.0} s"
                )),
                None => self.say("  fine-tuning: there is no time for it"),
            }
        }
    }

    /// The whole picture, squashed, instead of its centre.
    fn fit(&mut self, judge: &Judge, best: &mut Candidate, costs: &Costs) -> Result<bool> {
        if !self.settings.try_fit {
            return Ok(true);
        }
        if self.left() < costs.features * judge.pictures() as f64 {
            return Ok(false);
        }
        let fit = match best.recipe.fit {
            FitChoice::Crop => FitChoice::Squash,
            FitChoice::Squash => FitChoice::Crop,
        };
        let recipe = Recipe { fit, ..best.recipe.clone() };
        self.judge(judge, best, &format!("{fit}"), Some((recipe, judge.folds)))
    }

    /// Other networks, the cheapest first.
    fn networks(&mut self, judge: &Judge, best: &mut Candidate, costs: &Costs) -> Result<bool> {
        let flops = |model: &ModelChoice| find(&model.model).map_or(u64::MAX, |spec| spec.flops());
        let own = self.settings.models.first().map_or(1, &flops).max(1);
        let mut others: Vec<ModelChoice> = self.settings.models.iter().skip(1).cloned().collect();
        others.sort_by_key(&flops);
        let until = self.left() * (1.0 - FOR_NETWORKS);
        let mut complete = true;
        for model in others {
            let name = model.model.clone();
            let pictures = judge.pictures() as f64;
            let guessed = costs.features - costs.forward
                + costs.forward * flops(&model) as f64 / own as f64;
            let fits = |seconds: f64| self.left() - seconds * pictures >= until;
            if !fits(guessed) {
                self.say(&format!(
                    "{name}: left out, about {:.0} s for its features",
                    guessed * pictures
                ));
                complete = false;
                continue;
            }
            let recipe = with_model(&best.recipe, &model);
            let measured = costs.features - costs.forward + self.forward_of(&recipe)?;
            if !fits(measured) {
                self.say(&format!(
                    "{name}: left out, {:.0} s for its features",
                    measured * pictures
                ));
                complete = false;
                continue;
            }
            let name = joined(&best.name, &name);
            complete &= self.judge(judge, best, &name, Some((recipe, judge.folds)))?;
        }
        Ok(complete)
    }

    fn views(&mut self, judge: &Judge, best: &mut Candidate, costs: &Costs) -> Result<bool> {
        let mut complete = true;
        let until = self.left() * (1.0 - FOR_VIEWS);
        let plain = best.clone();
        for augment in [Policy::Light, Policy::Standard] {
            let seconds = costs.features * f64::from(VIEWS - 1) * judge.pictures() as f64;
            if self.left() - seconds < until {
                complete = false;
                continue;
            }
            let recipe = Recipe { views: VIEWS, augment, ..plain.recipe.clone() };
            let name = joined(&plain.name, &format!("{VIEWS} {augment} views"));
            complete &= self.judge(judge, best, &name, Some((recipe, judge.folds)))?;
        }
        Ok(complete)
    }

    fn heads(&mut self, judge: &Judge, best: &mut Candidate) -> Result<bool> {
        let mut complete = true;
        let solved = best.clone();
        for head in [HeadChoice::Cosine, HeadChoice::Linear] {
            if self.left() < 0.0 {
                return Ok(false);
            }
            let name = joined(&solved.name, &format!("{head} head"));
            let recipe = Recipe { head, ..solved.recipe.clone() };
            complete &= self.judge(judge, best, &name, Some((recipe, judge.folds)))?;
        }
        Ok(complete)
    }

    /// Layers of the network, judged in as many folds as there is time for.
    fn fine_tuning(
        &mut self,
        judge: &Judge,
        best: &mut Candidate,
        mut costs: Costs,
    ) -> Result<bool> {
        let sizes = self.sizes(judge);
        let frozen = best.clone();
        let mut complete = true;
        let mut given = None;
        for fresh in [frozen.recipe.views > 1, frozen.recipe.views == 1] {
            let policy = match frozen.recipe.views {
                1 => Policy::Light,
                _ => frozen.recipe.augment,
            };
            let first = given.is_none();
            let Some((folds, epochs, seconds)) = effort(&costs, sizes, judge.folds, self.left())
            else {
                if first {
                    self.say("fine-tuning: there is no time for it");
                }
                return Ok(false);
            };
            // What is compared has the same epochs.
            let (folds, epochs) = given.unwrap_or((folds, epochs));
            if given.is_some() && seconds > self.left() {
                complete = false;
                break;
            }
            given = Some((folds, epochs));
            let recipe = tuned(&frozen.recipe, epochs, fresh.then_some(policy))?;
            let views = if fresh { " with fresh views" } else { "" };
            let what = format!("{epochs} epochs of all layers{views}");
            let name = joined(&frozen.name, &what);
            let before = self.seconds();
            complete &= self.judge(judge, best, &name, Some((recipe, folds)))?;
            let each = costs.fine_tuning(sizes.without_fold(judge.folds), epochs);
            let took = (self.seconds() - before) / folds as f64;
            if took > each {
                costs.step *= took / each;
            }
        }
        if best.recipe.trains_network() {
            complete &= self.train(best)?;
        }
        Ok(complete)
    }
}

/// A recipe that goes on from a head to all layers.
fn tuned(recipe: &Recipe, epochs: u32, fresh: Option<Policy>) -> Result<Recipe> {
    let own = FineTune::lp_ft()?;
    let patience = own.patience.filter(|patience| *patience < epochs);
    let own = FineTune { epochs, patience, ..own };
    Ok(Recipe {
        views: 1,
        fresh_views: fresh.is_some(),
        augment: fresh.unwrap_or(recipe.augment),
        fine_tune: Some(own),
        ..recipe.clone()
    })
}

/// The name of a candidate that adds something to another one.
fn joined(before: &str, added: &str) -> String {
    match before {
        "fast" => added.to_owned(),
        before => format!("{before}, {added}"),
    }
}

/// A time as it is given: 90s, 10m.
fn humantime(seconds: f64) -> String {
    match seconds {
        whole if whole >= 60.0 && whole % 60.0 == 0.0 => format!("{:.0}m", whole / 60.0),
        other => format!("{other:.0}s"),
    }
}
