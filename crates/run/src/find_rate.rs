use std::{fs, path::Path};

use serde::Serialize;
use taper_lr_finder::{Finding, Suggestions};
use taper_picture::Finding as Remark;

use crate::{
    CheckedRecipe, Error, HeadTrainer, Result, Session, prepare::Prepared, run::write_finding,
};

/// What a search for a learning rate has to say for itself: the answer of `taper lr-find --json`.
#[derive(Debug, Clone, Serialize)]
pub struct FoundRate {
    /// What each method suggests.
    pub suggestions: Suggestions,
    /// The suggestion of the method that was asked for.
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
    /// Pictures that could not be used and were left out.
    pub unreadable: Vec<Remark>,
}

/// Finds a learning rate for a recipe and writes `lr_find.{json,png,svg}` into a new folder `out`.
///
/// # Errors
/// Everything that [`Error`] knows; nothing is left behind then.
pub fn find_rate(checked: CheckedRecipe, out: &Path, session: &Session) -> Result<FoundRate> {
    if out.symlink_metadata().is_ok() {
        return Err(Error::OutputExists { path: out.into() });
    }
    let mut prepared = Prepared::new(checked, session)?;
    prepared.introduce(session);
    let start = std::time::Instant::now();
    let tables = prepared.features(session)?;
    let feature_seconds = start.elapsed().as_secs_f64();
    let Prepared { checked, device, dataset, backbone, .. } = prepared;
    let recipe = &checked.recipe;
    let start = std::time::Instant::now();
    let graph = recipe.head_graph(backbone.width(), dataset.classes().len());
    let settings = recipe.head_training().check()?;
    let mut trainer = HeadTrainer::new(&graph, &tables.train, &tables.val, settings, &device)?;
    let test = recipe.lr_finder.range_test(trainer.steps_per_epoch())?;
    let found: Finding = trainer.find_rate(&test, session)?;
    let seconds = start.elapsed().as_secs_f64();
    fs::create_dir_all(out).map_err(Error::io("make the output folder", out))?;
    write_finding(out, recipe, &found)?;
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
        unreadable: tables.unreadable,
    })
}
