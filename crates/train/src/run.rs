use std::{path::Path, sync::Arc, time::Instant};

use candle_core::DeviceLocation;
use image::RgbImage;
use serde::Serialize;
use taper_augment::Augmenter;
use taper_callbacks::{
    BestWeights, BestWeightsConfig, Callbacks, CsvHistory, EarlyStopping, EarlyStoppingConfig,
    JsonlHistory, StopReason, TerminateOnNan,
};
use taper_data::{Augment, Finding, FolderUse, Item};
use taper_graph::{Graph, ParameterCount};
use taper_metrics::Evaluation;
use taper_nn::{AdamConfig, DeviceChoice, open_device};
use taper_plan::Output;
use taper_report::{Curves, confusion};
use taper_zoo::resolve;

use crate::{
    Artefact, Backbone, CheckedRecipe, Error, Features, HeadTraining, Result, Session, Trained,
    artefact::Origin, evaluate_head, extract, open_data, run_folder::RunFolder, train_head,
};

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Backbone and head: `total` and so on.
    #[serde(flatten)]
    pub all: ParameterCount,
    /// The head alone.
    pub head: HeadCount,
}

/// Parameters of a head as Keras counts them: `total` holds the running statistics of BatchNorm too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HeadCount {
    /// Everything that is stored.
    pub total: usize,
    /// What is learned.
    pub trainable: usize,
}

/// What a training has to say for itself: the answer of `taper train --json`.
#[derive(Debug, Clone, Serialize)]
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
    /// Seconds for reading the pictures and computing their features.
    pub feature_seconds: f64,
    /// Seconds for training the head.
    pub head_seconds: f64,
    /// Seconds for everything.
    pub total_seconds: f64,
    /// Parameters.
    pub parameters: Counted,
    /// Pictures that could not be used and were left out.
    pub unreadable: Vec<Finding>,
    /// Remarks about pictures that were used all the same.
    pub remarks: Vec<Finding>,
    /// Figures on the validation pictures.
    pub validation: Evaluation,
}

/// Carries out a recipe into a new folder `out`.
///
/// The folder is made before the long work begins and removed again if the run fails. It then holds `recipe.toml`, `health.json`,
/// `history.csv`, `history.jsonl`, `evaluation.json`, `curves.{png,svg}`, `confusion.{png,svg}` and `model.safetensors`.
///
/// # Errors
/// Everything that [`Error`] knows; nothing is left behind then.
pub fn train(checked: CheckedRecipe, out: &Path, session: &Session) -> Result<Answer> {
    let start = Instant::now();
    let CheckedRecipe { recipe, model, weights, preprocessing } = checked;
    let progress = session.progress();
    let device = open_device(recipe.device)?;
    if recipe.device == DeviceChoice::Auto {
        let name = if device.is_cpu() { "the CPU" } else { "the first CUDA device" };
        progress.say(&format!("--device auto: {name}"));
    }
    let mut dataset = open_data(&recipe.data, FolderUse::Train)?;
    for remark in dataset.remarks() {
        progress.warn(remark);
    }
    let splits = dataset.splits(recipe.val, recipe.seed)?;
    let weights = resolve(model, &weights)?;
    let mut backbone = Backbone::new(
        &model.graph(),
        weights.source.as_ref(),
        preprocessing,
        Output::Features,
        recipe.precision,
        &device,
    )?;
    let mut folder = RunFolder::create(out)?;
    recipe.write(&folder.file("recipe.toml"))?;

    let validated_on = validated_on(&recipe, splits.val_is_test, &dataset, &splits.val);
    progress.say(&format!(
        "{} on {}: {} training, {} validation ({validated_on}), {} test pictures",
        model.name,
        recipe.data,
        splits.train.len(),
        splits.val.len(),
        splits.test.len(),
    ));
    progress.say(&format!("weights: {}; backbone on {}", weights.origin, backbone.kernels()));
    if splits.val_is_test {
        progress
            .warn("validation is on the test split, so no figure on untouched pictures remains");
    }

    // Every picture is decoded and passed through the backbone once, in one sweep.
    let feature_start = Instant::now();
    let mut items = Item::views(&splits.train, 0..recipe.views);
    items.extend(Item::untouched(&splits.val));
    items.extend(Item::untouched(&splits.test));
    let augmenter = Augmenter::new(recipe.augment.factors(), recipe.seed);
    let augment: Arc<dyn Augment> = Arc::new(move |picture: &RgbImage, view: u32, sample: u64| {
        augmenter.augment(picture, view, sample)
    });
    let shared = Arc::new(dataset.clone());
    let mut train = extract(&mut backbone, &shared, items, Some(augment), recipe.strict, session)?;
    drop(shared);
    let findings = std::mem::take(&mut train.findings);
    let splits = splits.without(&dataset, &findings)?;
    dataset.exclude(findings);
    let mut val = train.split_off(recipe.views as usize * splits.train.len());
    let test = val.split_off(splits.val.len());
    let feature_seconds = feature_start.elapsed().as_secs_f64();
    let (remarks, unreadable): (Vec<Finding>, Vec<Finding>) =
        dataset.findings().iter().cloned().partition(Finding::usable);
    report_findings(&unreadable, &remarks, session);
    crate::inspect::quick_check(&dataset, &folder.file("health.json"), session)?;

    let classes = dataset.classes().clone();
    let graph = recipe.head.graph(backbone.width(), classes.len());
    let settings = HeadTraining {
        epochs: recipe.epochs,
        batch_size: recipe.batch_size,
        optimizer: AdamConfig { learning_rate: recipe.learning_rate, ..AdamConfig::default() },
        seed: recipe.seed,
    };
    let mut callbacks = callbacks(&recipe, &folder)?;
    let trained = train_head(&graph, &train, &val, settings, &mut callbacks, &device, session)?;
    if trained.best_epoch.is_none()
        && let Some(reason) = trained.stopped.as_ref().filter(|r| **r != StopReason::Interrupted)
    {
        return Err(Error::Diverged {
            reason: reason.to_string(),
            learning_rate: recipe.learning_rate,
        });
    }

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
        backbone: model.backbone(),
        head: graph.clone(),
        weights: Origin { origin: weights.origin.clone(), sha256: weights.digest.clone() },
        recipe: recipe.clone(),
        data: dataset.fingerprint(),
    };
    let model_file = folder.file("model.safetensors");
    artefact.save(&model_file, weights.source.as_ref(), &trained.head.weights()?)?;
    write_json(&folder.file("evaluation.json"), &(&validation, &test))?;
    draw(&folder, &recipe, &trained, test.as_ref().unwrap_or(&validation))?;
    folder.keep();

    if let Some(reason) = &trained.stopped {
        progress.say(&reason.to_string());
    }
    let stopped = match trained.stopped.as_ref().map(StopReason::keyword) {
        None => Outcome::Completed,
        Some("nan") => Outcome::Nan,
        Some("interrupted") => Outcome::Interrupted,
        Some(_) => Outcome::Early,
    };
    Ok(Answer {
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
        feature_seconds,
        head_seconds: trained.seconds,
        total_seconds: start.elapsed().as_secs_f64(),
        parameters: Counted { all: count(&model.backbone(), &graph), head: head_count(&graph) },
        unreadable,
        remarks,
        validation,
    })
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

fn callbacks(recipe: &crate::Recipe, folder: &RunFolder) -> Result<Callbacks> {
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
    all.push(CsvHistory::new(folder.file("history.csv")));
    all.push(JsonlHistory::new(folder.file("history.jsonl")));
    Ok(all)
}

fn validated_on(
    recipe: &crate::Recipe,
    is_test: bool,
    dataset: &taper_data::Dataset,
    val: &[usize],
) -> String {
    use taper_core::Split;
    use taper_data::{DEFAULT_FRACTION, ValChoice};
    let own = val.first().and_then(|&i| dataset.samples()[i].split);
    match recipe.val {
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
            "{} picture(s) cannot be used and are left out (--strict refuses them):",
            unreadable.len()
        ));
    }
    for finding in unreadable.iter().chain(remarks).take(SHOWN) {
        progress.warn(&format!("  {}: {}", finding.path, finding.reason));
    }
    let more = (unreadable.len() + remarks.len()).saturating_sub(SHOWN);
    if more > 0 {
        progress.warn(&format!("  … and {more} more; --json names them all"));
    }
}

/// The course of the training, and what is taken for what.
fn draw(
    folder: &RunFolder,
    recipe: &crate::Recipe,
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

fn write_json(path: &Path, (validation, test): &(&Evaluation, &Option<Evaluation>)) -> Result<()> {
    let value = serde_json::json!({ "validation": validation, "test": test });
    let text = serde_json::to_string_pretty(&value).map_err(|e| Error::Artefact {
        file: path.display().to_string(),
        problem: e.to_string(),
    })?;
    crate::file::write_atomically(path, format!("{text}\n").as_bytes())
}
