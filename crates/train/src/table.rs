use std::{fmt, ops::Range, sync::Arc};

use taper_core::{
    Identity, OutOfRange,
    random::{Key, Purpose},
};

use crate::{Batches, CheckedTraining, Result, batches::batch_ranges, sampling::Order};

const SHUFFLE: Purpose = Purpose::new("train/shuffle");

/// Rows of numbers with labels: the data that heads are trained and evaluated on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Numbers per row.
    pub width: usize,
    /// f32 `[rows, width]`, row-major.
    pub values: Vec<f32>,
    /// The label of each row.
    pub labels: Vec<u32>,
    /// What each row was mixed with: the second label and its share, 0 to 1. Empty if nothing was
    /// mixed.
    pub mixed: Vec<(u32, f32)>,
}

impl Table {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// Splits off the rows from `start` on as a new table; this one keeps the rows before.
    #[must_use]
    pub fn split_off(&mut self, start: usize) -> Table {
        Table {
            width: self.width,
            values: self.values.split_off(start * self.width),
            labels: self.labels.split_off(start),
            mixed: self.mixed.split_off(start.min(self.mixed.len())),
        }
    }

    /// How many rows each class has.
    pub fn counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Adds its content to an identity.
    #[must_use]
    pub fn identify(&self, identity: Identity) -> Identity {
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        let mixed = self.mixed.iter();
        let mixed: Vec<u8> = mixed
            .flat_map(|(label, share)| [label.to_le_bytes(), share.to_le_bytes()])
            .collect::<Vec<_>>()
            .concat();
        identity
            .number("width", self.width as u64)
            .floats("values", &self.values)
            .bytes("labels", &labels)
            .bytes("mixed", &mixed)
    }
}

/// Some rows of a table: the batch of a step.
#[derive(Debug, Clone)]
pub struct RowBatch {
    /// The table.
    pub table: Arc<Table>,
    /// The numbers of the rows.
    pub rows: Vec<u32>,
}

impl RowBatch {
    /// The label of each row.
    pub fn labels(&self) -> Vec<u32> {
        self.rows.iter().map(|&row| self.table.labels[row as usize]).collect()
    }

    /// Copies some of its rows one after the other: f32 `[part, width]`.
    pub fn gather(&self, part: Range<usize>, out: &mut [f32]) {
        for (out, &row) in out.chunks_exact_mut(self.table.width).zip(&self.rows[part]) {
            out.copy_from_slice(self.table.row(row as usize));
        }
    }

    /// Distributions over the classes, `[rows, classes]`, where rows were mixed.
    pub fn soft_targets(&self, classes: usize) -> Option<Vec<f32>> {
        if self.table.mixed.is_empty() {
            return None;
        }
        let mut soft = vec![0.0; self.rows.len() * classes];
        for (target, &row) in soft.chunks_exact_mut(classes).zip(&self.rows) {
            let (second, share) = self.table.mixed[row as usize];
            target[self.table.labels[row as usize] as usize] += 1.0 - share;
            target[second as usize] += share;
        }
        Some(soft)
    }
}

/// Makes the table of an epoch.
type MakeTable<'a> = Box<dyn FnMut(u32) -> Result<Table> + 'a>;

/// Batches of the rows of a table, in an order drawn for each epoch.
pub struct RowBatches<'a> {
    table: Arc<Table>,
    /// The rows of one step: batches whose gradients are accumulated.
    per_step: usize,
    order: Order,
    sampling: String,
    /// The epoch whose rows are loaded, and what makes those of other epochs, if they differ.
    fresh: Option<(u32, MakeTable<'a>)>,
    /// The order that was drawn last, and for which seed and epoch.
    drawn: Option<((u64, u32), Vec<u32>)>,
}

impl<'a> RowBatches<'a> {
    /// The batches of a table under these settings.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) if the sampling does not fit the classes.
    pub fn new(table: Arc<Table>, classes: usize, settings: &CheckedTraining) -> Result<Self> {
        let settings = settings.settings();
        Ok(Self {
            per_step: settings.batch_size.saturating_mul(settings.accumulate),
            order: settings.sampling.for_rows(&table.labels, classes)?,
            sampling: settings.sampling.to_string(),
            table,
            fresh: None,
            drawn: None,
        })
    }

    /// Gives every epoch rows of its own, such as new views of the same pictures. `make` is called
    /// for each epoch except the first (0), which uses the existing rows; it must be a pure
    /// function of the epoch, and return the same number of rows with the same labels.
    #[must_use]
    pub fn fresh(mut self, make: impl FnMut(u32) -> Result<Table> + 'a) -> Self {
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
                    let mut order: Vec<u32> = (0..self.table.len() as u32).collect();
                    Key::new(seed, SHUFFLE).stream(epoch, 0).shuffle(&mut order);
                    order
                }
                other => other.draw(&self.table.labels, seed, epoch),
            };
            self.drawn = Some((wanted, order));
        }
        Ok(self.drawn.as_ref().map_or(&[], |(_, order)| order))
    }
}

impl Batches for RowBatches<'_> {
    type Batch = RowBatch;

    fn steps(&self) -> usize {
        batch_ranges(self.table.len(), self.per_step).count()
    }

    fn begin(&mut self, epoch: u32) -> Result<()> {
        let Some((there, make)) = self.fresh.as_mut().filter(|(there, _)| *there != epoch) else {
            return Ok(());
        };
        let table = make(epoch)?;
        if table.labels != self.table.labels {
            let remedy = format!(
                "epoch 0 had {}: pictures changed during training; leave them as they are",
                self.table.len()
            );
            let value = format!("{} rows in epoch {epoch}", table.len());
            return Err(OutOfRange::new("fresh_views", value, remedy).into());
        }
        *there = epoch;
        self.table = Arc::new(table);
        Ok(())
    }

    fn batch(&mut self, seed: u64, epoch: u32, step: usize) -> Result<RowBatch> {
        let range = batch_ranges(self.table.len(), self.per_step).nth(step).unwrap_or(0..0);
        let rows = self.order(seed, epoch)?[range].to_vec();
        Ok(RowBatch { table: Arc::clone(&self.table), rows })
    }

    fn identify(&self, identity: Identity) -> Identity {
        let identity = identity.number("rows per step", self.per_step as u64);
        self.table.identify(identity.text("sampling", &self.sampling))
    }
}

impl fmt::Debug for RowBatches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowBatches")
            .field("rows", &self.table.len())
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
