use std::{collections::HashMap, ops::Range, sync::Arc};

use taper_augment::{Augmenter, Policy};
use taper_core::{DeviceChoice, FrozenBackbone, Identity, OutOfRange, Precision, Split, hex};
use taper_data::{DEFAULT_FRACTION, Dataset, Item, Splits, ValChoice};
use taper_graph::Weights;
use taper_picture::Finding;
use taper_sources::FolderUse;
use taper_train::Table;
use taper_zoo::{LoadedWeights, resolve_part};

use crate::{
    CheckedRecipe, Error, HeadChoice, MixChoice, Mixing, NamedViews, Recipe, Result, Session,
    Views, check_present, early, extract, named_head, open_data_with,
    place::{BackboneSpec, Place},
    precision::resolve_precision,
    remarks_of,
    source::remark,
};

/// Everything that a recipe needs before features can be computed: opened, checked, nothing
/// written.
pub(crate) struct Prepared {
    pub(crate) checked: CheckedRecipe,
    pub(crate) place: Place,
    pub(crate) dataset: Dataset,
    pub(crate) splits: Splits,
    pub(crate) weights: LoadedWeights,
    pub(crate) backbone: Box<dyn FrozenBackbone>,
    /// What it computes in.
    pub(crate) precision: Precision,
    /// A description of what is validated on.
    pub(crate) validated_on: String,
    /// What makes the views, if there are any.
    pub(crate) views: Option<NamedViews>,
    /// The weights of a head that starts from the names of the classes, once they were asked for.
    pub(crate) names: Option<Weights>,
}

/// The pictures of a recipe, opened and split: for several trainings on the same ones, or on
/// others than the recipe says.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// All pictures.
    pub dataset: Dataset,
    /// What each is for.
    pub splits: Splits,
}

impl Drawn {
    /// As the recipe says. What is to be said about the data is told to the session.
    ///
    /// # Errors
    /// If the data are not there or not understood, or do not suffice for the splits.
    pub fn new(checked: &CheckedRecipe, session: &Session) -> Result<Self> {
        let recipe = checked.recipe();
        check_present(recipe.data_place())?;
        let reading = recipe.reading(FolderUse::Train);
        let mut dataset = open_data_with(recipe.data_place(), reading, session)?;
        if let Some(expression) = &recipe.group_by {
            dataset = dataset.group_by(expression)?;
        }
        for remark in dataset.remarks() {
            session.progress().warn(remark);
        }
        let splits = match recipe.folds {
            Some(folds) => dataset.fold(folds, recipe.fold.unwrap_or(0), recipe.seed),
            None => dataset.splits(recipe.val, recipe.seed),
        };
        let splits = splits.map_err(|error| too_many(recipe, &dataset, error))?;
        Ok(Self { dataset, splits })
    }
}

/// The features of all pictures in use.
pub(crate) struct Tables {
    pub(crate) train: Arc<Table>,
    pub(crate) val: Table,
    pub(crate) test: Table,
    /// Pictures that could not be used and were left out.
    pub(crate) unreadable: Vec<Finding>,
    /// Remarks about pictures that were used anyway.
    pub(crate) remarks: Vec<Finding>,
    /// How many rows came from the cache.
    pub(crate) cached: usize,
}

impl Prepared {
    pub(crate) fn new(checked: CheckedRecipe, session: &Session) -> Result<Self> {
        let place = Self::place(&checked, session)?;
        let drawn = Drawn::new(&checked, session)?;
        Self::on(checked, drawn, place, session)
    }

    /// With these pictures instead of those that the recipe says.
    pub(crate) fn with(checked: CheckedRecipe, drawn: Drawn, session: &Session) -> Result<Self> {
        let place = Self::place(&checked, session)?;
        Self::on(checked, drawn, place, session)
    }

    fn place(checked: &CheckedRecipe, session: &Session) -> Result<Place> {
        let device = checked.recipe().device;
        check_present(checked.recipe().data_place())?;
        let place = Place::open(device)?;
        if device == DeviceChoice::Auto {
            session.progress().say(&format!("device auto: {}", place.name()));
        }
        Ok(place)
    }

    fn on(checked: CheckedRecipe, drawn: Drawn, place: Place, session: &Session) -> Result<Self> {
        let recipe = checked.recipe();
        let Drawn { dataset, splits } = drawn;
        let weights = resolve_part(checked.model(), checked.weights(), checked.backbone())?;
        // A cut may come after the network's own features.
        weights.check(checked.backbone())?;
        let spec = BackboneSpec {
            identified: session.cache().is_some(),
            ..BackboneSpec::features(&checked, weights.source.as_ref())
        };
        early::check_precision(recipe, &place)?;
        let precision = match recipe.trains_network() && place.is_cpu() {
            // Its layers are trained in f32 there.
            true => Precision::F32,
            false => resolve_precision(recipe.precision, &place, &spec, session)?,
        };
        let backbone = place.backbone(&BackboneSpec { precision, ..spec })?;
        let validated_on = validated_on(recipe, splits.val_is_test, &dataset, &splits.val);
        let views = views(recipe, &dataset, &splits.train)?;
        // The measured choice becomes part of the recipe, so that the run can be repeated.
        let checked = checked.with_precision(precision);
        let prepared = Self {
            place,
            dataset,
            splits,
            weights,
            backbone,
            precision,
            validated_on,
            views,
            names: None,
            checked,
        };
        early::check(&prepared)?;
        Ok(prepared)
    }

    /// Says what there is.
    pub(crate) fn introduce(&self, session: &Session) {
        let progress = session.progress();
        progress.say(&format!(
            "{} on {}: {} training, {} validation ({}), {} test pictures",
            self.checked.model().name,
            self.checked.recipe().data,
            self.splits.train.len(),
            self.splits.val.len(),
            self.validated_on,
            self.splits.test.len(),
        ));
        if let Some(layer) = &self.checked.recipe().cut {
            progress.say(&format!("features: {} from '{layer}'", self.backbone.width()));
        }
        progress.say(&format!(
            "weights: {}; backbone on {}",
            self.weights.origin,
            self.backbone.runs_on()
        ));
        let Recipe { augment, mix, views, fresh_views, .. } = self.checked.recipe();
        let mixed = match mix {
            MixChoice::None => String::new(),
            mix => format!(", {mix}"),
        };
        if *views == 1 && !fresh_views && !matches!(augment, Policy::None | Policy::Light) {
            progress.warn(&format!(
                "the recipe's augmentation, {augment}, has no effect with 1 of `views`, the unchanged picture: use 2 or more"
            ));
        }
        if *fresh_views {
            progress.say(&format!(
                "augmentation: {augment}{mixed}, {views} fresh view(s) of each picture in every epoch: the backbone runs in every epoch"
            ));
        } else if *views > 1 {
            progress.say(&format!(
                "augmentation: {augment}{mixed}, {views} fixed views of each picture: the same in every epoch, so that features are computed once"
            ));
        }
        self.about_splits().iter().for_each(|text| progress.warn(text));
    }

    /// What may surprise about the splits.
    fn about_splits(&self) -> Vec<String> {
        let mut about = Vec::new();
        if self.splits.val_is_test {
            about.push(
                "validation is on the test split, so no figure on untouched pictures remains"
                    .into(),
            );
        }
        let unused = self.splits.unused.len();
        if unused > 0 {
            about.push(format!(
                "the {unused} picture(s) of the split val are not used: validation is on {}",
                self.validated_on
            ));
        }
        about
    }

    /// Asks what the names of the classes make of the head, if it starts from them: before the
    /// features are computed, since much can be wrong with names.
    pub(crate) fn ask_names(&mut self, session: &Session) -> Result<()> {
        let recipe = self.checked.recipe();
        if recipe.head == HeadChoice::ZeroShot {
            let network = (self.checked.model(), self.checked.weights());
            let (classes, prompts) = (self.dataset.classes(), &recipe.prompts);
            let head = named_head(network, classes, prompts, recipe.kernels, session)?;
            self.names = Some(head.weights);
        }
        Ok(())
    }

    /// Every picture is decoded and passed through the backbone once, in one sweep, unless its
    /// features are cached.
    pub(crate) fn features(&mut self, session: &Session) -> Result<Tables> {
        let about = self.about_splits();
        let recipe = self.checked.recipe();
        let mut items = Item::views(&self.splits.train, views_of(recipe, 0));
        items.extend(Item::untouched(&self.splits.val));
        items.extend(Item::untouched(&self.splits.test));
        let shared = Arc::new(self.dataset.clone());
        let views = self.views.clone();
        let extracted =
            extract(self.backbone.as_ref(), &shared, items, views, recipe.strict, session)?;
        drop(shared);
        let splits = std::mem::take(&mut self.splits);
        self.splits = splits
            .without(&self.dataset, &extracted.findings)
            .map_err(|error| too_small_a_limit(self.checked.recipe(), error))?;
        let vanished = self.vanished(&splits, &extracted.findings);
        self.dataset.exclude(extracted.findings);
        let (mut train, cached) = (extracted.table, extracted.cached);
        let mut val = train.split_off(recipe.views as usize * self.splits.train.len());
        let test = val.split_off(self.splits.val.len());
        let (remarks, unreadable): (Vec<Finding>, Vec<Finding>) =
            self.dataset.findings().iter().cloned().partition(Finding::usable);
        let mut remarks: Vec<Finding> = vanished.into_iter().chain(remarks).collect();
        report_findings(&unreadable, &remarks, session);
        // Said when the data set was opened.
        let drift = self.drift([&train, &test]);
        drift.iter().for_each(|text| session.progress().warn(text));
        let about = about.iter().chain(&drift).map(|text| remark(&self.dataset, text));
        remarks.splice(0..0, remarks_of(&self.dataset).into_iter().chain(about));
        Ok(Tables { train: Arc::new(train), val, test, unreadable, remarks, cached })
    }
}

/// The rows of the unchanged pictures in the order of the data, evenly thinned out to [`JUDGED`].
fn in_order<'a>(table: &'a Table, pictures: &[usize], views: usize) -> Vec<&'a [f32]> {
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    order.sort_unstable_by_key(|&at| pictures[at]);
    let every = order.len().div_ceil(JUDGED).max(1);
    order.into_iter().step_by(every).map(|at| table.row(at * views)).collect()
}

/// Rows of a split that drift is judged by, at most.
const JUDGED: usize = 1000;

impl Prepared {
    /// That the test pictures are unlike the training pictures, if they are, by the rows of both.
    /// Nothing is chosen by it.
    fn drift(&self, [train, test]: [&Table; 2]) -> Option<String> {
        let Splits { train: of_train, test: of_test, .. } = &self.splits;
        let samples = self.dataset.samples();
        // Pictures that were held out of the training pictures are like them.
        if of_test.iter().any(|&at| samples[at].split != Some(Split::Test)) {
            return None;
        }
        let views = self.checked.recipe().views as usize;
        let (train_rows, test_rows) =
            (in_order(train, of_train, views), in_order(test, of_test, 1));
        let told = taper_health::told_apart(train.width, &train_rows, &test_rows)?;
        (told >= taper_health::STRONG_DRIFT).then(|| {
            format!(
                "drift: the pictures in test differ from those in train (their features tell them apart in {:.0} % of pairs), so that figures on validation pictures say little about them: 'taper inspect' shows what differs",
                100.0 * told
            )
        })
    }

    /// The number of each picture's group; none without groups.
    pub(crate) fn groups(&self, pictures: &[usize]) -> Option<Vec<u32>> {
        let samples = self.dataset.samples();
        let named = pictures.iter().map(|&i| samples[i].group.as_deref().ok_or(i));
        let named: Vec<std::result::Result<&str, usize>> = named.collect();
        named.iter().any(|group| group.is_ok()).then(|| {
            let mut numbers = HashMap::new();
            let number = |group| {
                let next = numbers.len() as u32;
                *numbers.entry(group).or_insert(next)
            };
            named.into_iter().map(number).collect()
        })
    }

    /// Classes that had pictures in a split until none of them turned out to be usable.
    fn vanished(&self, before: &Splits, findings: &[Finding]) -> Vec<Finding> {
        let mut vanished = Vec::new();
        for (name, before, after) in
            [("val", &before.val, &self.splits.val), ("test", &before.test, &self.splits.test)]
        {
            let counts = self.dataset.counts(before).into_iter().zip(self.dataset.counts(after));
            for (label, (had, has)) in counts.enumerate().filter(|(_, (had, has))| *had > *has) {
                let of_class = |f: &&Finding| {
                    f.sample.is_some_and(|i| {
                        before.contains(&i) && self.dataset.samples()[i].label as usize == label
                    })
                };
                let Some(first) = findings.iter().find(of_class).filter(|_| has == 0) else {
                    continue;
                };
                let class = self.dataset.classes().name(label as u32).unwrap_or_default();
                vanished.push(Finding {
                    path: format!("{name}/{class}"),
                    reason: format!(
                        "none of the {had} picture(s) of class '{class}' in {name} can be used, so the figures on {name} say nothing about this class"
                    ),
                    kind: first.kind,
                    sample: None,
                });
            }
        }
        vanished
    }
}

/// Settings that ask for more than the data have are wrong settings.
fn too_many(recipe: &Recipe, dataset: &Dataset, error: taper_data::Error) -> Error {
    let setting = |field: &'static str, value: String, remedy: &str| {
        OutOfRange::new(field, value, format!("{error}; {remedy}")).into()
    };
    match (&error, recipe.folds, &recipe.group_by) {
        (taper_data::Error::TooFewGroups { .. }, _, Some(expression)) => {
            let remedy = "use another expression, or leave it out";
            setting("group_by", format!("'{expression}'"), remedy)
        }
        (taper_data::Error::TooFewGroups { .. }, ..) if let Some(own) = dataset.group_column() => {
            let remedy = "name another column, or give none if the pictures are independent";
            setting("group_column", format!("'{own}'"), remedy)
        }
        (taper_data::Error::TooFew { .. }, Some(folds), _) => {
            setting("folds", folds.to_string(), "use fewer folds")
        }
        _ => error.into(),
    }
}

/// A limit of pixels that leaves nothing to train on is a wrong setting.
fn too_small_a_limit(recipe: &Recipe, error: taper_data::Error) -> Error {
    let limit = recipe.reading(FolderUse::Train).options.max_pixels;
    match limit.filter(|_| matches!(error, taper_data::Error::NoneUsable { .. })) {
        Some(limit) => {
            let remedy = format!("{error}; raise the limit, or leave it out");
            OutOfRange::new("max_pixels", limit, remedy).into()
        }
        None => error.into(),
    }
}

/// Which views of each training picture an epoch consists of.
pub(crate) fn views_of(recipe: &Recipe, epoch: u32) -> Range<u32> {
    if !recipe.fresh_views {
        return 0..recipe.views;
    }
    // View 0, the unchanged picture, is not among them.
    let first = epoch.saturating_mul(recipe.views).saturating_add(1);
    first..first.saturating_add(recipe.views)
}

fn views(recipe: &Recipe, dataset: &Dataset, training: &[usize]) -> Result<Option<NamedViews>> {
    if recipe.views == 1 && !recipe.fresh_views {
        return Ok(None);
    }
    let augmenter = Augmenter::of(recipe.augment, recipe.seed);
    let identity = Identity::new("taper/views", taper_augment::VERSION)
        .text("policy", &recipe.augment.to_string())
        .structure("factors", &augmenter.factors())
        .number("seed", recipe.seed);
    let identity = hex(&identity.finish());
    let mixing = Mixing::new(recipe.mix, recipe.seed, &Arc::new(dataset.clone()), training)?;
    let mixing = mixing.map(Arc::new);
    Ok(Some(NamedViews { augment: Arc::new(Views(augmenter)), identity, mixing }))
}

fn validated_on(recipe: &Recipe, is_test: bool, dataset: &Dataset, val: &[usize]) -> String {
    let own = val.first().and_then(|&i| dataset.samples()[i].split);
    match recipe.val {
        _ if recipe.folds.is_some() => {
            let folds = recipe.folds.unwrap_or(0);
            format!("fold {} of {folds}, from 0", recipe.fold.unwrap_or(0))
        }
        _ if is_test => "the test split".into(),
        ValChoice::Fraction(fraction) => format!("{fraction} of train"),
        _ if own == Some(Split::Val) => "the split val".into(),
        _ => format!("{DEFAULT_FRACTION} of train"),
    }
}

fn report_findings(unreadable: &[Finding], remarks: &[Finding], session: &Session) {
    const SHOWN: usize = 10;
    let progress = session.progress();
    if !unreadable.is_empty() {
        progress.warn(&format!(
            "{} picture(s) cannot be used and are left out (`strict` refuses them):",
            unreadable.len()
        ));
    }
    for finding in unreadable.iter().chain(remarks).take(SHOWN) {
        progress.warn(&format!("  {}: {}", finding.path, finding.reason));
    }
    let more = (unreadable.len() + remarks.len()).saturating_sub(SHOWN);
    if more > 0 {
        progress.warn(&format!("  … and {more} more; the answer lists them all"));
    }
}
