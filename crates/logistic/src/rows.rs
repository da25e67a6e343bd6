use crate::{Error, Result};

/// Rows of numbers with labels and weights.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f32],
    width: usize,
    labels: &'a [u32],
    classes: usize,
    weights: Option<&'a [f64]>,
}

impl<'a> Rows<'a> {
    /// `values`: f32 `[rows, width]`, row-major, finite; `labels`: each below `classes`. All rows
    /// have a weight of 1.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths do not fit; [`Error::Row`] names the first row with a value
    /// that is not finite, or a label out of range.
    pub fn new(values: &'a [f32], width: usize, labels: &'a [u32], classes: usize) -> Result<Self> {
        if values.len() != width * labels.len() {
            let expected = width * labels.len();
            return Err(Error::Length { what: "values", found: values.len(), expected });
        }
        for (row, (values, label)) in values.chunks_exact(width.max(1)).zip(labels).enumerate() {
            if *label as usize >= classes {
                let problem = format!("has label {label}, but there are {classes} classes");
                return Err(Error::Row { row, problem });
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(Error::Row { row, problem: format!("has the value {value}") });
            }
        }
        Ok(Self { values, width, labels, classes, weights: None })
    }

    /// The same with a weight for each row, 0 or more: a row of weight 2 counts as two rows.
    ///
    /// # Errors
    /// [`Error::Length`] unless there is one for each row; [`Error::Row`] names the first whose
    /// weight is negative or not finite.
    pub fn weighted(self, weights: &'a [f64]) -> Result<Self> {
        if weights.len() != self.len() {
            let (found, expected) = (weights.len(), self.len());
            return Err(Error::Length { what: "weights", found, expected });
        }
        match weights.iter().position(|weight| !(*weight >= 0.0 && weight.is_finite())) {
            Some(row) => {
                let problem = format!("has the weight {}: use 0 or more", weights[row]);
                Err(Error::Row { row, problem })
            }
            None => Ok(Self { weights: Some(weights), ..self }),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Numbers per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The label of each row.
    pub fn labels(&self) -> &'a [u32] {
        self.labels
    }

    /// One row.
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// The weight of a row.
    pub fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row])
    }
}
