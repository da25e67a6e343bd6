use std::sync::Arc;

use serde::Serialize;
use taper_lr_finder::{CheckedRangeTest, RangeTestResult, Suggestions};
use taper_picture::Finding;
use taper_train::{Batches, HeadLearner, Learner, RowBatches, Trainer};

use crate::{
    CheckedRecipe, OutFolder, Recipe, Result, Session, data_name, early,
    fine_tune::Start,
    head::{head_alone, start},
    place::Place,
    prepare::{Prepared, Tables},
    run::write_finding,
};

/// The result of a search for a learning rate: the answer of `taper lr-find`.
#[derive(Debug, Clone, Serialize)]
pub struct FoundRate {
    /// What each method suggests.
    pub suggestions: Suggestions,
    /// The suggestion of the requested method.
    pub chosen: f64,
    /// Which method that is.
    pub method: String,
    /// The smallest and the largest suggestion over the sweeps.
    pub spread: [f64; 2],
    /// How many steps were made.
    pub points: usize,
    /// The picture of the curve.
    pub plot: String,
    /// How many features came from the cache.
    pub cached: usize,
    /// Seconds for reading the pictures and computing their features.
    pub feature_seconds: f64,
    /// Seconds for the search itself.
    pub seconds: f64,
    /// Remarks about the search as a whole, e.g. that it had too few pictures to mean anything.
    pub about: Vec<String>,
    /// Pictures that could not be used and were left out.
    pub unreadable: Vec<Finding>,
    /// Remarks about pictures that were used anyway.
    pub remarks: Vec<Finding>,
}

/// Finds a learning rate for a recipe and writes `lr_find.{json,png,svg}` into a new folder `out`.
///
/// # Errors
/// Any [`Error`](crate::Error); nothing is left behind.
pub fn find_rate(
    checked: CheckedRecipe,
    out: impl Into<OutFolder>,
    session: &Session,
) -> Result<FoundRate> {
    let out = out.into();
    out.check()?;
    let mut prepared = Prepared::new(checked, session)?;
    prepared.introduce(session);
    let about = [early::warn_about_finder(&prepared, session), early::about_fold(&prepared)];
    about[1].iter().for_each(|remark| session.progress().warn(remark));
    prepared.ask_names(session)?;
    let start = std::time::Instant::now();
    let tables = prepared.features(session)?;
    let feature_seconds = start.elapsed().as_secs_f64();
    let recipe = prepared.checked.recipe();
    let start = std::time::Instant::now();
    let found = sweep(&prepared, &tables, session)?;
    let seconds = start.elapsed().as_secs_f64();
    let on = format!("{} on {}", recipe.model, data_name(&recipe.data));
    let title = match &recipe.fine_tune {
        Some(own) if recipe.trains_network() => format!("fine-tuning ({}) of {on}", own.from),
        _ => format!("{} head of {on}", recipe.head),
    };
    let (out, ()) = out.make(|folder| write_finding(folder, &title, &found))?;
    Ok(FoundRate {
        suggestions: found.suggestions,
        chosen: found.chosen,
        method: found.method.to_string(),
        spread: [found.spread.low, found.spread.high],
        points: found.points,
        plot: out.join("lr_find.png").display().to_string(),
        cached: tables.cached,
        feature_seconds,
        seconds,
        about: about.into_iter().flatten().collect(),
        unreadable: tables.unreadable,
        remarks: tables.remarks,
    })
}

fn sweep(prepared: &Prepared, tables: &Tables, session: &Session) -> Result<RangeTestResult> {
    let recipe = prepared.checked.recipe();
    let classes = prepared.dataset.classes().len();
    let graph = recipe.head_graph(prepared.backbone.width(), classes);
    if let Some(boundary) = prepared.checked.boundary() {
        // The rate of fine-tuning is looked for where it begins: after the head's training.
        let head = head_alone(prepared, &graph, tables, session)?;
        let start = Start::new(prepared, boundary, (&graph, &head), session)?;
        let Start { learner, batches, val, settings, .. } = start;
        return find(Trainer::new(learner, batches, &val, &settings)?, recipe, session);
    }
    let names = prepared.names.as_ref();
    let settings = recipe.training().check()?;
    let counts = tables.train.counts(classes);
    let batches = RowBatches::new(Arc::clone(&tables.train), classes, &settings)?;
    match &prepared.place {
        Place::Cpu => {
            let mut learner = HeadLearner::new(&graph, &counts, &settings)?;
            start(&mut learner, names)?;
            find(Trainer::new(learner, batches, &tables.val, &settings)?, recipe, session)
        }
        #[cfg(feature = "candle")]
        Place::Gpu(device, _) => {
            let mut learner = taper_candle::DeviceLearner::new(&graph, &counts, &settings, device)?;
            start(&mut learner, names)?;
            find(Trainer::new(learner, batches, &tables.val, &settings)?, recipe, session)
        }
    }
}

fn find<L, B>(
    mut trainer: Trainer<'_, L, B>,
    recipe: &Recipe,
    session: &Session,
) -> Result<RangeTestResult>
where
    L: Learner,
    B: Batches<Batch = L::Batch>,
{
    let test: CheckedRangeTest = recipe.lr_finder.range_test(trainer.steps_per_epoch())?;
    Ok(trainer.find_rate(&test, session.watch())?)
}
