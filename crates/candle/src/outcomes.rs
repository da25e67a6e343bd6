use candle_core::Tensor;
use taper_train::StepOutcome;

use crate::Result;

/// Outcomes of steps that are still on a device, so that steps wait for nothing.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Vec<(Vec<[Tensor; 2]>, Vec<u32>)>);

impl Waiting {
    /// Adds a step: loss and logits, `[rows, classes]`, of each of its parts, and the labels.
    pub(crate) fn push(&mut self, parts: Vec<[Tensor; 2]>, labels: Vec<u32>) {
        self.0.push((parts, labels));
    }

    /// How many steps there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads all of them together, with a single synchronisation.
    pub(crate) fn read(&mut self) -> Result<Vec<StepOutcome>> {
        let outcomes = std::mem::take(&mut self.0);
        let parts: Vec<&[Tensor; 2]> = outcomes.iter().flat_map(|(parts, _)| parts).collect();
        let Some([_, first]) = parts.first() else { return Ok(Vec::new()) };
        let classes = first.dim(1)?;
        let all: Vec<&Tensor> = parts.iter().map(|[loss, _]| loss).collect();
        let losses = Tensor::stack(&all, 0)?.to_vec1::<f32>()?;
        let all: Vec<&Tensor> = parts.iter().map(|[_, logits]| logits).collect();
        let logits = Tensor::cat(&all, 0)?.flatten_all()?.to_vec1::<f32>()?;
        let (mut losses, mut logits) = (losses.into_iter(), logits.into_iter());
        let outcome = |(parts, labels): (Vec<_>, Vec<u32>)| {
            let loss = losses.by_ref().take(parts.len()).map(f64::from).sum();
            let logits = logits.by_ref().take(labels.len() * classes).collect();
            StepOutcome { loss, logits, labels }
        };
        Ok(outcomes.into_iter().map(outcome).collect())
    }
}
