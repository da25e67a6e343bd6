use std::ops::Range;

use taper_core::Identity;

use crate::Result;

/// The source of each epoch's batches: a pure function of seed, epoch and step, so that training
/// can resume from any step, and the learning-rate finder can sweep without leaving a trace.
pub trait Batches {
    /// What a step is taken on.
    type Batch;

    /// Steps of the optimizer in an epoch.
    fn steps(&self) -> usize;

    /// Makes an epoch's batches available, e.g. new views of the pictures. The default does
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted) if interrupted meanwhile; any error in
    /// making the epoch.
    fn begin(&mut self, epoch: u32) -> Result<()> {
        let _ = epoch;
        Ok(())
    }

    /// The batch of a step of an epoch. Before the first [`Batches::begin`], it has the first
    /// epoch's rows in the order of `epoch`.
    ///
    /// # Errors
    /// If it cannot be had.
    fn batch(&mut self, seed: u64, epoch: u32, step: usize) -> Result<Self::Batch>;

    /// Adds everything that determines the batches to the identity of a training run.
    fn identify(&self, identity: Identity) -> Identity;
}

/// The rows of each batch. A last batch of one row is merged into the one before it: BatchNorm
/// cannot be trained on one row.
pub fn batch_ranges(rows: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let count = if rows > size && rows % size == 1 { rows / size } else { rows.div_ceil(size) };
    (0..count).map(move |i| {
        let end = if i + 1 == count { rows } else { (i + 1) * size };
        i * size..end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_every_row_once_and_never_end_on_one() {
        for rows in 1..200 {
            for size in 1..70 {
                let all: Vec<_> = batch_ranges(rows, size).collect();
                assert_eq!(all.first().unwrap().start, 0);
                assert_eq!(all.last().unwrap().end, rows);
                assert!(all.windows(2).all(|w| w[0].end == w[1].start));
                if size > 1 && rows > 1 {
                    assert!(all.iter().all(|b| b.len() > 1), "{rows} rows in batches of {size}");
                }
                assert!(all.iter().all(|b| b.len() <= size + 1));
            }
        }
    }
}
