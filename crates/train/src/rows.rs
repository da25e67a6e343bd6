use std::{fmt, ops::Range, sync::Arc};

use taper_core::{
    Identity, OutOfRange,
    random::{Key, Purpose},
};

use crate::{Batches, CheckedTraining, Result, Table, batches::batch_ranges, sampling::Order};

const SHUFFLE: Purpose = Purpose::new("train/shuffle");

/// Rows of numbers with labels that a network is trained and evaluated on: a [`Table`] in memory,
/// or rows that are computed when they are needed.
pub trait Rows {
    /// Numbers per row.
    fn width(&self) -> usize;

    /// The label of each row.
    fn labels(&self) -> &[u32];

    /// What each row was mixed with: the second label and its share, 0 to 1. Empty if nothing was
    /// mixed.
    fn mixed(&self) -> &[(u32, f32)];

    /// Writes some rows one after the other: f32 `[rows, width]`.
    ///
    /// # Errors
    /// If they cannot be read or computed.
    fn read(&self, rows: &[u32], out: &mut [f32]) -> Result<()>;

    /// Adds what determines the rows to an identity.
    fn identify(&self, identity: Identity) -> Identity;

    /// How many rows there are.
    fn len(&self) -> usize {
        self.labels().len()
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Some of the rows: the batch of a step.
pub struct RowBatch<R = Table> {
    /// All rows.
    pub all: Arc<R>,
    /// The numbers of those in the batch.
    pub rows: Vec<u32>,
}

impl<R: Rows> RowBatch<R> {
    /// The label of each row.
    pub fn labels(&self) -> Vec<u32> {
        self.rows.iter().map(|&row| self.all.labels()[row as usize]).collect()
    }

    /// Writes some of its rows one after the other: f32 `[part, width]`.
    ///
    /// # Errors
    /// If they cannot be read or computed.
    pub fn read(&self, part: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.all.read(&self.rows[part], out)
    }

    /// Distributions over the classes, `[rows, classes]`, where rows were mixed.
    pub fn soft_targets(&self, classes: usize) -> Option<Vec<f32>> {
        let (labels, mixed) = (self.all.labels(), self.all.mixed());
        if mixed.is_empty() {
            return None;
        }
        let mut soft = vec![0.0; self.rows.len() * classes];
        for (target, &row) in soft.chunks_exact_mut(classes).zip(&self.rows) {
            let (second, share) = mixed[row as usize];
            target[labels[row as usize] as usize] += 1.0 - share;
            target[second as usize] += share;
        }
        Some(soft)
    }
}

impl<R> Clone for RowBatch<R> {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), rows: self.rows.clone() }
    }
}

impl<R> fmt::Debug for RowBatch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowBatch").field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// Makes the rows of an epoch.
type Make<'a, R> = Box<dyn FnMut(u32) -> Result<R> + 'a>;

/// Batches of rows, in an order drawn for each epoch.
pub struct RowBatches<'a, R = Table> {
    all: Arc<R>,
    /// The rows of one step: batches whose gradients are accumulated.
    per_step: usize,
    order: Order,
    sampling: String,
    /// The epoch whose rows are loaded, and what makes those of other epochs, if they differ.
    fresh: Option<(u32, Make<'a, R>)>,
    /// The order that was drawn last, and for which seed and epoch.
    drawn: Option<((u64, u32), Vec<u32>)>,
}

impl<'a, R: Rows> RowBatches<'a, R> {
    /// The batches of these rows under these settings.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) if the sampling does not fit the classes.
    pub fn new(all: Arc<R>, classes: usize, settings: &CheckedTraining) -> Result<Self> {
        let settings = settings.settings();
        Ok(Self {
            per_step: settings.batch_size.saturating_mul(settings.accumulate),
            order: settings.sampling.for_rows(all.labels(), classes)?,
            sampling: settings.sampling.to_string(),
            all,
            fresh: None,
            drawn: None,
        })
    }

    /// Gives every epoch rows of its own, such as new views of the same pictures. `make` is called
    /// for each epoch except the first (0), which uses the existing rows; it must be a pure
    /// function of the epoch, and return the same number of rows with the same labels.
    #[must_use]
    pub fn fresh(mut self, make: impl FnMut(u32) -> Result<R> + 'a) -> Self {
        self.fresh = Some((0, Box::new(make)));
        self
    }

    /// The rows in the order of an epoch.
    ///
    /// # Errors
    /// As [`Batches::batch`].
    fn order(&mut self, seed: u64, epoch: u32) -> Result<&[u32]> {
        let wanted = (seed, epoch);
        if self.drawn.as_ref().is_none_or(|(drawn, _)| *drawn != wanted) {
            let order = match &self.order {
                Order::Shuffled => {
                    let mut order: Vec<u32> = (0..self.all.len() as u32).collect();
                    Key::new(seed, SHUFFLE).stream(epoch, 0).shuffle(&mut order);
                    order
                }
                other => other.draw(self.all.labels(), seed, epoch),
            };
            self.drawn = Some((wanted, order));
        }
        Ok(self.drawn.as_ref().map_or(&[], |(_, order)| order))
    }
}

impl<R: Rows> Batches for RowBatches<'_, R> {
    type Batch = RowBatch<R>;

    fn steps(&self) -> usize {
        batch_ranges(self.all.len(), self.per_step).count()
    }

    fn begin(&mut self, epoch: u32) -> Result<()> {
        let Some((there, make)) = self.fresh.as_mut().filter(|(there, _)| *there != epoch) else {
            return Ok(());
        };
        let all = make(epoch)?;
        if all.labels() != self.all.labels() {
            let remedy = format!(
                "epoch 0 had {}: pictures changed during training; leave them as they are",
                self.all.len()
            );
            let value = format!("{} rows in epoch {epoch}", all.len());
            return Err(OutOfRange::new("fresh_views", value, remedy).into());
        }
        *there = epoch;
        self.all = Arc::new(all);
        Ok(())
    }

    fn batch(&mut self, seed: u64, epoch: u32, step: usize) -> Result<RowBatch<R>> {
        let range = batch_ranges(self.all.len(), self.per_step).nth(step).unwrap_or(0..0);
        let rows = self.order(seed, epoch)?[range].to_vec();
        Ok(RowBatch { all: Arc::clone(&self.all), rows })
    }

    fn identify(&self, identity: Identity) -> Identity {
        let identity = identity.number("rows per step", self.per_step as u64);
        self.all.identify(identity.text("sampling", &self.sampling))
    }
}

impl<R: Rows> fmt::Debug for RowBatches<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowBatches")
            .field("rows", &self.all.len())
            .field("per_step", &self.per_step)
            .field("sampling", &self.sampling)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sampling, Training};

    fn classes_in_an_epoch(sampling: Sampling) -> [usize; 2] {
        let labels: Vec<u32> = (0..60).map(|row| u32::from(row % 6 == 0)).collect();
        let table =
            Table { width: 2, values: vec![0.5; 120], labels: labels.clone(), mixed: Vec::new() };
        let settings = Training { sampling, ..Training::default() }.check().unwrap();
        let mut batches = RowBatches::new(Arc::new(table), 2, &settings).unwrap();
        let order = batches.order(3, 1).unwrap().to_vec();
        assert_ne!(order, batches.order(3, 2).unwrap());
        assert_eq!(order.len(), 60);
        let rare = order.iter().filter(|row| labels[**row as usize] == 1).count();
        [60 - rare, rare]
    }

    #[test]
    fn classes_come_as_often_as_the_sampling_says() {
        assert_eq!(classes_in_an_epoch(Sampling::Shuffled), [50, 10]);
        assert_eq!(classes_in_an_epoch(Sampling::Balanced), [30, 30]);
        let [_, rare] = classes_in_an_epoch(Sampling::Weighted(None));
        assert!((20..=40).contains(&rare), "{rare}");
        assert_eq!(classes_in_an_epoch("weighted:0,1".parse().unwrap()), [0, 60]);
    }
}
