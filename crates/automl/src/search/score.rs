//! How a candidate did on pictures that it was not trained on, and whether one is better.

use serde::{Deserialize, Serialize};

/// A candidate's answer to one picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    /// The picture, by its place in the list of those that are judged by.
    pub(crate) picture: u32,
    /// Σ_c (p_c − 1[c is the label])², with calibrated probabilities: 0 to 2.
    pub(crate) brier: f32,
    /// Whether the label had the largest probability.
    pub(crate) right: bool,
}

impl Score {
    /// From logits that are divided by a temperature.
    pub(crate) fn of(picture: u32, logits: &[f32], label: u32, temperature: f64) -> Self {
        let mut probabilities = vec![0.0; logits.len()];
        taper_metrics::softmax_at(logits, temperature, &mut probabilities);
        let label = label as usize;
        let brier = probabilities.iter().enumerate().map(|(class, p)| {
            let wanted = if class == label { 1.0 } else { 0.0 };
            (p - wanted) * (p - wanted)
        });
        let best = probabilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let first = probabilities.iter().position(|p| *p == best);
        Self { picture, brier: brier.sum::<f64>() as f32, right: first == Some(label) }
    }
}

/// How much better one candidate is than another on the pictures that both were judged by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// By how much the mean Brier score is lower.
    pub brier: f64,
    /// By how much the accuracy is higher.
    pub accuracy: f64,
    /// The standard error of `brier`, over groups of near copies.
    pub standard_error: f64,
    /// The standard error of `accuracy`, likewise.
    #[serde(default)]
    pub accuracy_error: f64,
    /// On how many pictures.
    pub pictures: usize,
}

impl Gain {
    /// Of `candidate` over `before`; none if they have no picture in common. `groups`: the group of
    /// each picture.
    pub(crate) fn of(candidate: &[Score], before: &[Score], groups: &[u32]) -> Option<Self> {
        let mut earlier = vec![None; groups.len()];
        before.iter().for_each(|score| earlier[score.picture as usize] = Some(score));
        let pairs: Vec<(&Score, &Score)> = candidate
            .iter()
            .filter_map(|score| Some((score, earlier[score.picture as usize]?)))
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let group = |(now, _): &(&Score, &Score)| groups[now.picture as usize];
        let in_brier = |(now, then): &(&Score, &Score)| f64::from(then.brier - now.brier);
        let in_right =
            |(now, then): &(&Score, &Score)| f64::from(i8::from(now.right) - i8::from(then.right));
        let gains = |gain: &dyn Fn(&(&Score, &Score)) -> f64| {
            mean_and_error(pairs.iter().map(|pair| (group(pair), gain(pair))))
        };
        let ((brier, standard_error), (accuracy, accuracy_error)) =
            (gains(&in_brier), gains(&in_right));
        Some(Self { brier, accuracy, standard_error, accuracy_error, pictures: pairs.len() })
    }

    /// Both gains, with their standard errors.
    pub(crate) fn told(&self) -> String {
        let Self { brier, accuracy, standard_error, accuracy_error, .. } = self;
        format!(
            "gain in Brier score {brier:+.4} ± {standard_error:.4}, in accuracy {accuracy:+.4} ± {accuracy_error:.4}"
        )
    }

    /// Whether one of the two gains is beyond its standard error, and the other one no loss.
    pub(crate) fn is_real(&self) -> bool {
        self.brier > self.standard_error && self.accuracy >= 0.0
            || self.accuracy > self.accuracy_error && self.brier >= 0.0
    }
}

/// The mean of values, and its standard error where those of a group say the same.
fn mean_and_error(values: impl Iterator<Item = (u32, f64)> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().map(|(_, value)| value).sum::<f64>() / n;
    let mut of_group = std::collections::BTreeMap::<u32, f64>::new();
    for (group, value) in values {
        *of_group.entry(group).or_default() += value - mean;
    }
    let squares: f64 = of_group.values().map(|sum| sum * sum).sum();
    let clusters = of_group.len() as f64;
    let corrected = if clusters > 1.0 { clusters / (clusters - 1.0) } else { f64::INFINITY };
    (mean, (squares * corrected).sqrt() / n)
}

/// Accuracy and mean Brier score.
pub(crate) fn means(scores: &[Score]) -> (f64, f64) {
    let n = scores.len().max(1) as f64;
    let right = scores.iter().filter(|score| score.right).count() as f64;
    (right / n, scores.iter().map(|score| f64::from(score.brier)).sum::<f64>() / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_that_of_the_calibrated_probabilities() {
        let score = Score::of(3, &[2.0f32.ln(), 1.0f32.ln()], 1, 1.0);
        assert!((score.brier - 2.0 * (4.0 / 9.0)).abs() < 1e-6 && !score.right);
        let flat = Score::of(3, &[5.0, 0.0], 0, 1e9);
        assert!((flat.brier - 0.5).abs() < 1e-6 && flat.right);
    }

    #[test]
    fn gains_count_groups_and_not_pictures() {
        let scores = |brier: fn(u32) -> f32| -> Vec<Score> {
            (0..8).map(|picture| Score { picture, brier: brier(picture), right: true }).collect()
        };
        let before = scores(|_| 0.5);
        let now = scores(|picture| if picture < 4 { 0.1 } else { 0.5 });
        let apart: Vec<u32> = (0..8).collect();
        let alone = Gain::of(&now, &before, &apart).unwrap();
        assert!((alone.brier - 0.2).abs() < 1e-6 && alone.is_real());
        let clips = [0, 0, 0, 0, 4, 4, 4, 4];
        let grouped = Gain::of(&now, &before, &clips).unwrap();
        assert!((grouped.standard_error - 0.2).abs() < 1e-6, "{grouped:?}");
        assert!(!Gain { brier: 0.19, ..grouped }.is_real());
        // More right answers count, too, unless the probabilities are worse.
        let right = Gain { brier: 0.01, accuracy: 0.2, accuracy_error: 0.1, ..grouped };
        assert!(right.is_real());
        assert!(!Gain { accuracy_error: 0.3, ..right }.is_real());
        assert!(!Gain { brier: -0.01, ..right }.is_real());
        // A single group says nothing.
        let one = Gain::of(&now[..4], &before, &clips).unwrap();
        assert!(!one.is_real());
        assert_eq!(Gain::of(&now[..4], &before[4..], &apart), None);
    }
}
