use std::{path::Path, sync::Arc, time::Instant};

use taper_callbacks::{
    BestWeights, BestWeightsConfig, Callback, Callbacks, CsvHistory, EarlyStopping,
    EarlyStoppingConfig, JsonlHistory, ModelCheckpoint, ReduceLrOnPlateau, StopReason, TensorBoard,
    TerminateOnNan,
};
use taper_data::{Dataset, Item};
use taper_graph::Graph;
use taper_lr_finder::RangeTestResult;
use taper_metrics::Evaluation;
use taper_model::{Artefact, Figure, Figures, Origin};
use taper_report::{Curves, confusion};
use taper_train::{
    Batches, CheckpointFolder, HeadLearner, Learner, RowBatch, RowBatches, Table, Trained, Trainer,
};

use crate::{
    Answer, CheckedRecipe, Counted, Error, LearningRate, OutFolder, Outcome, Recipe, Result,
    Session, data_name,
    data_record::DataRecord,
    early, extract,
    file::write_json,
    place::Place,
    prepare::{Prepared, Tables, views_of},
    run_folder::RunFolder,
};

/// The answer of a run, in its folder. A run without it, or one that says that it was interrupted,
/// can be resumed.
pub(crate) const RESULT: &str = "result.json";

/// The caller's own callbacks, in the order in which they receive events: after those that stop
/// training and write histories, and before the one that asks for checkpoints, so that a checkpoint
/// includes the state of all of them.
pub type OwnCallbacks = Vec<Box<dyn Callback>>;

/// Carries out a recipe into a new folder `out`.
///
/// The folder is made before the long work begins and removed again if the run fails before there
/// is anything to resume from. At the end it holds `recipe.toml`, `dataset.json` (the pictures, by
/// which data that have moved are recognised), `health.json`, `history.csv`,
/// `history.jsonl`, `evaluation.json`, `result.json`, `curves.{png,svg}`, `confusion.{png,svg}`,
/// `model.safetensors`, the last `checkpoints`, and `lr_find.{json,png,svg}` if the learning rate
/// was found.
///
/// # Errors
/// Any [`Error`]. After [`Error::InterruptedRun`] the run can be [resumed](crate::resume()).
pub fn train(
    checked: CheckedRecipe,
    out: impl Into<OutFolder>,
    session: &Session,
) -> Result<Answer> {
    train_with(checked, out, OwnCallbacks::new(), session)
}

/// As [`train`], with the caller's own callbacks. Such a run is resumed with
/// [`resume_with`](crate::resume_with) and the same callbacks.
///
/// ```no_run
/// use taper_callbacks::{Action, Event, StopReason, from_fn};
/// use taper_run::{OwnCallbacks, Recipe, Session, train_with};
///
/// let ten_minutes = std::time::Instant::now() + std::time::Duration::from_secs(600);
/// let deadline = from_fn("deadline", move |event: &Event<'_>, actions: &mut Vec<Action>| {
///     if matches!(event, Event::EpochEnd { .. }) && std::time::Instant::now() > ten_minutes {
///         let reason = StopReason::Other { reason: "time is up".into() };
///         actions.push(Action::Stop { reason });
///     }
///     Ok(())
/// });
/// let recipe = Recipe { data: "photos".into(), ..Recipe::default() }.check()?;
/// let own: OwnCallbacks = vec![Box::new(deadline)];
/// train_with(recipe, std::path::Path::new("runs/photos"), own, &Session::quiet())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`train`], and any error of the callbacks.
pub fn train_with(
    checked: CheckedRecipe,
    out: impl Into<OutFolder>,
    own: OwnCallbacks,
    session: &Session,
) -> Result<Answer> {
    let start = Instant::now();
    let out = out.into();
    out.check()?;
    let prepared = Prepared::new(checked, session)?;
    let record = DataRecord::of(&prepared.dataset);
    let folder = RunFolder::create(&out, prepared.checked.recipe(), Some(&record))?;
    Run { folder, start, session }.carry_out(prepared, own)
}

/// A run that is being carried out.
pub(crate) struct Run<'a> {
    pub(crate) folder: RunFolder,
    pub(crate) start: Instant,
    pub(crate) session: &'a Session,
}

impl Run<'_> {
    pub(crate) fn carry_out(mut self, mut prepared: Prepared, own: OwnCallbacks) -> Result<Answer> {
        prepared.introduce(self.session);
        if prepared.checked.recipe().learning_rate == LearningRate::Auto {
            early::warn_about_finder(&prepared, self.session);
        }
        let start = Instant::now();
        let tables = prepared.features(self.session);
        let tables = tables.map_err(|error| resumable(error, &mut self.folder))?;
        let feature_seconds = start.elapsed().as_secs_f64();
        let health = self.folder.file("health.json");
        crate::inspect::quick_check(&prepared, &health, self.session)?;

        let recipe = prepared.checked.recipe();
        let classes = prepared.dataset.classes().len();
        let graph = recipe.head_graph(prepared.backbone.width(), classes);
        let Tables { train, val, test, .. } = &tables;
        let shared = Arc::new(prepared.dataset.clone());
        let settings = recipe.training().check()?;
        let mut batches = RowBatches::new(Arc::clone(train), classes, &settings)?;
        if recipe.fresh_views {
            batches = batches.fresh(fresh_views(&prepared, &shared, self.session));
        }
        let counts = train.counts(classes);
        let ended = match &prepared.place {
            Place::Cpu => {
                let learner = HeadLearner::new(&graph, &counts, &settings)?;
                let trainer = Trainer::new(learner, batches, val, &settings)?;
                self.learn(trainer, recipe, own, val, test)?
            }
            #[cfg(feature = "candle")]
            Place::Gpu(device, _) => {
                let learner = taper_candle::DeviceLearner::new(&graph, &counts, &settings, device)?;
                let trainer = Trainer::new(learner, batches, val, &settings)?;
                self.learn(trainer, recipe, own, val, test)?
            }
        };
        self.finish(&prepared, &tables, &graph, ended, feature_seconds)
    }

    /// Finds the learning rate, trains, and evaluates the weights that were kept.
    fn learn<L, B>(
        &mut self,
        mut trainer: Trainer<'_, L, B>,
        recipe: &Recipe,
        own: OwnCallbacks,
        val: &Table,
        test: &Table,
    ) -> Result<Ended>
    where
        L: Learner<Batch = RowBatch, Validation = Table>,
        B: Batches<Batch = RowBatch>,
    {
        let progress = self.session.progress();
        let checkpoints = self.folder.file("checkpoints");
        trainer.checkpoints(CheckpointFolder::new(&checkpoints));
        let (resumed, problems) = trainer.resume()?;
        for problem in problems {
            progress.warn(&format!("{problem}; an earlier checkpoint is used"));
        }
        if resumed {
            progress.say("training continues from the last checkpoint");
        } else if recipe.learning_rate == LearningRate::Auto {
            let range = recipe.lr_finder.range_test(trainer.steps_per_epoch())?;
            let found = trainer.find_rate(&range, self.session.watch());
            let found = found.map_err(|error| resumable(error.into(), &mut self.folder))?;
            write_finding(self.folder.path(), recipe, &found)?;
            progress.say(&format!(
                "learning rate {:.2e} ({}; lr_find.png)",
                found.chosen, found.method
            ));
            trainer.set_learning_rate(found.chosen);
        }
        let learning_rate = trainer.learning_rate();
        let mut callbacks = callbacks(recipe, &self.folder, own)?;
        let trained = trainer.train(&mut callbacks, self.session.watch()).inspect_err(|_| {
            // What was trained before a disk became full is not lost.
            if checkpoints.exists() {
                self.folder.keep();
            }
        })?;
        if trained.best_epoch.is_none()
            && let Some(reason) =
                trained.stopped.as_ref().filter(|r| **r != StopReason::Interrupted)
        {
            return Err(Error::Diverged { reason: reason.to_string(), learning_rate });
        }
        self.folder.keep();
        let Trained { mut learner, epochs, best_epoch, stopped, learning_rate, seconds } = trained;
        Ok(Ended {
            weights: learner.weights()?,
            validation: learner.measure(val)?,
            test: if test.is_empty() { None } else { Some(learner.measure(test)?) },
            epochs,
            best_epoch,
            stopped,
            learning_rate,
            seconds,
        })
    }

    /// Writes the artefact, the figures and the charts.
    fn finish(
        self,
        prepared: &Prepared,
        tables: &Tables,
        head: &Graph,
        ended: Ended,
        feature_seconds: f64,
    ) -> Result<Answer> {
        let Prepared { checked, dataset, weights, .. } = prepared;
        let recipe = checked.recipe();
        let classes = dataset.classes();
        let validation = ended.validation.evaluation(classes)?;
        let test = ended.test.as_ref().map(|test| test.evaluation(classes)).transpose()?;
        let artefact = Artefact {
            model: checked.model().name.into(),
            classes: classes.clone(),
            preprocessing: *checked.preprocessing(),
            precision: prepared.precision,
            backbone: checked.backbone().clone(),
            head: head.clone(),
            weights: Origin { origin: weights.origin.clone(), sha256: weights.digest.clone() },
            recipe: recipe.anywhere().to_toml()?,
            data: dataset.fingerprint(),
            figures: Some(Figures {
                validated_on: prepared.validated_on.clone(),
                validation: figure(&validation),
                test: test.as_ref().map(figure),
            }),
        };
        let file = self.folder.file("model.safetensors");
        artefact.save(&file, weights.source.as_ref(), &ended.weights)?;
        let evaluation = serde_json::json!({ "validation": validation, "test": test });
        write_json(&self.folder.file("evaluation.json"), &evaluation)?;
        draw(&self.folder, recipe, &ended, test.as_ref().unwrap_or(&validation))?;

        let progress = self.session.progress();
        if let Some(reason) = &ended.stopped {
            progress.say(&reason.to_string());
        }
        let stopped = Outcome::of(ended.stopped.as_ref());
        if stopped == Outcome::Interrupted {
            progress.say(&format!("{} can be resumed", self.folder.path().display()));
        }
        let answer = Answer {
            run: self.folder.path().display().to_string(),
            model: checked.model().name.into(),
            data: recipe.data.clone(),
            head: recipe.head.to_string(),
            weights: weights.origin.clone(),
            epochs: ended.epochs,
            best_epoch: ended.best_epoch,
            stopped,
            val_loss: validation.loss,
            val_accuracy: validation.accuracy,
            validated_on: prepared.validated_on.clone(),
            test,
            learning_rate: ended.learning_rate,
            seed: recipe.seed,
            device: prepared.place.name(),
            kernels: prepared.backbone.runs_on(),
            precision: prepared.precision,
            pictures: [tables.train.len(), tables.val.len(), prepared.splits.test.len()],
            cached: tables.cached,
            feature_seconds,
            head_seconds: ended.seconds,
            total_seconds: self.start.elapsed().as_secs_f64(),
            parameters: Counted::of(checked.backbone(), head),
            unreadable: tables.unreadable.clone(),
            remarks: tables.remarks.clone(),
            validation,
        };
        write_json(&self.folder.file(RESULT), &answer)?;
        Ok(answer)
    }
}

fn figure(evaluation: &Evaluation) -> Figure {
    let Evaluation { n, accuracy, loss, .. } = *evaluation;
    Figure { pictures: n, accuracy, loss }
}

/// What a training came to.
struct Ended {
    weights: taper_graph::Weights,
    validation: taper_metrics::Metrics,
    test: Option<taper_metrics::Metrics>,
    epochs: u64,
    best_epoch: Option<u64>,
    stopped: Option<StopReason>,
    learning_rate: f64,
    seconds: f64,
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

/// An interruption leaves a folder that can be resumed.
fn resumable(error: Error, folder: &mut RunFolder) -> Error {
    match error {
        Error::Interrupted => {
            folder.keep();
            Error::InterruptedRun { run: folder.path().into() }
        }
        other => other,
    }
}

/// The order matters: a checkpoint must include the state of the callbacks that stop training and
/// keep weights.
fn callbacks(recipe: &Recipe, folder: &RunFolder, own: OwnCallbacks) -> Result<Callbacks> {
    let mut all = Callbacks::new();
    all.push(BestWeights::new(BestWeightsConfig::default().check()?));
    all.push(TerminateOnNan);
    if let Some(patience) = recipe.patience {
        let config = EarlyStoppingConfig {
            monitor: "val_loss".into(),
            patience: u64::from(patience),
            min_delta: recipe.min_delta,
            ..EarlyStoppingConfig::default()
        };
        all.push(EarlyStopping::new(config.check()?));
    }
    if let Some(config) = &recipe.reduce_lr {
        all.push(ReduceLrOnPlateau::new(config.clone().check()?));
    }
    all.push(CsvHistory::new(folder.file("history.csv")));
    all.push(JsonlHistory::new(folder.file("history.jsonl")));
    if recipe.tensorboard {
        all.push(TensorBoard::new(folder.path()));
    }
    for callback in own {
        all.push_boxed(callback);
    }
    all.push(ModelCheckpoint::new(recipe.checkpoints.callback().check()?));
    Ok(all)
}

/// The charts: curves and confusion matrix.
fn draw(
    folder: &RunFolder,
    recipe: &Recipe,
    trained: &Ended,
    evaluation: &Evaluation,
) -> Result<()> {
    let history = folder.file("history.csv");
    if trained.epochs > 0 {
        let text = std::fs::read_to_string(&history).map_err(Error::io("read", &history))?;
        let curves = Curves {
            title: format!("{} on {}", recipe.model, data_name(&recipe.data)),
            subtitle: format!("{} head, seed {}", recipe.head, recipe.seed),
            epochs: Curves::epochs_from_csv(&text)?,
            best_epoch: trained.best_epoch,
            stopped_epoch: trained.stopped.is_some().then(|| trained.epochs - 1),
        };
        curves.draw().save(folder.path(), "curves").map_err(taper_report::Error::from)?;
    }
    let title = format!("{} on {}", recipe.model, data_name(&recipe.data));
    let picture = confusion(&title, evaluation)?;
    Ok(picture.save(folder.path(), "confusion").map_err(taper_report::Error::from)?)
}

pub(crate) fn write_finding(folder: &Path, recipe: &Recipe, found: &RangeTestResult) -> Result<()> {
    write_json(&folder.join("lr_find.json"), found)?;
    let title = format!("{} head of {} on {}", recipe.head, recipe.model, data_name(&recipe.data));
    let picture = found.plot(&title);
    Ok(picture.save(folder, "lr_find").map_err(taper_report::Error::from)?)
}
