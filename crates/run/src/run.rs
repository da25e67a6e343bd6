use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Instant,
};

use taper_callbacks::{
    BestWeights, BestWeightsConfig, Callback, Callbacks, CsvHistory, EarlyStopping,
    EarlyStoppingConfig, JsonlHistory, ModelCheckpoint, ReduceLrOnPlateau, ReduceLrOnPlateauConfig,
    StopReason, TensorBoard, TerminateOnNan, TopWeights,
};
use taper_core::Fault;
use taper_data::DataRecord;
use taper_grad::Head;
use taper_graph::{Graph, Weights};
use taper_lr_finder::RangeTestResult;
use taper_metrics::{Evaluation, Metrics};
use taper_model::{Artefact, Figure, Figures, FineTuning};
use taper_report::{Curves, EpochFigures, Kept, confusion, reliability};
use taper_train::{Batches, CheckpointFolder, Learner, Trained, Trainer};

use crate::{
    Answer, Calibrated, CheckedRecipe, CheckpointSettings, Counted, Drawn, Error, FineTuned,
    LearningRate, OutFolder, Outcome, Recipe, Result, Session,
    calibrate::{FinalRows, calibrate},
    data_name, data_record, early,
    fine_tune::{FINE_TUNE, Layered, Tuned},
    finished,
    head::{Ended, solved, untrained},
    origin::origin,
    prepare::{Prepared, Tables},
    run_folder::RunFolder,
    source::remark,
    write_json,
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
/// which data that have moved are recognised), `health.json`, `history.csv`, `history.jsonl`,
/// `evaluation.json`, `result.json`, `curves.{png,svg}`, `confusion.{png,svg}`,
/// `reliability.{png,svg}`, `model.safetensors`, the last `checkpoints`, and
/// `lr_find.{json,png,svg}` if the learning rate was found.
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
    let (start, out) = (Instant::now(), out.into());
    out.check()?;
    let prepared = Prepared::new(checked, session)?;
    begin(prepared, &out, start, own, session)
}

/// As [`train`], on these pictures instead of those that the recipe says. The recipe in the run
/// folder knows nothing of them, so that such a run cannot be repeated or resumed.
///
/// # Errors
/// As [`train`].
pub fn train_on(
    drawn: Drawn,
    checked: CheckedRecipe,
    out: impl Into<OutFolder>,
    session: &Session,
) -> Result<Answer> {
    let (start, out) = (Instant::now(), out.into());
    out.check()?;
    let prepared = Prepared::with(checked, drawn, session)?;
    begin(prepared, &out, start, OwnCallbacks::new(), session)
}

fn begin(
    prepared: Prepared,
    out: &OutFolder,
    start: Instant,
    own: OwnCallbacks,
    session: &Session,
) -> Result<Answer> {
    let record = DataRecord::of(&prepared.dataset);
    let folder = RunFolder::create(out, prepared.checked.recipe(), Some(&record))?;
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
        let asked = prepared.checked.recipe();
        let tuned = asked.fine_tune.as_ref().filter(|_| asked.trains_network());
        let searched = asked.learning_rate == LearningRate::Auto
            || tuned.is_some_and(|tuned| tuned.learning_rate == LearningRate::Auto);
        let about = searched.then(|| early::warn_about_finder(&prepared, self.session)).flatten();
        prepared.ask_names(self.session).map_err(|error| resumable(error, &mut self.folder))?;
        let start = Instant::now();
        let tables = prepared.features(self.session);
        let mut tables = tables.map_err(|error| resumable(error, &mut self.folder))?;
        let feature_seconds = start.elapsed().as_secs_f64();
        data_record::note_contents(self.folder.path(), &prepared.dataset)?;
        let health = self.folder.file("health.json");
        let misleading = crate::quick_check::quick_check(&prepared, &health, self.session)?;
        tables.remarks.extend(about.iter().map(|text| remark(&prepared.dataset, text)));
        tables.remarks.extend(misleading.iter().map(|text| remark(&prepared.dataset, text)));

        let recipe = prepared.checked.recipe();
        let classes = prepared.dataset.classes().len();
        let graph = recipe.head_graph(prepared.backbone.width(), classes);
        let mut own = own;
        let head = match recipe.epochs {
            // Only where the network is trained after it, or the names of the classes are enough.
            0 => {
                let head = untrained(&prepared, &graph, &tables);
                let head = head.map_err(|error| resumable(error, &mut self.folder))?;
                if prepared.checked.boundary().is_none() {
                    self.folder.keep();
                }
                head
            }
            _ if recipe.solves_head() => {
                let solved = solved(&prepared, &graph, &tables, self.session);
                let head = solved.map_err(|error| resumable(error, &mut self.folder))?;
                self.folder.keep();
                head
            }
            _ => {
                let rate = recipe.learning_rate;
                let trained = self.train_head(&prepared, &graph, &tables, rate, &mut own);
                trained.map_err(|error| resumable(error, &mut self.folder))?
            }
        };
        let tuned = match prepared.checked.boundary() {
            Some(_) if head.stopped != Some(StopReason::Interrupted) => {
                if let Some(reason) = &head.stopped {
                    self.session.progress().say(&reason.to_string());
                }
                let tuned = self.fine_tune(&prepared, &graph, &head, own);
                Some(tuned.map_err(|error| resumable(error, &mut self.folder))?)
            }
            _ => None,
        };
        let answer = self.finish(&prepared, &tables, &graph, head, tuned, feature_seconds);
        answer.map_err(|error| resumable(error, &mut self.folder))
    }

    /// Finds the learning rate and trains: one phase.
    pub(crate) fn learn<L, B>(
        &mut self,
        mut trainer: Trainer<'_, L, B>,
        phase: &Phase<'_>,
        own: &mut OwnCallbacks,
    ) -> Result<Trained<L>>
    where
        L: Learner,
        B: Batches<Batch = L::Batch>,
    {
        let progress = self.session.progress();
        let checkpoints = phase.folder.join("checkpoints");
        trainer.checkpoints(CheckpointFolder::new(&checkpoints));
        let (resumed, problems) = trainer.resume()?;
        for problem in problems {
            progress.warn(&format!("{problem}; an earlier checkpoint is used"));
        }
        if resumed {
            progress.say("training continues from the last checkpoint");
        } else if phase.learning_rate == LearningRate::Auto {
            let range = phase.recipe.lr_finder.range_test(trainer.steps_per_epoch())?;
            let found = trainer.find_rate(&range, self.session.watch());
            let found = found.map_err(|error| resumable(error.into(), &mut self.folder))?;
            write_finding(&phase.folder, &phase.trained(), &found)?;
            let plot = phase.folder.join("lr_find.png");
            let plot = plot.strip_prefix(self.folder.path()).unwrap_or(&plot).display();
            progress.say(&format!("learning rate {:.2e} ({}; {plot})", found.chosen, found.method));
            trainer.set_learning_rate(found.chosen);
        }
        let learning_rate = trainer.learning_rate();
        let (mut callbacks, place) = callbacks(phase, std::mem::take(own))?;
        let trained = trainer.train(&mut callbacks, self.session.watch()).inspect_err(|_| {
            // What was trained before a disk became full is not lost.
            if checkpoints.exists() {
                self.folder.keep();
            }
        })?;
        own.extend(callbacks.into_boxed().drain(place));
        if trained.best_epoch.is_none()
            && !phase.may_fail
            && let Some(reason) =
                trained.stopped.as_ref().filter(|r| **r != StopReason::Interrupted)
        {
            return Err(Error::Diverged { reason: reason.to_string(), learning_rate });
        }
        self.folder.keep();
        Ok(trained)
    }

    /// Writes the artefact, the figures and the charts.
    fn finish(
        &self,
        prepared: &Prepared,
        tables: &Tables,
        head: &Graph,
        mut ended: Ended,
        tuned: Option<Tuned>,
        feature_seconds: f64,
    ) -> Result<Answer> {
        let Prepared { checked, dataset, weights, .. } = prepared;
        let recipe = checked.recipe();
        let classes = dataset.classes();
        let Final { weights: own, layers, validation, test, rows, stopped, about } =
            Final::of(&mut ended, tuned);
        let interrupted = Outcome::of(stopped.as_ref()) == Outcome::Interrupted;
        let (finished, rows) = (Head::loaded(head, &own)?, rows.as_ref());
        let calibrated = calibrate(prepared, tables, rows, &finished, interrupted, self.session)?;
        let (calibration, calibrated) = calibrated.unzip();
        let validation = validation.evaluation(classes)?;
        let test = test.as_ref().map(|test| test.evaluation(classes)).transpose()?;
        let fine_tuning = match &about {
            Some(own) if own.stopped != Outcome::Interrupted => {
                Some(fine_tuning(own, &ended, prepared)?)
            }
            _ => None,
        };
        let artefact = Artefact {
            model: checked.model().name.into(),
            classes: classes.clone(),
            preprocessing: *checked.preprocessing(),
            precision: prepared.precision,
            backbone: checked.backbone().clone(),
            head: head.clone(),
            weights: origin(checked, weights),
            recipe: recipe.anywhere().to_toml()?,
            data: dataset.fingerprint(),
            figures: Some(Figures {
                validated_on: prepared.validated_on.clone(),
                validation: (&validation).into(),
                test: test.as_ref().map(Figure::from),
            }),
            fine_tuning,
            calibration,
        };
        let backbone = Layered { own: &layers, rest: weights.source.as_ref() };
        artefact.save(&self.folder.file("model.safetensors"), &backbone, &own)?;
        let evaluation = serde_json::json!({
            "validation": validation, "test": test, "calibrated": calibrated,
        });
        write_json(&self.folder.file("evaluation.json"), &evaluation)?;
        let shown = (test.as_ref().unwrap_or(&validation), calibrated.as_ref());
        draw(&self.folder, recipe, &ended, about.as_ref(), shown)?;
        let progress = self.session.progress();
        if let Some(reason) = &stopped {
            progress.say(&reason.to_string());
        }
        let stopped = Outcome::of(stopped.as_ref());
        if interrupted {
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
            head_stopped: Outcome::of(ended.stopped.as_ref()),
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
            logistic: ended.logistic,
            names: ended.names,
            total_seconds: self.start.elapsed().as_secs_f64(),
            parameters: Counted::of(checked.backbone(), head, about.as_ref()),
            fine_tune: about,
            calibrated,
            unreadable: tables.unreadable.clone(),
            remarks: tables.remarks.clone(),
            validation,
        };
        write_json(&self.folder.file(RESULT), &answer)?;
        if !interrupted {
            let own = (&answer, &finished, artefact.calibration.as_ref());
            finished::show(self.folder.path(), (prepared, tables, rows), own, self.session)?;
        }
        Ok(answer)
    }
}

/// The second phase as the model records it, after what the first one came to.
fn fine_tuning(own: &FineTuned, head: &Ended, prepared: &Prepared) -> Result<FineTuning> {
    let classes = prepared.dataset.classes();
    let measured = |metrics: &Metrics| Ok::<_, Error>(Figure::from(&metrics.evaluation(classes)?));
    Ok(FineTuning {
        from: own.from.clone(),
        trained_parameters: own.trained_parameters,
        alpha: own.alpha,
        before: Figures {
            validated_on: prepared.validated_on.clone(),
            validation: measured(&head.validation)?,
            test: head.test.as_ref().map(measured).transpose()?,
        },
    })
}

/// What goes into the artefact.
struct Final {
    /// The head's.
    weights: Weights,
    /// The backbone's tensors that were trained.
    layers: Weights,
    validation: Metrics,
    test: Option<Metrics>,
    /// Features of the finished network, where it was trained too.
    rows: Option<FinalRows>,
    stopped: Option<StopReason>,
    about: Option<FineTuned>,
}

impl Final {
    fn of(head: &mut Ended, tuned: Option<Tuned>) -> Self {
        match tuned {
            Some(Tuned { head, layers, validation, test, rows, stopped, about }) => {
                Self { weights: head, layers, validation, test, rows, stopped, about: Some(about) }
            }
            None => Self {
                weights: std::mem::take(&mut head.weights),
                layers: Weights::new(),
                validation: head.validation.clone(),
                test: head.test.take(),
                rows: None,
                stopped: head.stopped.clone(),
                about: None,
            },
        }
    }
}

/// One phase of a training.
pub(crate) struct Phase<'a> {
    pub(crate) recipe: &'a Recipe,
    /// Where its files go.
    pub(crate) folder: PathBuf,
    pub(crate) learning_rate: LearningRate,
    pub(crate) patience: Option<u32>,
    pub(crate) min_delta: f64,
    /// Of how many epochs the weights are kept beside the best one's.
    pub(crate) soup: usize,
    pub(crate) checkpoints: CheckpointSettings,
    pub(crate) reduce_lr: Option<&'a ReduceLrOnPlateauConfig>,
    /// Whether there is something to keep if not even one epoch ends well.
    pub(crate) may_fail: bool,
    /// The part that is trained, in words.
    pub(crate) part: String,
}

impl<'a> Phase<'a> {
    pub(crate) fn head(recipe: &'a Recipe, folder: &Path) -> Self {
        Self {
            recipe,
            folder: folder.to_path_buf(),
            learning_rate: recipe.learning_rate,
            patience: recipe.patience,
            min_delta: recipe.min_delta,
            soup: 0,
            checkpoints: recipe.checkpoints,
            reduce_lr: recipe.reduce_lr.as_ref(),
            may_fail: false,
            part: format!("{} head", recipe.head),
        }
    }

    /// The headline of its plots.
    fn trained(&self) -> String {
        format!("{} of {} on {}", self.part, self.recipe.model, data_name(&self.recipe.data))
    }
}

/// An interruption leaves a folder that can be resumed.
pub(crate) fn resumable(error: Error, folder: &mut RunFolder) -> Error {
    let run = folder.path().to_path_buf();
    match error {
        Error::Interrupted => {
            folder.keep();
            Error::InterruptedRun { run }
        }
        Error::InterruptedRun { .. } | Error::Diverged { .. } | Error::Broken { .. } => error,
        other if folder.is_kept() && !other.is_usage() => {
            Error::Broken { run, source: other.into() }
        }
        other => other,
    }
}

/// The order matters: a checkpoint must include the state of the callbacks that stop training and
/// keep weights.
fn callbacks(phase: &Phase<'_>, own: OwnCallbacks) -> Result<(Callbacks, Range<usize>)> {
    let Phase { recipe, folder, .. } = phase;
    let mut all = Callbacks::new();
    all.push(BestWeights::new(BestWeightsConfig::default().check()?));
    for callback in TopWeights::of(phase.soup, &BestWeightsConfig::default())? {
        all.push(callback);
    }
    all.push(TerminateOnNan);
    if let Some(patience) = phase.patience {
        let config = EarlyStoppingConfig {
            monitor: "val_loss".into(),
            patience: u64::from(patience),
            min_delta: phase.min_delta,
            ..EarlyStoppingConfig::default()
        };
        all.push(EarlyStopping::new(config.check()?));
    }
    if let Some(config) = phase.reduce_lr {
        all.push(ReduceLrOnPlateau::new(config.clone().check()?));
    }
    all.push(CsvHistory::new(folder.join("history.csv")));
    all.push(JsonlHistory::new(folder.join("history.jsonl")));
    if recipe.tensorboard {
        all.push(TensorBoard::new(folder));
    }
    let first = all.names().count();
    let place = first..first + own.len();
    for callback in own {
        all.push_boxed(callback);
    }
    all.push(ModelCheckpoint::new(phase.checkpoints.callback().check()?));
    Ok((all, place))
}

/// The charts: curves, confusion matrix and reliability.
fn draw(
    folder: &RunFolder,
    recipe: &Recipe,
    head: &Ended,
    tuned: Option<&FineTuned>,
    (evaluation, calibrated): (&Evaluation, Option<&Calibrated>),
) -> Result<()> {
    let read = |epochs: u64, path: PathBuf| match epochs {
        0 => Ok(Vec::new()),
        _ => {
            let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            Ok::<_, Error>(Curves::epochs_from_csv(&text)?)
        }
    };
    let mut epochs = read(head.epochs, folder.file("history.csv"))?;
    let mut kept = head.best_epoch.map_or(Kept::None, Kept::Epoch);
    let (mut stopped, mut last) = (head.stopped.is_some(), head.epochs);
    if let Some(tuned) = tuned {
        let path = folder.file(FINE_TUNE).join("history.csv");
        let after = read(tuned.epochs, path)?;
        epochs
            .extend(after.into_iter().map(|e| EpochFigures { epoch: e.epoch + head.epochs, ..e }));
        stopped = tuned.stopped != Outcome::Completed;
        kept = tuned.kept_after(head.epochs).unwrap_or(kept);
        last += tuned.epochs;
    }
    if !epochs.is_empty() {
        let curves = Curves {
            title: format!("{} on {}", recipe.model, data_name(&recipe.data)),
            subtitle: match tuned {
                Some(own) => format!(
                    "{} head, fine-tuned from '{}' on, seed {}",
                    recipe.head, own.from, recipe.seed
                ),
                None => format!("{} head, seed {}", recipe.head, recipe.seed),
            },
            epochs,
            kept,
            stopped_epoch: (stopped && last > 0).then(|| last - 1),
            phase_change: tuned.filter(|_| head.epochs > 0).map(|_| head.epochs),
        };
        curves.draw().save(folder.path(), "curves").map_err(taper_report::Error::from)?;
    }
    let title = format!("{} on {}", recipe.model, data_name(&recipe.data));
    let picture = confusion(&title, evaluation)?;
    picture.save(folder.path(), "confusion").map_err(taper_report::Error::from)?;
    let Some(own) = calibrated else { return Ok(()) };
    let judged = own.test.as_ref().unwrap_or(&own.validation);
    let picture = reliability(&title, &judged.before, &judged.after);
    Ok(picture.save(folder.path(), "reliability").map_err(taper_report::Error::from)?)
}

pub(crate) fn write_finding(folder: &Path, title: &str, found: &RangeTestResult) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    write_json(&folder.join("lr_find.json"), found)?;
    let picture = found.plot(title);
    Ok(picture.save(folder, "lr_find").map_err(taper_report::Error::from)?)
}
