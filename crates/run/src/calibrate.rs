//! What a finished classifier knows about its own answers.

use std::sync::Arc;

use taper_calibration::{Calibrated, Calibration, Known, Validation, fit, reference_rows};
use taper_data::Item;
use taper_grad::Head;
use taper_train::{Table, head_logits};

use crate::{
    Result, Session, extract,
    prepare::{Prepared, Tables},
};

/// Features of pictures as the finished classifier computes them, where its network was trained
/// too.
pub(crate) struct FinalRows {
    /// Of the training pictures that [`reference()`] names.
    pub(crate) reference: Vec<f32>,
    pub(crate) val: Table,
    pub(crate) test: Table,
}

/// The training pictures, unchanged, whose features the model keeps, by their places in the split.
pub(crate) fn reference(prepared: &Prepared) -> (Vec<usize>, Vec<Item>) {
    let (train, seed) = (&prepared.splits.train, prepared.checked.recipe().seed);
    let places = reference_rows(train.len(), prepared.backbone.width(), seed);
    let items = places.iter().map(|&at| Item { sample: train[at], view: 0 }).collect();
    (places, items)
}

/// Fits and measures it, on the features that the head was trained on, or on those of the finished
/// network. None if no validation picture has finite logits.
pub(crate) fn calibrate(
    prepared: &Prepared,
    tables: &Tables,
    tuned: Option<&FinalRows>,
    head: &Head,
    interrupted: bool,
    session: &Session,
) -> Result<Option<(Calibration, Calibrated)>> {
    let Tables { val, test, .. } = tables;
    let (val, test, reference) = match tuned {
        Some(rows) => (&rows.val, &rows.test, rows.reference.clone()),
        None => (val, test, of_training(prepared, tables, interrupted, session)?),
    };
    let (of_val, of_test) = (head_logits(head, val)?, head_logits(head, test)?);
    let groups = prepared.groups(&prepared.splits.val);
    let on = Validation {
        pictures: Known::new(&of_val, &val.labels, &val.values),
        groups: groups.as_deref(),
        reference: &reference,
        training: prepared.splits.train.len(),
        seed: prepared.checked.recipe().seed,
    };
    let test = (!test.is_empty()).then(|| Known::new(&of_test, &test.labels, &test.values));
    match fit(&on, test.as_ref()) {
        Err(taper_metrics::Error::Empty) => Ok(None),
        fitted => Ok(Some(fitted?)),
    }
}

/// Features of training pictures on the frozen network; fresh views do not have them.
fn of_training(
    prepared: &Prepared,
    tables: &Tables,
    interrupted: bool,
    session: &Session,
) -> Result<Vec<f32>> {
    let (places, items) = reference(prepared);
    let recipe = prepared.checked.recipe();
    if !recipe.fresh_views {
        let views = recipe.views as usize;
        return Ok(places.iter().flat_map(|&at| tables.train.row(at * views)).copied().collect());
    }
    if interrupted {
        return Ok(Vec::new()); // The model so far does without: the run goes on later.
    }
    let dataset = Arc::new(prepared.dataset.clone());
    let made = extract(prepared.backbone.as_ref(), &dataset, items, None, false, &session.muted())?;
    Ok(made.table.values)
}
