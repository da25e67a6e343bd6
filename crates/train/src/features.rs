use std::sync::Arc;

use taper_data::{Augment, Dataset, Finding, Item, Loader, LoaderOptions};

use crate::{Backbone, Error, Result, Session};

/// What the frozen backbone says about pictures: one row each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// Numbers per row.
    pub width: usize,
    /// f32 `[rows, width]`, row-major.
    pub values: Vec<f32>,
    /// Label of each row.
    pub labels: Vec<u32>,
    /// Which picture and view each row is of, in the order asked for; those that failed are missing.
    pub items: Vec<Item>,
    /// Pictures that could not be used, and remarks about others.
    pub findings: Vec<Finding>,
}

impl Features {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The rows from `start` on, as a table of their own; this one keeps the rows before.
    pub(crate) fn split_off(&mut self, start: usize) -> Features {
        Features {
            width: self.width,
            values: self.values.split_off(start * self.width),
            labels: self.labels.split_off(start),
            items: self.items.split_off(start),
            findings: Vec::new(),
        }
    }
}

/// Pictures that go through the backbone together.
const BATCH: usize = 32;

/// Computes the features of pictures, each once.
///
/// # Errors
/// If a picture cannot be used and `strict` is set; [`Error::Interrupted`] if somebody asked to stop.
pub fn extract(
    backbone: &mut Backbone,
    dataset: &Arc<Dataset>,
    items: Vec<Item>,
    augment: Option<Arc<dyn Augment>>,
    strict: bool,
    session: &Session,
) -> Result<Features> {
    let options = LoaderOptions { batch_size: BATCH, strict, ..LoaderOptions::default() };
    let width = backbone.width();
    let mut features = Features { width, ..Features::default() };
    features.values.reserve_exact(items.len() * width);
    session.progress().begin("features", items.len() as u64, "pictures");
    let mut done = 0;
    let total = items.len();
    let loader =
        Loader::new(Arc::clone(dataset), *backbone.preprocessing(), items, augment, options)?;
    for batch in loader {
        if session.interrupted() {
            session.progress().end();
            return Err(Error::Interrupted);
        }
        let batch = batch?;
        let start = features.values.len();
        features.values.resize(start + batch.len() * width, 0.0);
        backbone.forward(&batch.pixels, batch.len(), &mut features.values[start..])?;
        let items = batch.indices.iter().zip(&batch.views);
        features.items.extend(items.map(|(&sample, &view)| Item { sample, view }));
        features.labels.extend_from_slice(&batch.labels);
        features.findings.extend(batch.failed);
        features.findings.extend(batch.remarks);
        let now = (done + BATCH).min(total);
        session.progress().advance((now - done) as u64);
        done = now;
    }
    session.progress().end();
    // A picture whose views fall into two batches is reported by both.
    let mut seen = std::collections::HashSet::new();
    features.findings.retain(|f| seen.insert((f.path.clone(), f.reason.clone())));
    Ok(features)
}
