//! What can be wrong with a recipe for these data, found before any features are computed.

use taper_core::{OutOfRange, Precision};
use taper_data::ValChoice;
use taper_graph::Op;
use taper_optim::Span;
use taper_recipe::BatchNormChoice;
use taper_sources::NO_GROUPS;
use taper_train::batch_ranges;

use crate::{
    FineTune, LearningRate, PrecisionChoice, Recipe, Result, Session, fine_tune, place::Place,
    prepare::Prepared,
};

/// Fewer training pictures than this, and the learning-rate finder sees each of them so often that
/// its curve shows how fast they are memorised.
const HANDFUL: usize = 50;

/// Checks every setting that depends on the classes and on the number of pictures.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) names the first one that does not fit.
pub(crate) fn check(prepared: &Prepared) -> Result<()> {
    let Prepared { checked, dataset, splits, .. } = prepared;
    let recipe = checked.recipe();
    let classes = dataset.classes().len();
    let views = recipe.views as usize;
    let counts: Vec<usize> = dataset.counts(&splits.train).iter().map(|n| n * views).collect();
    recipe.loss.check(&counts)?;
    let labels: Vec<u32> = splits.train.iter().map(|i| dataset.samples()[*i].label).collect();
    recipe.sampling.check_rows(&labels, classes)?;
    let steps = steps(recipe, splits.train.len());
    recipe.schedule.check(u64::from(recipe.training().epochs), steps as u64)?;
    if recipe.learning_rate == LearningRate::Auto {
        recipe.lr_finder.range_test(steps)?;
    }
    let rows = splits.train.len() * views;
    if let (Some(own), Some(boundary)) = (&recipe.fine_tune, checked.boundary()) {
        let settings = fine_tune::settings(own, recipe, checked.backbone(), boundary, rows)?;
        let training = settings.settings();
        let steps = batch_ranges(rows, own.batch_size.saturating_mul(own.accumulate)).count();
        let epochs = u64::from(training.epochs);
        if training.schedule.check(epochs, steps as u64).is_err() {
            let warmup = training.schedule.warmup.map_or(0.0, |warmup| match warmup.over {
                Span::Steps(steps) => steps as f64,
                Span::Epochs(share) | Span::Fraction(share) => share,
            });
            let remedy = format!(
                "the whole phase has {} step(s): warm up for fewer, or train for more `fine_tune.epochs`",
                epochs * steps as u64
            );
            return Err(OutOfRange::new("fine_tune.schedule.warmup", warmup, remedy).into());
        }
        check_epochs(own, training.epochs)?;
        fine_tune::check_groups(own, checked.backbone(), boundary)?;
        if prepared.place.is_cpu() {
            let size = checked.preprocessing().size as usize;
            fine_tune::room(own, checked.backbone(), boundary, size)?;
        }
        let head = recipe.head_graph(prepared.backbone.width(), classes);
        let norm = head.nodes().iter().any(|node| matches!(node.op, Op::BatchNorm(_)));
        if own.batch_norm == BatchNormChoice::Train && own.batch_size == 1 && norm {
            let remedy = "the head's BatchNorm cannot be trained on one picture: use 2 or more, or frozen statistics";
            return Err(OutOfRange::new("fine_tune.batch_size", 1, remedy).into());
        }
    }
    if recipe.accumulate > 1 && rows <= recipe.batch_size {
        let remedy = format!(
            "an epoch has only one batch of {rows} rows, so there is nothing to accumulate: use a smaller `batch_size`, or leave it out"
        );
        return Err(OutOfRange::new("accumulate", recipe.accumulate, remedy).into());
    }
    let named = recipe.source.group_column.as_deref().filter(|name| *name != NO_GROUPS);
    for (field, value) in [("group_by", recipe.group_by.as_deref()), ("group_column", named)] {
        let Some(value) = value.filter(|_| recipe.folds.is_none() && !draws(prepared)) else {
            continue;
        };
        let remedy = format!(
            "no split is drawn here, since the data say what to train on and {} is validated on: draw one with `val` and a fraction, or with `folds`, or leave it out",
            prepared.validated_on
        );
        return Err(OutOfRange::new(field, format!("'{value}'"), remedy).into());
    }
    Ok(())
}

/// Checks what a number of steps makes of settings in epochs.
fn check_epochs(own: &FineTune, epochs: u32) -> Result<()> {
    let Some(steps) = own.steps else { return Ok(()) };
    let refuse = |field: &'static str, value: usize, problem: &str| {
        let remedy = format!(
            "{steps} steps are {epochs} epoch(s) of these pictures, {problem}, or leave it out"
        );
        Err(OutOfRange::new(field, value, remedy).into())
    };
    if let Some(patience) = own.patience.filter(|patience| *patience >= epochs) {
        let problem = "so it could never stop early: use fewer than that";
        return refuse("fine_tune.patience", patience as usize, problem);
    }
    match own.soup {
        Some(soup) if soup > epochs as usize => {
            refuse("fine_tune.soup", soup, "so there are not so many to average: use fewer")
        }
        _ => Ok(()),
    }
}

/// Checks that layers of the network can be trained in this precision where the run takes place.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) if not.
pub(crate) fn check_precision(recipe: &Recipe, place: &Place) -> Result<()> {
    match recipe.precision {
        PrecisionChoice::Auto if recipe.trains_network() && place.is_cpu() => {
            let remedy = "a network is fine-tuned in f32 on the CPU, so there is nothing to choose from: leave it out";
            Err(OutOfRange::new("precision", "auto", remedy).into())
        }
        PrecisionChoice::Fixed(precision)
            if recipe.trains_network() && place.is_cpu() && precision != Precision::F32 =>
        {
            let remedy = "a network is fine-tuned in f32 on the CPU: leave it out";
            Err(OutOfRange::new("precision", precision, remedy).into())
        }
        _ => Ok(()),
    }
}

/// Whether any split was drawn at random.
fn draws(prepared: &Prepared) -> bool {
    let Prepared { checked, dataset, splits, .. } = prepared;
    let drawn = |indices: &[usize]| indices.iter().any(|i| dataset.samples()[*i].split.is_none());
    let of_train =
        splits.val.iter().any(|i| dataset.samples()[*i].split == Some(taper_core::Split::Train));
    matches!(checked.recipe().val, ValChoice::Fraction(_))
        || of_train
        || drawn(&splits.train)
        || drawn(&splits.val)
}

/// Steps of the optimizer in an epoch of this many pictures.
fn steps(recipe: &Recipe, pictures: usize) -> usize {
    let rows = pictures * recipe.views as usize;
    batch_ranges(rows, recipe.batch_size.saturating_mul(recipe.accumulate)).count()
}

/// What to say about a search for a learning rate on a handful of pictures.
pub(crate) fn about_finder(prepared: &Prepared) -> Option<String> {
    let pictures = prepared.splits.train.len();
    if pictures >= HANDFUL {
        return None;
    }
    let recipe = prepared.checked.recipe();
    let finder = &recipe.lr_finder;
    let steps = steps(recipe, pictures).max(1);
    let passes = finder.epochs.unwrap_or(finder.steps.div_ceil(steps));
    let default = if recipe.trains_network() { "0.0003" } else { "0.001" };
    Some(format!(
        "the learning-rate finder has only {pictures} pictures, and sees each of them {passes} times: its curve shows how fast these few are memorised, and carries nothing about a good rate for training; keep the default rate, {default}, or compare rates by the validation loss"
    ))
}

/// What to say about a search on one of several folds, if none was asked for.
pub(crate) fn about_fold(prepared: &Prepared) -> Option<String> {
    let recipe = prepared.checked.recipe();
    let folds = recipe.folds.filter(|_| recipe.fold.is_none())?;
    Some(format!(
        "the rate is looked for in one of the {folds} folds, without the pictures of fold 0: `fold` chooses another"
    ))
}

/// Says it.
pub(crate) fn warn_about_finder(prepared: &Prepared, session: &Session) -> Option<String> {
    let remark = about_finder(prepared)?;
    session.progress().warn(&remark);
    Some(remark)
}
