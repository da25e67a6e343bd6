use serde::{Deserialize, Serialize};
use taper_core::OutOfRange;

use crate::{Familiarity, Result};

/// What a model knows about its own answers, learned from the validation pictures: how far to trust
/// its probabilities, which sets of classes to give, and which pictures are unlike its training
/// pictures. `taper-calibration` makes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Logits are divided by it before the softmax; above 0, and 1 changes nothing. Guo, Pleiss,
    /// Sun, Weinberger: *On Calibration of Modern Neural Networks*, ICML 2017, section 4.2.
    pub temperature: f64,
    /// Why it is not the temperature with the lowest loss, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<TemperatureLimit>,
    /// On how many validation pictures it was fitted.
    pub pictures: u64,
    /// The expected calibration error on them.
    pub validation: CalibrationChange,
    /// The same on pictures that were not used before; none if there were none.
    pub test: Option<CalibrationChange>,
    /// 1 − the calibrated probability of the true class, for each validation picture, ascending:
    /// f32, 0 to 1. A tensor of its own in the file.
    #[serde(skip)]
    pub scores: Vec<f32>,
    /// Which pictures are like the training pictures; none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub familiarity: Option<Familiarity>,
}

/// An expected calibration error without and with the temperature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationChange {
    /// Of the raw probabilities.
    pub before: f64,
    /// Of the calibrated ones.
    pub after: f64,
}

/// Why a temperature is not the one with the lowest loss on the validation pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TemperatureLimit {
    /// The validation pictures do not tell which way: a single mistake more, or the pictures of one
    /// origin less, would move the lowest loss to the other side of 1. It is 1.
    Undecided,
    /// A single mistake more, or the pictures of one origin less, would move the lowest loss here,
    /// nearer to 1.
    Cautious,
    /// It would be outside of what is allowed.
    Range,
}

impl Calibration {
    /// Conformal sets that contain the true class of such a share of pictures, above 0 and below 1,
    /// if they come from the same source as the validation pictures: all classes whose calibrated
    /// probability p has 1 − p ≤ q, where q is the ⌈(n + 1) · coverage⌉-th smallest score of the n
    /// validation pictures.
    ///
    /// Split conformal prediction with the score 1 − p: Vovk, Gammerman, Shafer, *Algorithmic
    /// Learning in a Random World*, 2005; Angelopoulos & Bates, *A Gentle Introduction to Conformal
    /// Prediction*, 2021, section 1.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) if `coverage` is out of range, or there are fewer
    /// validation pictures than coverage / (1 − coverage), which the message says.
    pub fn sets(&self, coverage: f64) -> Result<ConformalSets> {
        if !(coverage > 0.0 && coverage < 1.0) {
            let remedy = "use a share above 0 and below 1, e.g. 0.9";
            return Err(OutOfRange::new("coverage", coverage, remedy).into());
        }
        let n = self.scores.len();
        match rank(n, coverage).checked_sub(1).and_then(|at| self.scores.get(at)) {
            Some(&threshold) => Ok(ConformalSets { coverage, threshold }),
            None => {
                let remedy = format!(
                    "{} validation pictures are needed for that, and the model has {n}: use at most {:.3}, or train with more validation pictures",
                    pictures_needed(coverage),
                    // Rounded down, so that it is enough.
                    (n as f64 / (n as f64 + 1.0) * 1e3).floor() / 1e3
                );
                Err(OutOfRange::new("coverage", coverage, remedy).into())
            }
        }
    }
}

/// ⌈(n + 1) · coverage⌉, where rounding does not make a whole number the next one.
fn rank(n: usize, coverage: f64) -> usize {
    ((n as f64 + 1.0) * coverage - 1e-9).ceil().max(1.0) as usize
}

/// The fewest validation pictures that sets of this coverage can be made from.
fn pictures_needed(coverage: f64) -> usize {
    let mut n = (coverage / (1.0 - coverage)).floor() as usize;
    while rank(n, coverage) > n {
        n += 1;
    }
    n
}

/// Which classes are in the set of a picture ([`Calibration::sets`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConformalSets {
    coverage: f64,
    threshold: f32,
}

impl ConformalSets {
    /// The share of pictures whose true class the sets contain.
    pub fn coverage(&self) -> f64 {
        self.coverage
    }

    /// Whether a class is in the set, by its calibrated probability.
    pub fn contains(&self, probability: f64) -> bool {
        score(probability) <= self.threshold
    }
}

/// The score of a class with this calibrated probability: 1 − p, rounded to f32 wherever it is
/// used, so that scores compare as they did when they were stored.
pub fn score(probability: f64) -> f32 {
    (1.0 - probability) as f32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    fn with(n: usize) -> Calibration {
        let change = CalibrationChange { before: 0.0, after: 0.0 };
        Calibration {
            temperature: 1.0,
            limit: None,
            pictures: n as u64,
            validation: change,
            test: None,
            scores: (1..=n).map(|i| i as f32 / 1000.0).collect(),
            familiarity: None,
        }
    }

    #[test]
    fn the_quantile_is_the_papers() {
        // ⌈(n + 1) · 0.9⌉: 9 of 9, 10 of 10, 10 of 11, 90 of 99, 91 of 100.
        for (n, at) in [(9, 9), (10, 10), (11, 11), (19, 18), (99, 90), (100, 91)] {
            let sets = with(n).sets(0.9).unwrap();
            assert_eq!(sets.threshold, at as f32 / 1000.0, "{n}");
        }
        assert_eq!(with(1).sets(0.5).unwrap().threshold, 0.001);
    }

    #[test]
    fn too_few_pictures_are_refused_with_how_many_it_takes() {
        for (coverage, needed) in [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1), (0.8, 4)] {
            assert!(with(needed).sets(coverage).is_ok(), "{coverage}");
            let error = with(needed - 1).sets(coverage).unwrap_err().to_string();
            assert!(error.contains(&format!("{needed} validation pictures")), "{error}");
        }
        for coverage in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(with(100).sets(coverage).is_err(), "{coverage}");
        }
    }

    #[test]
    fn a_class_is_in_the_set_up_to_the_threshold() {
        let mut own = with(0);
        own.scores = [0.1, 0.25, 0.7].map(|p: f64| score(1.0 - p)).to_vec();
        let sets = own.sets(0.5).unwrap();
        // What gave the score is itself in the set.
        assert!(sets.contains(1.0 - 0.25) && sets.contains(0.9));
        assert!(!sets.contains(0.74));
    }
}
