//! What is tried, one thing after another.

use taper_augment::Policy;
use taper_recipe::{FineTune, FitChoice, HeadChoice, Interpolate, Recipe};
use taper_zoo::find;

use super::{
    ModelChoice, Preset,
    costs::{Costs, Sizes, effort},
    judge::Judge,
    steps::{Attempt, Candidate, Search, with_model},
};
use crate::Result;

/// The share of the time that is left, which other networks may take together.
const FOR_NETWORKS: f64 = 0.3;

/// The share for a larger input.
const FOR_SIZE: f64 = 0.1;

/// By how much that is larger than the network's own.
const LARGER: f64 = 9.0 / 7.0;

/// The share for views, where fine-tuning comes after them, and where it does not.
const FOR_VIEWS: (f64, f64) = (0.4, 0.9);

/// Views of each picture, the unchanged one among them.
const VIEWS: u32 = 4;

/// Where on the way from the frozen network to the end of fine-tuning its weights are taken. The
/// middle is close to the best point on most sets, within and beyond what was trained on (Wortsman
/// et al. 2022, "Robust fine-tuning of zero-shot models", section 5).
const MIDDLE: f64 = 0.5;

impl Search<'_> {
    /// Says what is going to be tried, as far as that is known.
    pub(crate) fn plan(&self, base: &Recipe, costs: &Costs, judge: &Judge) {
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
        let pictures = judge.pictures() as f64;
        let best = self.settings.preset == Preset::Best;
        let mut steps = Vec::new();
        if self.settings.try_fit {
            let seconds = costs.features * pictures;
            steps.push(format!("{}: {seconds:.0} s", other_fit(base.fit)));
        }
        let others = self.settings.models.iter().skip(1).map(|model| model.model.as_str());
        let others: Vec<&str> = others.collect();
        if !others.is_empty() {
            let most = FOR_NETWORKS * self.left();
            steps.push(format!("networks: {}, at most {most:.0} s", others.join(", ")));
        }
        if best && self.base.size.is_none() {
            let seconds = pictures * (costs.features + costs.forward * (LARGER * LARGER - 1.0));
            steps.push(format!("a larger input: {seconds:.0} s"));
        }
        let seconds = 2.0 * costs.features * f64::from(VIEWS - 1) * pictures;
        steps.push(format!("{VIEWS} views, standard and light: {seconds:.0} s"));
        steps.push("heads: cosine and linear".into());
        if best {
            steps.push(match effort(costs, self.sizes(judge), judge.folds(), self.left()) {
                Some((folds, epochs, seconds)) => format!(
                    "fine-tuning: {epochs} epochs of all layers, judged in {folds} folds: {seconds:.0} s"
                ),
                None => "fine-tuning: there is no time for it".into(),
            });
        }
        for step in steps {
            self.say(&format!("  {step}"));
        }
    }

    /// Whether a candidate's features take more seconds than it may have, and says so. What an
    /// earlier part of the search judged takes none.
    fn leaves_out(
        &self,
        judge: &Judge,
        recipe: &Recipe,
        name: &str,
        (seconds, most): (f64, f64),
    ) -> Result<bool> {
        if seconds <= most || judge.knows(recipe, judge.folds())? {
            return Ok(false);
        }
        self.say(&format!(
            "{name}: left out, since its features would take about {seconds:.0} s, and {:.0} s are meant for them",
            most.max(0.0)
        ));
        Ok(true)
    }

    /// The whole picture, squashed, instead of its centre.
    pub(crate) fn fit(
        &mut self,
        judge: &Judge,
        best: &mut Candidate,
        costs: &Costs,
    ) -> Result<bool> {
        if !self.settings.try_fit {
            return Ok(true);
        }
        let fit = other_fit(best.recipe.fit);
        let recipe = Recipe { fit, ..best.recipe.clone() };
        let seconds = costs.features * judge.pictures() as f64;
        if self.leaves_out(judge, &recipe, &fit.to_string(), (seconds, self.left()))? {
            return Ok(false);
        }
        self.judge(judge, best, &format!("{fit}"), Attempt::new(recipe, judge))
    }

    /// Other networks, the cheapest first.
    pub(crate) fn networks(
        &mut self,
        judge: &Judge,
        best: &mut Candidate,
        costs: &Costs,
    ) -> Result<bool> {
        let flops = |model: &ModelChoice| find(&model.model).map_or(u64::MAX, |spec| spec.flops());
        let own = self.settings.models.first().map_or(1, &flops).max(1);
        let mut others: Vec<ModelChoice> = self.settings.models.iter().skip(1).cloned().collect();
        others.sort_by_key(&flops);
        let until = self.left() * (1.0 - FOR_NETWORKS);
        let mut complete = true;
        for model in others {
            let name = model.model.clone();
            let pictures = judge.pictures() as f64;
            let guessed =
                costs.features - costs.forward + costs.forward * flops(&model) as f64 / own as f64;
            let recipe = with_model(&best.recipe, &model);
            let share = |seconds: f64, left: f64| (seconds * pictures, left - until);
            if self.leaves_out(judge, &recipe, &name, share(guessed, self.left()))? {
                complete = false;
                continue;
            }
            let forward = match self.forward_of(&recipe) {
                Ok(forward) => forward,
                Err(error) => {
                    self.session.progress().warn(&format!("{name}: left out: {error}"));
                    complete = false;
                    continue;
                }
            };
            let measured = costs.features - costs.forward + forward;
            if self.leaves_out(judge, &recipe, &name, share(measured, self.left()))? {
                complete = false;
                continue;
            }
            let name = joined(&best.name, &name);
            complete &= self.judge(judge, best, &name, Attempt::new(recipe, judge))?;
        }
        Ok(complete)
    }

    /// A larger input, which shows the network more of each picture (Touvron et al. 2019, "Fixing
    /// the train-test resolution discrepancy").
    pub(crate) fn size(
        &mut self,
        judge: &Judge,
        best: &mut Candidate,
        costs: &Costs,
    ) -> Result<bool> {
        if self.settings.preset != Preset::Best || self.base.size.is_some() {
            return Ok(true);
        }
        let own = best.recipe.clone().check()?.preprocessing().size;
        let size = larger(own);
        let name = joined(&best.name, &format!("size {size}"));
        let seconds =
            (costs.features + costs.forward * (LARGER * LARGER - 1.0)) * judge.pictures() as f64;
        let recipe = Recipe { size: Some(size), ..best.recipe.clone() };
        // Not every network takes every size.
        if recipe.clone().check().is_err() {
            return Ok(true);
        }
        if self.leaves_out(judge, &recipe, &name, (seconds, FOR_SIZE * self.left()))? {
            return Ok(false);
        }
        let judged_in = |costs: &Costs| {
            let effort = effort(costs, self.sizes(judge), judge.folds(), self.left() - seconds);
            effort.map_or(0, |(folds, ..)| folds)
        };
        let dearer = costs.scaled(costs.forward * LARGER * LARGER);
        let (with, without) = (judged_in(&dearer), judged_in(costs));
        if with < without && !judge.knows(&recipe, judge.folds())? {
            self.say(&format!(
                "{name}: left out, since fine-tuning with it could be judged in {with} folds instead of {without}"
            ));
            return Ok(false);
        }
        self.judge(judge, best, &name, Attempt::new(recipe, judge))
    }

    pub(crate) fn views(
        &mut self,
        judge: &Judge,
        best: &mut Candidate,
        costs: &Costs,
    ) -> Result<bool> {
        let mut complete = true;
        let share = match self.settings.preset {
            Preset::Best => FOR_VIEWS.0,
            _ => FOR_VIEWS.1,
        };
        let until = self.left() * (1.0 - share);
        let plain = best.clone();
        for augment in [Policy::Standard, Policy::Light] {
            let seconds = costs.features * f64::from(VIEWS - 1) * judge.pictures() as f64;
            let name = joined(&plain.name, &format!("{VIEWS} {augment} views"));
            let recipe = Recipe { views: VIEWS, augment, ..plain.recipe.clone() };
            if self.leaves_out(judge, &recipe, &name, (seconds, self.left() - until))? {
                complete = false;
                continue;
            }
            complete &= self.judge(judge, best, &name, Attempt::new(recipe, judge))?;
        }
        Ok(complete)
    }

    pub(crate) fn heads(&mut self, judge: &Judge, best: &mut Candidate) -> Result<bool> {
        let mut complete = true;
        let solved = best.clone();
        for head in [HeadChoice::Cosine, HeadChoice::Linear] {
            let name = joined(&solved.name, &format!("{head} head"));
            let recipe = Recipe { head, ..solved.recipe.clone() };
            complete &= self.judge(judge, best, &name, Attempt::new(recipe, judge))?;
        }
        Ok(complete)
    }

    /// All layers of the network, judged in as many folds as there is time for; again with more
    /// epochs if less time was needed than planned.
    pub(crate) fn fine_tuning(
        &mut self,
        judge: &Judge,
        best: &mut Candidate,
        mut costs: Costs,
    ) -> Result<bool> {
        if self.interrupted() {
            return Ok(false);
        }
        let sizes = self.sizes(judge);
        let frozen = best.clone();
        // New views in every epoch, of the kind that helped most, and of the kind that the frozen
        // network was better with.
        let own = match frozen.recipe.views {
            1 => Policy::Standard,
            _ => frozen.recipe.augment,
        };
        let mut policies = vec![Policy::TrivialAugment, own];
        let mut complete = true;
        let mut before = 0;
        let mut earlier = self.place.rounds().into_iter();
        loop {
            // What an earlier part of the search judged is not judged with other epochs.
            let repeated = earlier.next();
            let planned = || {
                let (folds, epochs, _) = effort(&costs, sizes, judge.folds(), self.left())?;
                (epochs >= 2 * before).then_some((folds, epochs))
            };
            let Some((folds, epochs)) = repeated.or_else(planned) else { break };
            before = epochs;
            if repeated.is_none() {
                self.place.add_round((folds, epochs))?;
            }
            for policy in policies.clone() {
                let each = costs.fine_tuning(sizes.without_fold(judge.folds()), epochs);
                let reserved = costs.fine_tuning(sizes, epochs);
                if repeated.is_none() && folds as f64 * each + reserved > self.left() {
                    complete = false;
                    break;
                }
                let recipe = tuned(&frozen.recipe, epochs, policy)?;
                let added = format!("{epochs} epochs of all layers with fresh {policy} views");
                let name = joined(&frozen.name, &added);
                let baseline = Some(frozen.clone());
                let attempt = Attempt { recipe, folds, each, reserved, baseline };
                complete &= self.judge(judge, best, &name, attempt)?;
                if let Some(own) = self.tried.last().filter(|own| own.name == name) {
                    costs = costs.corrected(own.seconds / own.folds.max(1) as f64 / each);
                }
            }
            // What is better goes on.
            if best.recipe.trains_network() {
                policies = vec![best.recipe.augment];
            }
        }
        if before == 0 {
            self.say("fine-tuning: there is no time for it");
            return Ok(false);
        }
        if best.recipe.trains_network() && self.chosen != best.name {
            complete &= self.train_tuned(best, &costs, sizes)?;
        }
        Ok(complete)
    }

    /// On everything; with fewer epochs if there is no time for all of them.
    fn train_tuned(&mut self, best: &mut Candidate, costs: &Costs, sizes: Sizes) -> Result<bool> {
        let judged = best.recipe.fine_tune.as_ref().map_or(1, |own| own.epochs);
        let fits = |epochs: &u32| costs.fine_tuning(sizes, *epochs) <= self.left();
        let Some(epochs) = (judged.div_ceil(2)..=judged).rev().find(fits) else {
            self.say("there is no time left to fine-tune on all pictures");
            return Ok(false);
        };
        if epochs < judged {
            self.say(&format!("there is time for {epochs} epochs of the {judged} judged"));
            best.recipe = tuned(&best.recipe, epochs, best.recipe.augment)?;
        }
        self.train(best)
    }
}

fn other_fit(fit: FitChoice) -> FitChoice {
    match fit {
        FitChoice::Crop => FitChoice::Squash,
        FitChoice::Squash => FitChoice::Crop,
    }
}

/// A recipe that goes on from a head to all layers, with new views in every epoch.
pub(crate) fn tuned(recipe: &Recipe, epochs: u32, augment: Policy) -> Result<Recipe> {
    let own = FineTune::lp_ft()?;
    // The folds decide whether it helps, on more pictures than a run's own validation part has. All
    // layers learn at one rate: in few epochs, slower ones hardly move (docs/presets.md). And to
    // the end: the rate falls to nothing, and few validation pictures cannot say when to stop.
    let interpolate = Interpolate::At(MIDDLE);
    let own = FineTune { epochs, patience: None, interpolate, layer_decay: 1.0, ..own };
    Ok(Recipe { views: 1, fresh_views: true, augment, fine_tune: Some(own), ..recipe.clone() })
}

/// The larger input for a network that has this one: a multiple of 32.
fn larger(size: u32) -> u32 {
    ((f64::from(size) * LARGER / 32.0).round() as u32).max(1) * 32
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
