use std::{path::Path, sync::Arc, time::Instant};

use candle_core::DeviceLocation;
use serde::{Deserialize, Serialize};
use taper_callbacks::{
    BestWeights, BestWeightsConfig, Callbacks, CsvHistory, EarlyStopping, EarlyStoppingConfig,
    JsonlHistory, ModelCheckpoint, ReduceLrOnPlateau, StopReason, TensorBoard, TerminateOnNan,
};
use taper_candle::DeviceChoice;
use taper_data::Item;
use taper_graph::{Graph, ParameterCount};
use taper_lr_finder::Finding;
use taper_metrics::Evaluation;
use taper_picture::Finding as Remark;
use taper_report::{Curves, confusion};

use crate::{
    Artefact, CheckedRecipe, CheckpointFolder, CrossValidation, Error, Features, HeadTrainer,
    LearningRate, Recipe, Result, Session, Trained,
    artefact::Origin,
    cross_validation::go_on,
    evaluate_head, extract,
    prepare::{Prepared, Tables, views_of},
    run_folder::RunFolder,
};

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All epochs were trained.
    Completed,
    /// A callback stopped it.
    Early,
    /// The loss was no longer a number.
    Nan,
    /// Somebody asked to stop.
    Interrupted,
}

/// Parameters of the whole classifier, and of its head alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Backbone and head: `total` and so on.
    #[serde(flatten)]
    pub all: ParameterCount,
    /// The head alone.
    pub head: HeadCount,
}

/// Parameters of a head as Keras counts them: `total` holds the running statistics of BatchNorm too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadCount {
    /// Everything that is stored.
    pub total: usize,
    /// What is learned.
    pub trainable: usize,
}

/// What a training has to say for itself: the answer of `taper train --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The run folder.
    pub run: String,
    /// The network.
    pub model: String,
    /// The data set.
    pub data: String,
    /// The head.
    pub head: String,
    /// Where the backbone's weights came from.
    pub weights: String,
    /// Epochs that were finished.
    pub epochs: u64,
    /// The epoch (from 0) whose weights were kept; `null` if none was finished.
    pub best_epoch: Option<u64>,
    /// How training ended.
    pub stopped: Outcome,
    /// Loss on the validation pictures with the weights that were kept.
    pub val_loss: f64,
    /// Accuracy on the validation pictures with the weights that were kept.
    pub val_accuracy: f64,
    /// What validated, e.g. `val`, or `0.15 of train`.
    pub validated_on: String,
    /// The honest figures: on test pictures that took no part. `null` if there are none.
    pub test: Option<Evaluation>,
    /// The optimizer's step size at the end.
    pub learning_rate: f64,
    /// The seed.
    pub seed: u64,
    /// Where it was computed.
    pub device: String,
    /// What the frozen backbone ran on.
    pub kernels: String,
    /// Pictures that were trained on (views counted), validated on, tested on.
    pub pictures: [usize; 3],
    /// How many features came from the cache.
    pub cached: usize,
    /// Seconds for reading the pictures and computing their features.
    pub feature_seconds: f64,
    /// Seconds for training the head.
    pub head_seconds: f64,
    /// Seconds for everything.
    pub total_seconds: f64,
    /// Parameters.
    pub parameters: Counted,
    /// Pictures that could not be used and were left out.
    pub unreadable: Vec<Remark>,
    /// Remarks about pictures that were used all the same.
    pub remarks: Vec<Remark>,
    /// Figures on the validation pictures.
    pub validation: Evaluation,
}

/// What resuming a run came to.
#[derive(Debug)]
pub enum Resumed {
    /// It went on to its end.
    Trained(Box<Answer>),
    /// It had come to its end before: the answer of then.
    Complete(Box<Answer>),
    /// It is a cross-validation: its folds have come to their end, now or before.
    CrossValidated(Box<CrossValidation>),
}

/// The answer of a run, in its folder. A run without it, or one that says that it was interrupted, can be resumed.
const RESULT: &str = "result.json";

/// Carries out a recipe into a new folder `out`.
///
/// The folder is made before the long work begins and removed again if the run fails before there is anything to go on
/// from. At the end it holds `recipe.toml`, `health.json`, `history.csv`, `history.jsonl`, `evaluation.json`, `result.json`,
/// `curves.{png,svg}`, `confusion.{png,svg}`, `model.safetensors`, the last `checkpoints`, and `lr_find.{json,png,svg}` if the
/// learning rate was found.
///
/// # Errors
/// Everything that [`Error`] knows. After [`Error::InterruptedRun`] the run can be [resumed](resume).
pub fn train(checked: CheckedRecipe, out: &Path, session: &Session) -> Result<Answer> {
    let start = Instant::now();
    let prepared = Prepared::new(checked, session)?;
    let folder = RunFolder::create(out, &prepared.checked.recipe)?;
    carry_out(prepared, folder, start, session)
}

/// Continues a run that was interrupted, in whatever way, to the very bytes of the uninterrupted one. In the folder of a
/// cross-validation, folds that are complete are taken as they are.
///
/// # Errors
/// [`Error::Resume`] if the folder is no run's or another process works in it, [`Error::Checkpoint`] if pictures or weights have
/// changed since, and everything that [`train`] can fail with.
pub fn resume(run: &Path, session: &Session) -> Result<Resumed> {
    let start = Instant::now();
    let (folder, recipe) = RunFolder::open(run)?;
    if recipe.folds.is_some() && recipe.fold.is_none() {
        let whole = go_on(recipe.check()?, folder, session)?;
        return Ok(Resumed::CrossValidated(Box::new(whole)));
    }
    if let Ok(text) = std::fs::read_to_string(folder.file(RESULT))
        && let Ok(result) = serde_json::from_str::<Answer>(&text)
        && result.stopped != Outcome::Interrupted
    {
        return Ok(Resumed::Complete(Box::new(result)));
    }
    let prepared = Prepared::new(recipe.check()?, session)?;
    carry_out(prepared, folder, start, session).map(|answer| Resumed::Trained(Box::new(answer)))
}

fn carry_out(
    mut prepared: Prepared,
    mut folder: RunFolder,
    start: Instant,
    session: &Session,
) -> Result<Answer> {
    let progress = session.progress();
    prepared.introduce(session);
    let feature_start = Instant::now();
    let tables = prepared.features(session).map_err(|error| resumable(error, &mut folder))?;
    let feature_seconds = feature_start.elapsed().as_secs_f64();
    let Tables { train, val, test, unreadable, remarks, cached } = tables;
    let Prepared { checked, device, dataset, splits, weights, mut backbone, validated_on, views } =
        prepared;
    let CheckedRecipe { recipe, model, backbone: backbone_graph, preprocessing, .. } = checked;
    crate::inspect::quick_check(&dataset, &folder.file("health.json"), session)?;

    let classes = dataset.classes().clone();
    let graph = recipe.head_graph(backbone.width(), classes.len());
    let shared = Arc::new(dataset.clone());
    let mut trainer =
        HeadTrainer::new(&graph, &train, &val, recipe.head_training().check()?, &device)?;
    if recipe.fresh_views {
        let muted = session.muted();
        let (shared, recipe, splits, backbone) = (&shared, &recipe, &splits, &mut backbone);
        trainer.fresh(move |epoch| {
            let items = Item::views(&splits.train, views_of(recipe, epoch));
            extract(backbone, shared, items, views.clone(), recipe.strict, &muted)
        });
    }
    let checkpoints = folder.file("checkpoints");
    trainer.checkpoints(CheckpointFolder::new(&checkpoints));
    let (resumed, problems) = trainer.resume()?;
    for problem in problems {
        progress.warn(&format!("{problem}; an earlier checkpoint is used"));
    }
    if resumed {
        progress.say("training goes on from the last checkpoint");
    } else if recipe.learning_rate == LearningRate::Auto {
        let steps = trainer.steps_per_epoch();
        let test = recipe.lr_finder.range_test(steps)?;
        let found =
            trainer.find_rate(&test, session).map_err(|error| resumable(error, &mut folder))?;
        write_finding(folder.path(), &recipe, &found)?;
        progress
            .say(&format!("learning rate {:.2e} ({}; lr_find.png)", found.chosen, found.method));
        trainer.set_learning_rate(found.chosen);
    }
    let learning_rate = trainer.learning_rate();
    let mut callbacks = callbacks(&recipe, &folder)?;
    let trained = trainer.train(&mut callbacks, session).inspect_err(|_| {
        // What was trained until a disk was full is not lost.
        if checkpoints.exists() {
            folder.keep();
        }
    })?;
    if trained.best_epoch.is_none()
        && let Some(reason) = trained.stopped.as_ref().filter(|r| **r != StopReason::Interrupted)
    {
        return Err(Error::Diverged { reason: reason.to_string(), learning_rate });
    }
    folder.keep();

    let measure = |features: &Features| -> Result<Evaluation> {
        Ok(evaluate_head(&trained.head, features, classes.len())?.evaluation(&classes)?)
    };
    let validation = measure(&val)?;
    let test = if test.is_empty() { None } else { Some(measure(&test)?) };
    let artefact = Artefact {
        model: model.name.into(),
        classes: classes.clone(),
        preprocessing,
        precision: recipe.precision,
        backbone: backbone_graph.clone(),
        head: graph.clone(),
        weights: Origin { origin: weights.origin.clone(), sha256: weights.digest.clone() },
        recipe: recipe.clone(),
        data: dataset.fingerprint(),
    };
    let model_file = folder.file("model.safetensors");
    artefact.save(&model_file, weights.source.as_ref(), &trained.head.weights()?)?;
    let evaluation = serde_json::json!({ "validation": validation, "test": test });
    write_json(&folder.file("evaluation.json"), &evaluation)?;
    draw(&folder, &recipe, &trained, test.as_ref().unwrap_or(&validation))?;

    if let Some(reason) = &trained.stopped {
        progress.say(&reason.to_string());
    }
    let stopped = match trained.stopped.as_ref().map(StopReason::keyword) {
        None => Outcome::Completed,
        Some("nan") => Outcome::Nan,
        Some("interrupted") => Outcome::Interrupted,
        Some(_) => Outcome::Early,
    };
    if stopped == Outcome::Interrupted {
        progress.say(&format!("go on with: taper train --resume {}", folder.path().display()));
    }
    let answer = Answer {
        run: folder.path().display().to_string(),
        model: model.name.into(),
        data: recipe.data.clone(),
        head: recipe.head.to_string(),
        weights: weights.origin.clone(),
        epochs: trained.epochs,
        best_epoch: trained.best_epoch,
        stopped,
        val_loss: validation.loss,
        val_accuracy: validation.accuracy,
        validated_on,
        test,
        learning_rate: trained.learning_rate,
        seed: recipe.seed,
        device: match device.location() {
            DeviceLocation::Cuda { gpu_id } => DeviceChoice::Cuda(gpu_id).to_string(),
            _ => DeviceChoice::Cpu.to_string(),
        },
        kernels: backbone.kernels(),
        pictures: [train.len(), val.len(), splits.test.len()],
        cached,
        feature_seconds,
        head_seconds: trained.seconds,
        total_seconds: start.elapsed().as_secs_f64(),
        parameters: Counted { all: count(&backbone_graph, &graph), head: head_count(&graph) },
        unreadable,
        remarks,
        validation,
    };
    write_json(&folder.file(RESULT), &answer)?;
    Ok(answer)
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

fn count(backbone: &Graph, head: &Graph) -> ParameterCount {
    ParameterCount::of(backbone, false) + ParameterCount::of(head, true)
}

fn head_count(head: &Graph) -> HeadCount {
    HeadCount {
        total: head.learnable_parameters() + head.running_statistics(),
        trainable: head.learnable_parameters(),
    }
}

/// The order matters: what ends training and what is kept must be in a checkpoint of the same moment.
fn callbacks(recipe: &Recipe, folder: &RunFolder) -> Result<Callbacks> {
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
    all.push(ModelCheckpoint::new(recipe.checkpoints.callback().check()?));
    Ok(all)
}

/// The course of the training, and what is taken for what.
fn draw(
    folder: &RunFolder,
    recipe: &Recipe,
    trained: &Trained,
    evaluation: &Evaluation,
) -> Result<()> {
    let history = folder.file("history.csv");
    if trained.epochs > 0 {
        let text = std::fs::read_to_string(&history).map_err(Error::io("read", &history))?;
        let curves = Curves {
            title: format!("{} on {}", recipe.model, recipe.data),
            subtitle: format!("{} head, seed {}", recipe.head, recipe.seed),
            epochs: Curves::epochs_from_csv(&text)?,
            best_epoch: trained.best_epoch,
            stopped_epoch: trained.stopped.is_some().then(|| trained.epochs - 1),
        };
        curves.draw().save(folder.path(), "curves").map_err(taper_report::Error::from)?;
    }
    let title = format!("{} on {}", recipe.model, recipe.data);
    let picture = confusion(&title, evaluation)?;
    Ok(picture.save(folder.path(), "confusion").map_err(taper_report::Error::from)?)
}

pub(crate) fn write_finding(folder: &Path, recipe: &Recipe, found: &Finding) -> Result<()> {
    write_json(&folder.join("lr_find.json"), found)?;
    let title = format!("{} head of {} on {}", recipe.head, recipe.model, recipe.data);
    let picture = found.plot(&title);
    Ok(picture.save(folder, "lr_find").map_err(taper_report::Error::from)?)
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::Artefact {
        file: path.display().to_string(),
        problem: e.to_string(),
    })?;
    crate::file::write_atomically(path, format!("{text}\n").as_bytes())
}
