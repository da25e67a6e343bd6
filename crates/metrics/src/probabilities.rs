use serde::{Deserialize, Serialize};

use crate::{Calibration, Error, MetricsOptions, Result, aurc, log_softmax_at, scores};

/// How far probabilities can be believed: figures that look at all of them, not only at the most
/// probable class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbabilityFigures {
    /// Number of samples with finite logits.
    pub n: u64,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// The multiclass Brier score, 0 (perfect) to 2 ([`brier_score`](crate::brier_score)).
    pub brier: f64,
    /// The area under the risk-coverage curve of the confidence, 0 (perfect) to 1
    /// ([`aurc`](crate::aurc())).
    pub aurc: f64,
    /// How well confidence matches accuracy, in 15 bins.
    pub calibration: Calibration,
}

impl ProbabilityFigures {
    /// The figures of the softmax of logits that are divided by a temperature. Samples whose logits
    /// are not finite are left out. To the bit independent of the order of the samples.
    ///
    /// `logits`: f32 `[samples, classes]`, row-major, any range. `labels`: below `classes`.
    ///
    /// # Errors
    /// [`Error::Length`] if there is not one row for each label, [`Error::Label`] if a label is not
    /// one of the classes, [`Error::Empty`] without samples.
    pub fn at(logits: &[f32], labels: &[u32], classes: usize, temperature: f64) -> Result<Self> {
        scores::check("logits", logits.len(), labels, classes)?;
        let mut row = vec![0.0; classes];
        let (mut losses, mut squares, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
            log_softmax_at(logits, temperature, &mut row);
            if row.iter().any(|p| p.is_nan()) {
                continue;
            }
            losses.push(-row[label as usize]);
            row.iter_mut().for_each(|p| *p = p.exp());
            squares.push(scores::brier_of(&row, label as usize));
            // Decided on the logits: rounding must not break or create ties.
            let first = |best: usize, class: usize| {
                if logits[class] > logits[best] { class } else { best }
            };
            let predicted = (0..classes).fold(0, first);
            samples.push((row[predicted], predicted == label as usize));
        }
        let (confidence, correct): (Vec<f64>, Vec<bool>) = samples.iter().copied().unzip();
        let bins = MetricsOptions::default().calibration_bins;
        Ok(Self {
            n: samples.len() as u64,
            loss: scores::mean(losses)?,
            brier: scores::mean(squares)?,
            aurc: aurc(&confidence, &correct)?,
            calibration: Calibration::of(&mut samples, bins).ok_or(Error::Empty)?,
        })
    }
}
