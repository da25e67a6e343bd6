//! The second phase: layers of the network are trained too.

use std::{borrow::Cow, path::PathBuf, sync::Arc};

use taper_callbacks::{Every, StopReason};
use taper_core::OutOfRange;
use taper_data::Item;
use taper_grad::{BatchNormMode, Boundary, Head, Suffix, SuffixOptions, layer_decay, layer_groups};
use taper_graph::{Graph, WeightSource, Weights};
use taper_metrics::Metrics;
use taper_optim::{Span, Warmup};
use taper_plan::Output;
use taper_recipe::Interpolate;
use taper_train::{
    Blend, CheckedTraining, Learner, RowBatches, Rows, TrainedPart, Trainer, batch_ranges,
    measure_head,
};

use crate::{
    CheckpointSettings, Error, FineTune, FineTuned, Outcome, OwnCallbacks, Recipe, Result, Session,
    calibrate::{FinalRows, reference},
    extract,
    head::Ended,
    maps::{Keep, MapMaker, Maps},
    place::BackboneSpec,
    prepare::{Prepared, views_of},
    run::{Phase, Run},
    tuned_learner::{TunedLearner, device_room},
};

/// The folder of the phase in the run's folder.
pub(crate) const FINE_TUNE: &str = "fine-tune";

/// The weights that the phase ends with, and what they were measured with.
pub(crate) struct Tuned {
    pub(crate) head: Weights,
    /// The backbone's trained tensors, under their own names.
    pub(crate) layers: Weights,
    pub(crate) validation: Metrics,
    pub(crate) test: Option<Metrics>,
    /// Features of the finished network; none if the phase was interrupted.
    pub(crate) rows: Option<FinalRows>,
    pub(crate) stopped: Option<StopReason>,
    pub(crate) about: FineTuned,
}

/// The backbone's weights: its own trained tensors before those that it began with.
pub(crate) struct Layered<'a> {
    pub(crate) own: &'a Weights,
    pub(crate) rest: &'a dyn WeightSource,
}

impl WeightSource for Layered<'_> {
    fn names(&self) -> Vec<&str> {
        self.rest.names()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.own.shape(name).or_else(|| self.rest.shape(name))
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        self.own.values(name).or_else(|| self.rest.values(name))
    }
}

/// A learner at the beginning of the phase, with its pictures.
pub(crate) struct Start<'a> {
    pub(crate) learner: TunedLearner,
    pub(crate) batches: RowBatches<'a, Maps>,
    pub(crate) val: Maps,
    pub(crate) settings: CheckedTraining,
    /// Parameters that are trained, without the head's.
    trained: u64,
    keep: Keep,
}

/// The settings of the phase for these data: rates of the layers' groups, and epochs for a number
/// of steps.
pub(crate) fn settings(
    own: &FineTune,
    recipe: &Recipe,
    backbone: &Graph,
    boundary: Boundary,
    rows: usize,
) -> Result<CheckedTraining> {
    let mut training = own.training(recipe);
    let groups = layer_groups(backbone, boundary).len().max(1);
    let decay = match own.lowest_rate {
        Some(lowest) => lowest.powf(1.0 / groups as f64),
        None => own.layer_decay,
    };
    // Of several groups that fit, the last one counts: a recipe's own.
    let mut by_layer = layer_decay(backbone, boundary, decay);
    by_layer.append(&mut training.optimizer.groups);
    training.optimizer.groups = by_layer;
    let per_step = own.batch_size.saturating_mul(own.accumulate);
    let per_epoch = batch_ranges(rows, per_step).count().max(1) as u64;
    if let Some(steps) = own.steps {
        training.epochs = u32::try_from(steps.div_ceil(per_epoch)).unwrap_or(u32::MAX);
    }
    // A share of very few steps is no step at all.
    if let Some(Warmup { over: Span::Fraction(share), .. }) = training.schedule.warmup {
        let steps = share * (u64::from(training.epochs) * per_epoch) as f64;
        if steps.round() < 1.0 {
            training.schedule.warmup = None;
        }
    }
    Ok(training.check()?)
}

impl<'a> Start<'a> {
    /// Makes everything ready.
    pub(crate) fn new(
        prepared: &'a Prepared,
        boundary: Boundary,
        (graph, weights): (&Graph, &Weights),
        session: &Session,
    ) -> Result<Self> {
        let recipe = prepared.checked.recipe();
        let own = recipe.fine_tune.clone().unwrap_or_default();
        let backbone = prepared.checked.backbone();
        let classes = prepared.dataset.classes().len();
        let maker = Arc::new(MapMaker::new(prepared, session)?);
        let items = Item::views(&prepared.splits.train, views_of(recipe, 0));
        let val = Item::untouched(&prepared.splits.val);
        let memory = own.cache_memory * f64::from(1u32 << 30);
        // Views that are new in every epoch are read once: there is nothing to keep.
        let (keep, keep_val) = if recipe.fresh_views {
            (Keep::Nothing, maker.keep(val.len(), memory))
        } else {
            let keep = maker.keep(items.len() + val.len(), memory);
            (keep, keep)
        };
        let settings = settings(&own, recipe, backbone, boundary, items.len())?;
        if own.accumulate > 1 && items.len() <= own.batch_size {
            session.progress().warn(&format!(
                "an epoch of fine-tuning has only one batch, so `fine_tune.accumulate` has no effect: use a smaller `fine_tune.batch_size` than {}",
                items.len()
            ));
        }
        let train = Arc::new(maker.maps(items, keep, session)?);
        let val = maker.maps(val, keep_val, session)?;

        let size = prepared.checked.preprocessing().size as usize;
        let batch_norm = BatchNormMode::from(own.batch_norm);
        let mut part = TrainedPart {
            backbone,
            weights: prepared.weights.source.as_ref(),
            boundary,
            head: graph,
            head_weights: weights,
            size: [size; 2],
            batch_norm,
            room: 1,
        };
        part.room = match device_room(&prepared.place, &part, own.batch_size, prepared.precision)? {
            Some(room) => room,
            None => match room(&own, backbone, boundary, size)? {
                0 => {
                    session.progress().warn(&format!(
                        "a single picture takes more memory than the {} GiB of `fine_tune.memory`: batches are done picture by picture",
                        own.memory
                    ));
                    1
                }
                room => room,
            },
        };
        let mut counts = vec![0; classes];
        train.labels().iter().for_each(|label| counts[*label as usize] += 1);
        let (place, precision) = (&prepared.place, prepared.precision);
        let learner = TunedLearner::new(&part, &counts, &settings, place, precision)?;
        let trained = learner.trained();
        let mut batches = RowBatches::new(train, classes, &settings)?;
        if recipe.fresh_views {
            let session = session.muted();
            batches = batches.fresh(move |epoch| {
                let items = Item::views(&prepared.splits.train, views_of(recipe, epoch));
                maker.maps(items, Keep::Nothing, &session).map_err(taper_train::Error::other)
            });
        }
        Ok(Self { learner, batches, val, settings, trained, keep })
    }
}

/// For how many pictures of a batch there is memory at a time; 0 if not for one.
pub(crate) fn room(
    own: &FineTune,
    backbone: &Graph,
    boundary: Boundary,
    size: usize,
) -> Result<usize> {
    let batch_norm = BatchNormMode::from(own.batch_norm);
    let options = SuffixOptions { batch_norm, ..SuffixOptions::new([size; 2], 1) };
    let bytes = Suffix::bytes_per_picture(backbone, boundary, &options)
        .map_err(taper_train::Error::from)?;
    let room = (own.memory * f64::from(1u32 << 30) / bytes.max(1) as f64) as usize;
    if batch_norm == BatchNormMode::Trained && room < own.batch_size {
        let remedy = format!(
            "{} pictures at a time fit into {} GiB (`fine_tune.memory`), and statistics that are trained need the whole batch: use a smaller batch, more memory, or `fine_tune.batch_norm` frozen",
            room, own.memory
        );
        return Err(OutOfRange::new("fine_tune.batch_size", own.batch_size, remedy).into());
    }
    Ok(room)
}

/// Checks that each of the optimizer's groups has parameters that are trained.
pub(crate) fn check_groups(own: &FineTune, backbone: &Graph, boundary: Boundary) -> Result<()> {
    let trained: Vec<String> = backbone
        .parameters()
        .into_iter()
        .filter(|p| p.node >= boundary.first && p.kind.is_learnable())
        .map(|p| format!("backbone.{}", p.name))
        .collect();
    for group in &own.optimizer.groups {
        let prefix = &group.prefix;
        let of_head = prefix.starts_with("head.") || "head.".starts_with(prefix.as_str());
        if !of_head && !trained.iter().any(|name| name.starts_with(prefix)) {
            let remedy = "no parameter that is trained begins with it: they are named as in the model's file, backbone. before the layer's name, or head.";
            let field = "fine_tune.optimizer.groups.prefix";
            return Err(OutOfRange::new(field, format!("'{prefix}'"), remedy).into());
        }
    }
    Ok(())
}

impl Run<'_> {
    /// The second phase, from the weights that the head has.
    pub(crate) fn fine_tune(
        &mut self,
        prepared: &Prepared,
        graph: &Graph,
        head: &Ended,
        mut own_callbacks: OwnCallbacks,
    ) -> Result<Tuned> {
        let Some(boundary) = prepared.checked.boundary() else {
            return Err(OutOfRange::new("fine_tune", "missing", "set `from`").into());
        };
        let recipe = prepared.checked.recipe();
        let own = recipe.fine_tune.clone().unwrap_or_default();
        let progress = self.session.progress();
        let first = prepared.checked.backbone().nodes()[boundary.first].name.clone();
        let start = std::time::Instant::now();
        let begun = Start::new(prepared, boundary, (graph, &head.weights), self.session);
        let Start { mut learner, batches, val, settings, trained, keep } =
            begun.map_err(|error| crate::run::resumable(error, &mut self.folder))?;
        progress.say(&format!(
            "fine-tuning from '{first}' on: {} parameters beside the head's, {}",
            taper_graph::grouped(trained),
            match keep {
                Keep::Maps => "on maps that are computed once",
                Keep::Pixels if boundary.cut == 0 => "on pictures kept in memory",
                Keep::Pixels => "on pictures kept in memory: the frozen part runs in every epoch",
                Keep::Nothing => "reading the pictures in every epoch",
            }
        ));
        let before = learner.weights()?;
        let folder = self.folder.file(FINE_TUNE);
        std::fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        let phase = phase(recipe, &own, folder, &first);
        let trainer = Trainer::new(learner, batches, &val, &settings)?;
        let ended = self.learn(trainer, &phase, &mut own_callbacks)?;
        let interrupted = ended.stopped == Some(StopReason::Interrupted);
        let mut learner = ended.learner;
        let after = learner.weights()?;
        // Until the phase is over, the model is that of the head's training.
        let trained_well = ended.best_epoch.is_some() && !interrupted;
        let mut chosen = match trained_well {
            true => Blend::new(&before, after, &head.validation),
            false => Blend::none(&before, &head.validation),
        };
        if trained_well && own.soup.is_some() {
            chosen.soup(ended.kept, |weights| learner.measure_with(weights, &val))?;
        }
        match own.interpolate {
            _ if !trained_well => {}
            Interpolate::Try(true) => chosen.interpolate(|weights| {
                if self.session.interrupted() {
                    return Err(Error::InterruptedRun { run: self.folder.path().into() });
                }
                Ok(learner.measure_with(weights, &val)?)
            })?,
            fixed => {
                if let Interpolate::At(share) = fixed {
                    chosen.go_back_to(share);
                }
                chosen.measured(&learner.measure_with(chosen.weights(), &val)?);
            }
        }
        drop((learner, val));
        let (layers, head_weights) = parts(chosen.weights());
        let (validation, test, rows) = match interrupted {
            true => (head.validation.clone(), head.test.clone(), None),
            false => measure(prepared, graph, &layers, &head_weights, self.session)?,
        };
        let fixed = matches!(own.interpolate, Interpolate::At(_));
        let who = if fixed { "the recipe" } else { "validation" };
        match chosen.alpha() {
            _ if interrupted => {}
            0.0 => progress.say(
                "nothing of fine-tuning helps on the validation pictures: the head alone is kept",
            ),
            1.0 => {}
            alpha => progress.say(&format!(
                "{who} keeps {alpha} of the way from the head's training to the end of fine-tuning"
            )),
        }
        let accuracy = |metrics: &Metrics| metrics.accuracy().unwrap_or(f64::NAN);
        let about = FineTuned {
            from: first,
            trained_parameters: trained,
            kept: kept(keep).into(),
            epochs: ended.epochs,
            best_epoch: ended.best_epoch,
            stopped: Outcome::of(ended.stopped.as_ref()),
            learning_rate: ended.learning_rate,
            seconds: start.elapsed().as_secs_f64(),
            alpha: chosen.alpha(),
            tried: chosen.tried().to_vec(),
            soup: chosen.epochs().to_vec(),
            probe_val_accuracy: accuracy(&head.validation),
            probe_val_loss: head.validation.loss().unwrap_or(f64::NAN),
            probe_test_accuracy: head.test.as_ref().map(accuracy),
        };
        let stopped = ended.stopped;
        Ok(Tuned { head: head_weights, layers, validation, test, rows, stopped, about })
    }
}

fn kept(keep: Keep) -> &'static str {
    match keep {
        Keep::Maps => "maps",
        Keep::Pixels => "pixels",
        Keep::Nothing => "nothing",
    }
}

/// How the phase is steered.
fn phase<'a>(recipe: &'a Recipe, own: &FineTune, folder: PathBuf, first: &str) -> Phase<'a> {
    // An epoch of a network takes longer than one of a head.
    let checkpoints = match recipe.checkpoints.every {
        Every::Steps(_) => recipe.checkpoints,
        Every::Epochs(_) => CheckpointSettings { every: Every::Epochs(1), ..recipe.checkpoints },
    };
    Phase {
        recipe,
        folder,
        learning_rate: own.learning_rate,
        patience: own.patience,
        min_delta: 0.0,
        soup: own.soup.unwrap_or(0),
        checkpoints,
        reduce_lr: None,
        may_fail: true,
        part: format!("layers from {first} on"),
    }
}

/// The backbone's tensors and the head's, under their own names.
fn parts(weights: &Weights) -> (Weights, Weights) {
    let (mut backbone, mut head) = (Weights::new(), Weights::new());
    for name in weights.names() {
        let (Some(shape), Some(values)) = (weights.shape(name), weights.values(name)) else {
            continue;
        };
        let (own, part) = match name.strip_prefix("backbone.") {
            Some(own) => (own, &mut backbone),
            None => (name.strip_prefix("head.").unwrap_or(name), &mut head),
        };
        part.insert(own.to_owned(), shape.to_vec(), values.into_owned());
    }
    (backbone, head)
}

/// Figures and features of the finished classifier, computed as the artefact will be: with the
/// frozen plan.
fn measure(
    prepared: &Prepared,
    graph: &Graph,
    layers: &Weights,
    head: &Weights,
    session: &Session,
) -> Result<(Metrics, Option<Metrics>, Option<FinalRows>)> {
    let weights = Layered { own: layers, rest: prepared.weights.source.as_ref() };
    let spec = BackboneSpec {
        graph: prepared.checked.backbone(),
        weights: &weights,
        preprocessing: *prepared.checked.preprocessing(),
        output: Output::Features,
        precision: prepared.precision,
        kernels: prepared.checked.recipe().kernels,
        identified: false,
    };
    let backbone = prepared.place.backbone(&spec)?;
    let mut items = Item::untouched(&prepared.splits.val);
    items.extend(Item::untouched(&prepared.splits.test));
    items.extend(reference(prepared).1);
    let dataset = Arc::new(prepared.dataset.clone());
    // What is trained is finished: this short rest is not interrupted.
    let session = session.finishing();
    let made = extract(backbone.as_ref(), &dataset, items, None, false, &session)?;
    let mut val = made.table;
    let mut test = val.split_off(prepared.splits.val.len());
    let reference = test.split_off(prepared.splits.test.len()).values;
    let head = Head::loaded(graph, head)?;
    let of_test = (!test.is_empty()).then(|| measure_head(&head, &test)).transpose()?;
    Ok((measure_head(&head, &val)?, of_test, Some(FinalRows { reference, val, test })))
}
