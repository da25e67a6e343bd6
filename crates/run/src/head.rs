//! The first phase of a training: the head on the features of the frozen network.

use std::{sync::Arc, time::Instant};

use taper_callbacks::StopReason;
use taper_data::{Dataset, Item};
use taper_graph::{Graph, Weights};
use taper_metrics::Metrics;
use taper_train::{
    HeadLearner, Learner, LogisticFigures, RowBatches, Table, Trained, Trainer, on_the_way,
};

use crate::{
    Error, FromNames, LearningRate, Result, Session, extract,
    place::Place,
    prepare::{Prepared, Tables, views_of},
    run::{OwnCallbacks, Phase, Run},
    run_folder::RunFolder,
};

impl Run<'_> {
    /// The first phase: the head on the frozen network's features.
    pub(crate) fn train_head(
        &mut self,
        prepared: &Prepared,
        graph: &Graph,
        tables: &Tables,
        learning_rate: LearningRate,
        own: &mut OwnCallbacks,
    ) -> Result<Ended> {
        let recipe = prepared.checked.recipe();
        let classes = prepared.dataset.classes().len();
        let Tables { train, val, test, .. } = tables;
        let shared = Arc::new(prepared.dataset.clone());
        let settings = recipe.training().check()?;
        let mut batches = RowBatches::new(Arc::clone(train), classes, &settings)?;
        if recipe.fresh_views {
            batches = batches.fresh(fresh_views(prepared, &shared, self.session));
        }
        let names = prepared.names.as_ref();
        let counts = train.counts(classes);
        let phase = Phase { learning_rate, ..Phase::head(recipe, self.folder.path()) };
        match &prepared.place {
            Place::Cpu => {
                let mut learner = HeadLearner::new(graph, &counts, &settings)?;
                start(&mut learner, names)?;
                let trainer = Trainer::new(learner, batches, val, &settings)?;
                Ended::of(self.learn(trainer, &phase, own)?, val, test, names)
            }
            #[cfg(feature = "candle")]
            Place::Gpu(device, _) => {
                let mut learner =
                    taper_candle::DeviceLearner::new(graph, &counts, &settings, device)?;
                start(&mut learner, names)?;
                let trainer = Trainer::new(learner, batches, val, &settings)?;
                Ended::of(self.learn(trainer, &phase, own)?, val, test, names)
            }
        }
    }
}

/// What the training of the head came to.
pub(crate) struct Ended {
    pub(crate) weights: Weights,
    pub(crate) validation: Metrics,
    pub(crate) test: Option<Metrics>,
    pub(crate) epochs: u64,
    pub(crate) best_epoch: Option<u64>,
    pub(crate) stopped: Option<StopReason>,
    pub(crate) learning_rate: f64,
    pub(crate) seconds: f64,
    pub(crate) logistic: Option<LogisticFigures>,
    pub(crate) names: Option<FromNames>,
}

impl Ended {
    /// `names`: the weights of a head that started from the names of the classes.
    fn of<L>(
        trained: Trained<L>,
        val: &Table,
        test: &Table,
        names: Option<&Weights>,
    ) -> Result<Self>
    where
        L: Learner<Validation = Table>,
    {
        let Trained { mut learner, epochs, best_epoch, stopped, learning_rate, seconds, .. } =
            trained;
        let names = match names.filter(|_| best_epoch.is_some()) {
            Some(names) => {
                let blend = on_the_way(&mut learner, names, val)?;
                Some(FromNames { alpha: blend.alpha(), tried: blend.tried().to_vec() })
            }
            None => None,
        };
        Ok(Self {
            names,
            weights: learner.weights()?,
            validation: learner.measure(val)?,
            test: if test.is_empty() { None } else { Some(learner.measure(test)?) },
            epochs,
            best_epoch,
            stopped,
            learning_rate,
            seconds,
            logistic: None,
        })
    }
}

/// The weights of the head alone, trained as the recipe says, without a run folder that stays.
pub(crate) fn head_alone(
    prepared: &Prepared,
    graph: &Graph,
    tables: &Tables,
    session: &Session,
) -> Result<Weights> {
    let recipe = prepared.checked.recipe();
    if recipe.epochs == 0 {
        return Ok(untrained(prepared, graph, tables)?.weights);
    }
    if recipe.solves_head() {
        return Ok(solved(prepared, graph, tables, session)?.weights);
    }
    let place = tempfile::tempdir().map_err(Error::io("make", std::env::temp_dir()))?;
    let folder = RunFolder::create(&place.path().join("head").into(), recipe, None)?;
    let mut run = Run { folder, start: Instant::now(), session };
    // A search is for the rate of what comes after the head.
    let rate = LearningRate::Fixed(recipe.training().learning_rate);
    let trained = run.train_head(prepared, graph, tables, rate, &mut OwnCallbacks::new())?;
    match trained.stopped {
        Some(StopReason::Interrupted) => Err(Error::Interrupted),
        _ => Ok(trained.weights),
    }
}

/// A head that is solved on the features, not trained in steps.
pub(crate) fn solved(
    prepared: &Prepared,
    graph: &Graph,
    tables: &Tables,
    session: &Session,
) -> Result<Ended> {
    let start = Instant::now();
    let settings = prepared.checked.recipe().training().check()?;
    let groups = prepared.groups(&prepared.splits.train);
    let of_rows = (prepared.checked.recipe().views as usize, groups.as_deref());
    let (weights, figures) =
        taper_train::solve_head(graph, &tables.train, of_rows, &settings, session.watch())?;
    let counts = tables.train.counts(prepared.dataset.classes().len());
    let mut learner = HeadLearner::new(graph, &counts, &settings)?;
    learner.set_weights(&weights)?;
    let ended = Ended::of(Trained::without_epochs(learner), &tables.val, &tables.test, None)?;
    Ok(Ended { seconds: start.elapsed().as_secs_f64(), logistic: Some(figures), ..ended })
}

pub(crate) fn start<L: Learner>(learner: &mut L, names: Option<&Weights>) -> Result<()> {
    names.map_or(Ok(()), |names| Ok(learner.set_weights(names)?))
}

/// A head with its fresh weights, where only the second phase trains it.
pub(crate) fn untrained(prepared: &Prepared, graph: &Graph, tables: &Tables) -> Result<Ended> {
    let recipe = prepared.checked.recipe();
    let settings = recipe.training().check()?;
    let counts = tables.train.counts(prepared.dataset.classes().len());
    let mut learner = HeadLearner::new(graph, &counts, &settings)?;
    start(&mut learner, prepared.names.as_ref())?;
    if recipe.fine_tune.as_ref().is_some_and(|own| own.zero_head) {
        let mut weights = learner.weights()?;
        let last = graph.parameters().into_iter().filter(|p| p.node == graph.output());
        for tensor in last {
            let zeros = vec![0.0; tensor.shape.iter().product()];
            weights.insert(tensor.name, tensor.shape, zeros);
        }
        learner.set_weights(&weights)?;
    }
    let learning_rate = settings.settings().learning_rate;
    let ended = Ended::of(Trained::without_epochs(learner), &tables.val, &tables.test, None)?;
    Ok(Ended { learning_rate, ..ended })
}

/// The rows of an epoch that has views of its own.
fn fresh_views<'a>(
    prepared: &'a Prepared,
    dataset: &'a Arc<Dataset>,
    session: &Session,
) -> impl FnMut(u32) -> taper_train::Result<Table> + 'a {
    let muted = session.muted();
    move |epoch| {
        let recipe = prepared.checked.recipe();
        let items = Item::views(&prepared.splits.train, views_of(recipe, epoch));
        let views = prepared.views.clone();
        let backbone = prepared.backbone.as_ref();
        let extracted = extract(backbone, dataset, items, views, recipe.strict, &muted);
        match extracted {
            Ok(features) => Ok(features.table),
            Err(Error::Interrupted) => Err(taper_train::Error::Interrupted),
            Err(error) => Err(taper_train::Error::other(error)),
        }
    }
}
