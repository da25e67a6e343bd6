use rayon::prelude::*;

use crate::{Error, Parameters, Result, error::check_length};

/// An exponential moving average of tensors, running statistics included, as in
/// `timm.utils.ModelEmaV2`: average ← decay · average + (1 − decay) · current, after each step.
#[derive(Debug, Clone)]
pub struct Average {
    decay: f32,
    values: Vec<Vec<f32>>,
}

impl Average {
    /// Starts from the current tensors.
    ///
    /// # Errors
    /// [`Error::Setting`] unless the decay is in [0, 1).
    pub fn new(decay: f64, parameters: &Parameters) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            return Err(Error::setting("ema", decay, "use a decay in [0, 1), e.g. 0.99"));
        }
        let values = parameters.iter().map(|p| p.values.clone()).collect();
        Ok(Self { decay: decay as f32, values })
    }

    /// Updates the average with the current tensors.
    pub fn update(&mut self, parameters: &Parameters) {
        let decay = self.decay;
        for (average, parameter) in self.values.iter_mut().zip(parameters.iter()) {
            let chunks = average.par_chunks_mut(CHUNK).zip(parameter.values.par_chunks(CHUNK));
            chunks.for_each(|(average, values)| {
                for (a, v) in average.iter_mut().zip(values) {
                    *a += (1.0 - decay) * (v - *a);
                }
            });
        }
    }

    /// Swaps the average and the tensors themselves: evaluate, then swap back.
    pub fn swap(&mut self, parameters: &mut Parameters) {
        for (average, parameter) in self.values.iter_mut().zip(parameters.iter_mut()) {
            std::mem::swap(average, &mut parameter.values);
        }
    }

    /// The averaged tensors, in the order of the parameters.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// Puts averaged tensors back.
    ///
    /// # Errors
    /// [`Error::Length`] if they are another network's.
    pub fn restore(&mut self, values: Vec<Vec<f32>>) -> Result<()> {
        check_length("average", values.len(), self.values.len())?;
        for (own, other) in self.values.iter().zip(&values) {
            check_length("average", other.len(), own.len())?;
        }
        self.values = values;
        Ok(())
    }
}

/// Elements that one thread takes at a time.
pub(crate) const CHUNK: usize = 1 << 15;
