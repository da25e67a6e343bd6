//! Weights between those of two phases.

use serde::{Deserialize, Serialize};
use taper_graph::{WeightSource, Weights};
use taper_metrics::Metrics;

use crate::{Learner, Result};

/// A point between the weights before and after a phase, on the validation pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// 0 is before, 1 after.
    pub alpha: f64,
    /// The share that was right.
    pub val_accuracy: f64,
    /// The mean loss.
    pub val_loss: f64,
}

impl Tried {
    fn new(alpha: f64, metrics: &Metrics) -> Self {
        Self {
            alpha,
            val_accuracy: metrics.accuracy().unwrap_or(f64::NAN),
            val_loss: metrics.loss().unwrap_or(f64::NAN),
        }
    }

    /// Whether the accuracy is higher, or the same with a lower loss. NaN is never better.
    fn better_than(&self, other: &Self) -> bool {
        let Self { val_accuracy, val_loss, .. } = *self;
        let known = !val_accuracy.is_nan() && !val_loss.is_nan();
        let other_known = !other.val_accuracy.is_nan() && !other.val_loss.is_nan();
        known
            && (!other_known
                || val_accuracy > other.val_accuracy
                || val_accuracy == other.val_accuracy && val_loss < other.val_loss)
    }
}

/// The weights that a phase ends with: those after it, an average of its best epochs, or a point
/// on the way from those before it. All are judged on validation pictures.
#[derive(Debug, Clone)]
pub struct Blend {
    before: Weights,
    weights: Weights,
    alpha: f64,
    tried: Vec<Tried>,
    epochs: Vec<u64>,
}

impl Blend {
    /// The weights after the phase. `probe`: what the weights before it gave.
    pub fn new(before: &Weights, after: Weights, probe: &Metrics) -> Self {
        Self {
            before: before.clone(),
            weights: after,
            alpha: 1.0,
            tried: vec![Tried::new(0.0, probe)],
            epochs: Vec::new(),
        }
    }

    /// The weights before the phase, when none of it is worth keeping.
    pub fn none(before: &Weights, probe: &Metrics) -> Self {
        Self { alpha: 0.0, ..Self::new(before, before.clone(), probe) }
    }

    /// The weights that are kept.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Where they lie between those before the phase (0) and after it (1).
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Notes what the weights gave, where no points between are tried.
    pub fn measured(&mut self, metrics: &Metrics) {
        self.tried.push(Tried::new(self.alpha, metrics));
    }

    /// Takes the weights at this share of the way from those before the phase, whatever they give.
    pub fn go_back_to(&mut self, alpha: f64) {
        self.alpha = alpha;
        self.weights = between(&self.before, &self.weights, alpha as f32);
    }

    /// The points of the line that were judged, that before the phase first.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// The epochs that were averaged, the best one first; empty without [`Blend::soup`].
    pub fn epochs(&self) -> &[u64] {
        &self.epochs
    }

    /// A greedy soup (Wortsman et al. 2022, "Model soups"): from the best epoch on, by loss, each
    /// further one is averaged in if the validation accuracy does not fall, of equals if the loss
    /// does not grow. `kept`: epochs and their weights.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn soup<E>(
        &mut self,
        kept: Vec<(u64, Weights)>,
        mut measure: impl FnMut(&Weights) -> std::result::Result<Metrics, E>,
    ) -> std::result::Result<(), E> {
        let mut all = Vec::with_capacity(kept.len());
        for (epoch, weights) in kept {
            let found = Tried::new(1.0, &measure(&weights)?);
            all.push((epoch, weights, found));
        }
        all.sort_by(|a, b| a.2.val_loss.total_cmp(&b.2.val_loss));
        let mut best: Option<Tried> = None;
        for (epoch, weights, found) in all {
            let Some(figure) = best else {
                (self.weights, best) = (weights, Some(found));
                self.epochs.push(epoch);
                continue;
            };
            let share = 1.0 / (self.epochs.len() + 1) as f32;
            let mixed = between(&self.weights, &weights, share);
            let found = Tried::new(1.0, &measure(&mixed)?);
            if !figure.better_than(&found) {
                (self.weights, best) = (mixed, Some(found));
                self.epochs.push(epoch);
            }
        }
        Ok(())
    }

    /// Tries the tenths of the way from the weights before the phase (Wortsman et al. 2022,
    /// "Robust fine-tuning of zero-shot models"). The highest accuracy counts; of equals, the
    /// lowest loss; of equals, the point that is nearest to the beginning.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn interpolate<E>(
        &mut self,
        mut measure: impl FnMut(&Weights) -> std::result::Result<Metrics, E>,
    ) -> std::result::Result<(), E> {
        for tenth in 1..=10 {
            let alpha = f64::from(tenth) / 10.0;
            let metrics = measure(&between(&self.before, &self.weights, alpha as f32))?;
            self.tried.push(Tried::new(alpha, &metrics));
        }
        let mut best = self.tried[0];
        for tried in &self.tried {
            if tried.better_than(&best) {
                best = *tried;
            }
        }
        self.go_back_to(best.alpha);
        Ok(())
    }
}

/// Tries the points of the way from other weights to those that a learner has, and gives it what
/// is kept: [`Blend::interpolate`].
///
/// # Errors
/// If the weights or the rows are another network's, or the device fails.
pub fn on_the_way<L: Learner>(
    learner: &mut L,
    before: &Weights,
    validation: &L::Validation,
) -> Result<Blend> {
    let after = learner.weights()?;
    learner.set_weights(before)?;
    let mut blend = Blend::new(before, after, &learner.measure(validation)?);
    blend.interpolate(|weights| {
        learner.set_weights(weights)?;
        learner.measure(validation)
    })?;
    learner.set_weights(blend.weights())?;
    Ok(blend)
}

/// (1 − α) · before + α · after.
fn between(before: &Weights, after: &Weights, alpha: f32) -> Weights {
    let mut mixed = Weights::new();
    for name in after.names() {
        let (Some(shape), Some(b), Some(a)) =
            (after.shape(name), before.values(name), after.values(name))
        else {
            continue;
        };
        // What did not change stays as it was, to the bit.
        let value = |(b, a): (&f32, &f32)| match alpha {
            0.0 => *b,
            1.0 => *a,
            _ if a == b => *a,
            alpha => (1.0 - alpha) * b + alpha * a,
        };
        mixed.insert(name.to_owned(), shape.to_vec(), b.iter().zip(a.iter()).map(value).collect());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn weights(value: f32) -> Weights {
        let mut weights = Weights::new();
        weights.insert("w", vec![2], vec![value, 10.0 * value]);
        weights
    }

    fn value(weights: &Weights) -> f32 {
        weights.values("w").unwrap()[0]
    }

    /// Of ten pictures, so many are right, with a loss that grows with `loss` from 0 to 1.
    fn metrics(right: usize, loss: f32) -> Metrics {
        let mut metrics = Metrics::new(2).unwrap();
        // Of ten pictures, at least seven are right: the further apart the logits, the better.
        let apart = 0.1 + 0.7 * (1.0 - loss);
        for picture in 0..10 {
            let logits = if picture < right { [apart, 0.0] } else { [0.0, apart] };
            metrics.update_logits(&logits, &[0]).unwrap();
        }
        metrics
    }

    /// The point that is kept between 0 and 1, where `of` gives right answers and loss at each.
    fn kept(probe: (usize, f32), of: impl Fn(f32) -> (usize, f32)) -> (f64, f32) {
        let mut blend = Blend::new(&weights(0.0), weights(1.0), &metrics(probe.0, probe.1));
        let measure = |weights: &Weights| {
            let (right, loss) = of(value(weights));
            Ok::<_, Infallible>(metrics(right, loss))
        };
        let Ok(()) = blend.interpolate(measure);
        assert_eq!(blend.tried().len(), 11);
        (blend.alpha(), value(blend.weights()))
    }

    #[test]
    fn the_most_accurate_point_is_kept() {
        let close = |(alpha, value): (f64, f32), expected: f64| {
            assert_eq!(alpha, expected);
            assert!((f64::from(value) - expected).abs() < 1e-6);
        };
        // The middle, although the end has the lowest loss.
        let middle = |at: f32| (if (at - 0.5).abs() < 0.01 { 9 } else { 8 }, 1.0 - at);
        close(kept((7, 1.0), middle), 0.5);
        // Of equals the lowest loss, at the end or before it.
        close(kept((8, 1.0), |at| (8, 1.0 - at)), 1.0);
        close(kept((8, 0.5), |at| (8, 0.1 + (at - 0.3).abs())), 0.3);
        // Nothing is better than before: before is kept, as for equals in everything.
        close(kept((9, 0.5), |at| (8, 0.5 - 0.1 * at)), 0.0);
        close(kept((8, 0.5), |_| (8, 0.5)), 0.0);
        // Points that are no numbers are never kept.
        close(kept((7, 1.0), |at| if at > 0.15 { (10, f32::NAN) } else { (8, 1.0) }), 0.1);
    }

    #[test]
    fn a_soup_takes_what_does_not_hurt() {
        let probe = metrics(7, 1.0);
        let mut blend = Blend::new(&weights(0.0), weights(9.0), &probe);
        let kept = vec![(3, weights(3.0)), (1, weights(1.0)), (7, weights(7.0))];
        // Lower is better, down to 1; alone, the epochs 1, 3 and 7 follow each other.
        let measure = |weights: &Weights| {
            let at = value(weights);
            Ok::<_, Infallible>(metrics(if at > 2.5 { 7 } else { 8 }, at / 10.0))
        };
        let Ok(()) = blend.soup(kept.clone(), measure);
        // The average of 1 and 3 is as accurate as 1 alone, but its loss is higher.
        assert_eq!((blend.epochs(), value(blend.weights())), (&[1_u64][..], 1.0));
        // Where the loss does not tell them apart, each one goes in, with the same weight.
        let mut blend = Blend::new(&weights(0.0), weights(9.0), &probe);
        let Ok(()) = blend.soup(kept, |_| Ok::<_, Infallible>(metrics(8, 0.5)));
        assert_eq!(blend.epochs(), [3, 1, 7]);
        assert!((value(blend.weights()) - 11.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn what_did_not_change_stays_to_the_bit() {
        for n in 0..1000 {
            let value = 0.1 + n as f32 * 0.37;
            let mixed = between(&weights(value), &weights(value), 0.7);
            assert_eq!(mixed.values("w"), weights(value).values("w"));
        }
    }

    #[test]
    fn without_a_phase_the_weights_are_those_before_it() {
        let blend = Blend::none(&weights(2.0), &metrics(7, 1.0));
        assert_eq!((blend.alpha(), value(blend.weights())), (0.0, 2.0));
        assert_eq!(blend.tried().len(), 1);
    }
}
