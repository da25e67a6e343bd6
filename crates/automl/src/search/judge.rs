//! Candidates are judged by folds of the pictures that may be learned from; near copies of one
//! another are in one fold. Test pictures play no part.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use serde::{Deserialize, Serialize};
use taper_core::{Identity, Split, hex};
use taper_data::{Item, Splits};
use taper_model::OpenOptions;
use taper_recipe::Recipe;
use taper_run::{Drawn, Outcome, Session, extract, open_classifier, train_on, write_json};
use taper_train::head_logits;

use super::{near_copies::near_copies, score::Score};
use crate::{Error, Result, files};

/// How many folds there are, as far as the classes have pictures and groups for them.
const FOLDS: usize = 5;

/// The groups and folds, beside what was judged by them.
const GROUPS: &str = "groups.json";

/// How a candidate did in one fold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) scores: Vec<Score>,
    /// What the training and the judging took.
    pub(crate) seconds: f64,
    /// Epochs of fine-tuning; 0 without.
    pub(crate) epochs: u64,
}

/// The pictures that candidates are judged by.
pub(crate) struct Judge {
    drawn: Drawn,
    /// Those that may be learned from.
    learnable: Vec<usize>,
    /// The group of each.
    pub(crate) groups: Vec<u32>,
    /// The fold of each.
    fold_of: Vec<u8>,
    /// Those that can be judged by.
    usable: Vec<usize>,
    /// Where results are kept, so that a search that goes on finds them.
    folder: PathBuf,
}

impl Judge {
    /// Groups the pictures by the features of a finished run, and divides them into folds; none if
    /// a class has too few pictures, or only near copies of one.
    pub(crate) fn new(
        drawn: Drawn,
        model: &Path,
        recipe: &Recipe,
        folder: PathBuf,
        session: &Session,
    ) -> Result<Option<Self>> {
        fs::create_dir_all(&folder).map_err(taper_run::Error::io("make", &folder))?;
        let file = folder.join(GROUPS);
        let known = files::read_json::<Grouped>(&file).ok();
        let grouped = match known.filter(|known| known.is_of(&drawn)) {
            Some(known) => known,
            None => {
                // What was judged by other pictures says nothing.
                files::remove_run(&folder)?;
                fs::create_dir_all(&folder).map_err(taper_run::Error::io("make", &folder))?;
                let Some(new) = Grouped::new(&drawn, model, recipe, session)? else {
                    return Ok(None);
                };
                write_json(&file, &new)?;
                new
            }
        };
        let Grouped { ids, groups, fold_of } = grouped;
        let samples = drawn.dataset.samples();
        let place: HashMap<&str, usize> =
            samples.iter().enumerate().map(|(at, sample)| (sample.id.as_str(), at)).collect();
        let learnable: Vec<usize> =
            ids.iter().filter_map(|id| place.get(id.as_str())).copied().collect();
        let folds = usize::from(fold_of.iter().max().map_or(0, |last| last + 1));
        let usable = Vec::new();
        let mut judge = Self { drawn, learnable, groups, fold_of, usable, folder };
        judge.usable = (0..folds).filter(|&fold| judge.suffices(&judge.splits(fold))).collect();
        Ok((!judge.usable.is_empty()).then_some(judge))
    }

    /// Whether validation pictures are drawn at random.
    pub(crate) fn draws(&self) -> bool {
        let samples = self.drawn.dataset.samples();
        self.drawn.splits.val.iter().any(|&at| samples[at].split != Some(Split::Val))
    }

    /// How many folds can be judged by.
    pub(crate) fn folds(&self) -> usize {
        self.usable.len()
    }

    /// How many pictures may be learned from.
    pub(crate) fn pictures(&self) -> usize {
        self.learnable.len()
    }

    /// How many of them a training on everything validates on.
    pub(crate) fn validated(&self) -> usize {
        self.drawn.splits.val.len()
    }

    /// How many groups there are.
    pub(crate) fn group_count(&self) -> usize {
        self.groups.iter().collect::<HashSet<_>>().len()
    }

    /// The pictures for one fold: it is what a run is tested on.
    fn splits(&self, fold: usize) -> Splits {
        let of_fold = |at: usize| usize::from(self.fold_of[at]) == fold;
        let val: HashSet<usize> = self.drawn.splits.val.iter().copied().collect();
        let mut splits = Splits::default();
        for (at, &picture) in self.learnable.iter().enumerate() {
            match (of_fold(at), val.contains(&picture)) {
                (true, _) => splits.test.push(picture),
                (false, true) => splits.val.push(picture),
                (false, false) => splits.train.push(picture),
            }
        }
        splits
    }

    /// Whether a candidate can be trained without this fold: all classes are left to train on, and
    /// something to validate on.
    fn suffices(&self, splits: &Splits) -> bool {
        let counts = self.drawn.dataset.counts(&splits.train);
        let all = self.drawn.dataset.counts(&self.drawn.splits.train);
        !splits.val.is_empty() && counts.iter().zip(all).all(|(left, all)| *left > 0 || all == 0)
    }

    /// Where the result of a candidate in a fold is kept.
    fn file(&self, recipe: &Recipe, fold: usize) -> Result<PathBuf> {
        // The pictures may have moved.
        let anywhere = Recipe { data: String::new(), ..recipe.anywhere() };
        let identity = Identity::new("taper/candidate", 1).text("recipe", &anywhere.to_toml()?);
        let name = hex(&identity.number("fold", self.usable[fold] as u64).finish());
        Ok(self.folder.join(format!("{}.json", &name[..16])))
    }

    /// Whether a candidate has been judged in so many folds, by an earlier part of the search.
    pub(crate) fn knows(&self, recipe: &Recipe, folds: usize) -> Result<bool> {
        for fold in 0..folds {
            if !self.file(recipe, fold)?.is_file() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Trains a candidate without the pictures of a fold, and measures it on them; what was judged
    /// before is not judged again. None if it was interrupted.
    pub(crate) fn judge(
        &self,
        recipe: &Recipe,
        fold: usize,
        session: &Session,
    ) -> Result<Option<Judged>> {
        let kept = self.file(recipe, fold)?;
        let splits = self.splits(self.usable[fold]);
        if let Ok(judged) = files::read_json::<Judged>(&kept) {
            return Ok(Some(judged));
        }
        let start = Instant::now();
        let run = self.folder.join("run");
        files::remove_run(&run)?;
        let pictures = splits.test.clone();
        let drawn = Drawn { dataset: self.drawn.dataset.clone(), splits };
        // What is judged is gone afterwards: nobody looks at it.
        let quiet = session.muted().with_observer(None);
        let answer = match train_on(drawn, recipe.clone().check()?, &run, &quiet) {
            Ok(answer) if answer.stopped != Outcome::Interrupted => answer,
            Ok(_) => return files::remove_run(&run).map(|()| None),
            Err(error) if is_interruption(&error) => {
                return files::remove_run(&run).map(|()| None);
            }
            Err(error) => return Err(error.into()),
        };
        // Features of a network that is thrown away would only fill the cache.
        let quiet = if recipe.trains_network() { quiet.uncached() } else { quiet };
        let scores = self.scores(&run, recipe, &pictures, &quiet);
        files::remove_run(&run)?;
        let Some(scores) = scores? else { return Ok(None) };
        let epochs = answer.fine_tune.map_or(0, |own| own.epochs);
        let judged = Judged { scores, seconds: start.elapsed().as_secs_f64(), epochs };
        write_json(&kept, &judged)?;
        Ok(Some(judged))
    }

    fn scores(
        &self,
        run: &Path,
        recipe: &Recipe,
        pictures: &[usize],
        session: &Session,
    ) -> Result<Option<Vec<Score>>> {
        let options = OpenOptions { kernels: recipe.kernels, ..OpenOptions::default() };
        let classifier = open_classifier(run, recipe.device, &options, session)?;
        let Some(head) = classifier.head() else { return Ok(None) };
        let dataset = Arc::new(self.drawn.dataset.clone());
        let items = Item::untouched(pictures);
        let made = extract(classifier.backbone(), &dataset, items, None, false, session);
        let features = match made {
            Err(error) if is_interruption(&error) => return Ok(None),
            made => made?,
        };
        let logits = head_logits(head, &features.table).map_err(taper_run::Error::from)?;
        let temperature = classifier.calibration().map_or(1.0, |own| own.temperature);
        let classes = head.classes();
        let rows = features.items.iter().zip(logits.chunks_exact(classes));
        let scored = rows.zip(&features.table.labels).filter_map(|((item, logits), label)| {
            let at = self.learnable.binary_search(&item.sample).ok()?;
            Some(Score::of(at as u32, logits, *label, temperature))
        });
        Ok(Some(scored.collect()))
    }

    /// Trains a candidate on a handful of pictures; returns the seconds of fine-tuning, and the
    /// number of pictures. None if it was interrupted.
    pub(crate) fn burst(&self, recipe: &Recipe, session: &Session) -> Result<Option<(f64, usize)>> {
        let classes = self.drawn.dataset.classes().len();
        let whole = &self.drawn.splits;
        let splits = Splits {
            train: self.few(&whole.train, BURST.div_ceil(classes)),
            val: self.few(&whole.val, 1).into_iter().take(2).collect(),
            ..Splits::default()
        };
        let pictures = splits.train.len();
        let run = self.folder.join("run");
        files::remove_run(&run)?;
        let drawn = Drawn { dataset: self.drawn.dataset.clone(), splits };
        let quiet = session.muted().with_observer(None);
        let answer = train_on(drawn, recipe.clone().check()?, &run, &quiet);
        files::remove_run(&run)?;
        match answer {
            Ok(answer) if answer.stopped != Outcome::Interrupted => {
                Ok(answer.fine_tune.map(|own| (own.seconds, pictures)))
            }
            Ok(_) => Ok(None),
            Err(error) if is_interruption(&error) => Ok(None),
            Err(error) => Err(Error::Run(error)),
        }
    }

    /// So many pictures of each class, the first ones.
    fn few(&self, pictures: &[usize], per_class: usize) -> Vec<usize> {
        let samples = self.drawn.dataset.samples();
        let mut left = vec![per_class; self.drawn.dataset.classes().len()];
        let take = |picture: &&usize| {
            let left = &mut left[samples[**picture].label as usize];
            let taken = *left > 0;
            *left = left.saturating_sub(1);
            taken
        };
        pictures.iter().filter(take).copied().collect()
    }
}

/// The groups and folds of the pictures, kept so that a search goes on with the same ones.
#[derive(Debug, Serialize, Deserialize)]
struct Grouped {
    /// The pictures that may be learned from.
    ids: Vec<String>,
    groups: Vec<u32>,
    fold_of: Vec<u8>,
}

impl Grouped {
    /// None if a class has too few pictures or groups.
    fn new(
        drawn: &Drawn,
        model: &Path,
        recipe: &Recipe,
        session: &Session,
    ) -> Result<Option<Self>> {
        let wanted = wanted(drawn);
        let options = OpenOptions { kernels: recipe.kernels, ..OpenOptions::default() };
        let classifier = open_classifier(model, recipe.device, &options, session)?;
        let dataset = Arc::new(drawn.dataset.clone());
        let (items, quiet) = (Item::untouched(&wanted), session.muted());
        let features = extract(classifier.backbone(), &dataset, items, None, false, &quiet)?;
        let learnable: Vec<usize> = features.items.iter().map(|item| item.sample).collect();
        let table = &features.table;
        let samples = dataset.samples();
        let groups = named_groups(&learnable, samples)
            .unwrap_or_else(|| near_copies(&table.values, table.width, &table.labels));
        let folds = taper_logistic::folds(&table.labels, Some(&groups), FOLDS, recipe.seed);
        let ids = learnable.iter().map(|&at| samples[at].id.clone()).collect();
        Ok(folds.map(|fold_of| Self { ids, groups, fold_of }))
    }

    /// Whether all of these pictures are still among those that may be learned from.
    fn is_of(&self, drawn: &Drawn) -> bool {
        let samples = drawn.dataset.samples();
        let there: HashSet<&str> =
            wanted(drawn).into_iter().map(|at| samples[at].id.as_str()).collect();
        // Pictures that cannot be used are in the data, too.
        self.ids.iter().all(|id| there.contains(id.as_str()))
    }
}

/// The pictures that may be learned from.
fn wanted(drawn: &Drawn) -> Vec<usize> {
    let Splits { train, val, .. } = &drawn.splits;
    let mut wanted: Vec<usize> = train.iter().chain(val).copied().collect();
    wanted.sort_unstable();
    wanted
}

/// Pictures that a burst is trained on, at least.
pub(crate) const BURST: usize = 64;

/// Groups that the data or the user name; none if there are none.
fn named_groups(learnable: &[usize], samples: &[taper_data::Sample]) -> Option<Vec<u32>> {
    let mut numbers = std::collections::HashMap::new();
    let mut named = false;
    let groups = learnable
        .iter()
        .enumerate()
        .map(|(at, &picture)| match samples[picture].group.as_deref() {
            Some(group) => {
                named = true;
                *numbers.entry(group).or_insert(at as u32)
            }
            None => at as u32,
        })
        .collect();
    named.then_some(groups)
}

pub(crate) fn is_interruption(error: &taper_run::Error) -> bool {
    matches!(error, taper_run::Error::Interrupted | taper_run::Error::InterruptedRun { .. })
}
