use taper_core::Identity;

use crate::{Result, Rows};

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
}

impl Rows for Table {
    fn width(&self) -> usize {
        self.width
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn mixed(&self) -> &[(u32, f32)] {
        &self.mixed
    }

    fn read(&self, rows: &[u32], out: &mut [f32]) -> Result<()> {
        for (out, &row) in out.chunks_exact_mut(self.width.max(1)).zip(rows) {
            out.copy_from_slice(self.row(row as usize));
        }
        Ok(())
    }

    fn identify(&self, identity: Identity) -> Identity {
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
