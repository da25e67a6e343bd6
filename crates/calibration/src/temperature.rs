use std::{collections::BTreeSet, ops::RangeInclusive};

use serde::{Deserialize, Serialize};
use taper_model::TemperatureLimit;

/// What a temperature may be.
pub const TEMPERATURES: RangeInclusive<f64> = 0.05..=20.0;

/// So many origins are few: what a temperature would be without one of them is looked at.
const FEW_GROUPS: RangeInclusive<usize> = 2..=50;

/// From this ratio on, a temperature is not the one with the lowest loss but another.
const OTHER: f64 = 1.01;

/// A temperature that was fitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// What logits are divided by.
    pub value: f64,
    /// Why it is not the one with the lowest loss, if it is not.
    pub limit: Option<TemperatureLimit>,
}

/// The temperature for a classifier, from the logits of pictures that it was not trained on and
/// their true classes: f32 `[n, classes]`, row-major.
///
/// What is asked for is the temperature with the lowest cross-entropy (Guo et al. 2017). It has
/// only as many pictures to go by, though, and where all of them are right, the loss falls without
/// end towards temperature 0: what tells apart a classifier that is never wrong from one that is
/// wrong once in a thousand pictures is not in a hundred of them. So it is also asked which
/// temperature would be best if one more picture had come and been a mistake, and, where pictures
/// have few origins (`groups`: the number of each picture's), which would be best without each of
/// the origins. Of all between these answers the one nearest to 1 is taken: the least change that
/// the pictures demand. With many pictures of many origins and some mistakes, all answers are the
/// same.
///
/// Rows that are not finite are passed over. To the bit the same for the same rows in the same
/// order.
pub fn fit_temperature(
    logits: &[f32],
    labels: &[u32],
    classes: usize,
    groups: Option<&[u32]>,
) -> Temperature {
    let rows = Rows::new(logits, labels, classes, groups);
    let n = rows.rows.len();
    let value = |value: f64, limit| Temperature { value, limit };
    if n == 0 {
        return value(1.0, Some(TemperatureLimit::Undecided));
    }
    let lowest = rows.best(0.0, None);
    let mut answers = vec![lowest, rows.best(1.0 / (n as f64 + 1.0), None)];
    let groups: BTreeSet<u32> = rows.rows.iter().map(|row| row.group).collect();
    if FEW_GROUPS.contains(&groups.len()) {
        answers.extend(groups.into_iter().map(|group| rows.best(0.0, Some(group))));
    }
    let smallest = answers.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = answers.iter().copied().fold(0.0, f64::max);
    let at_end = |t: f64| t == *TEMPERATURES.start() || t == *TEMPERATURES.end();
    let ranged = |t: f64| at_end(t).then_some(TemperatureLimit::Range);
    let nearest = smallest.max(largest.min(1.0));
    if smallest < 1.0 && largest > 1.0 {
        return value(1.0, Some(TemperatureLimit::Undecided));
    }
    let moved = (nearest / lowest).max(lowest / nearest) > OTHER;
    value(nearest, ranged(nearest).or(moved.then_some(TemperatureLimit::Cautious)))
}

/// The temperature, within [`TEMPERATURES`], with the lowest mean cross-entropy. `wrong` is the
/// share of each picture that counts as the other classes', evenly: 0 for the loss itself, 0 to 1.
/// 1 if the loss is the same at all of them.
///
/// The loss is convex in 1/T; its minimum is found by Newton's method within a bracket, in f64, to
/// about twelve digits.
pub fn best_temperature(logits: &[f32], labels: &[u32], classes: usize, wrong: f64) -> f64 {
    Rows::new(logits, labels, classes, None).best(wrong, None)
}

struct Rows {
    rows: Vec<Row>,
}

struct Row {
    /// Logits minus the largest.
    logits: Vec<f64>,
    /// The true class.
    label: usize,
    group: u32,
}

impl Rows {
    fn new(logits: &[f32], labels: &[u32], classes: usize, groups: Option<&[u32]>) -> Self {
        let rows = logits.chunks_exact(classes.max(1)).zip(labels).enumerate();
        let rows = rows.filter(|(_, (row, label))| {
            row.iter().all(|x| x.is_finite()) && (**label as usize) < row.len()
        });
        let rows = rows.map(|(at, (row, &label))| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let logits = row.iter().map(|x| f64::from(*x) - f64::from(largest)).collect();
            let group = groups.and_then(|groups| groups.get(at)).copied().unwrap_or_default();
            Row { logits, label: label as usize, group }
        });
        Self { rows: rows.collect() }
    }

    /// The first and second derivative of the summed loss by β = 1/T, without one of the groups.
    fn derivatives(&self, beta: f64, wrong: f64, without: Option<u32>) -> (f64, f64) {
        let (mut first, mut second) = (0.0, 0.0);
        for Row { logits: row, label, .. } in
            self.rows.iter().filter(|row| without != Some(row.group))
        {
            let (mut sum, mut mean, mut square) = (0.0, 0.0, 0.0);
            for z in row {
                let weight = (beta * z).exp();
                sum += weight;
                mean += weight * z;
                square += weight * z * z;
            }
            mean /= sum;
            second += (square / sum - mean * mean).max(0.0);
            let others = (row.len() - 1).max(1) as f64;
            let total: f64 = row.iter().sum();
            let target = (1.0 - wrong) * row[*label] + wrong * (total - row[*label]) / others;
            first += mean - target;
        }
        (first, second)
    }

    fn best(&self, wrong: f64, without: Option<u32>) -> f64 {
        let derivatives = |beta| self.derivatives(beta, wrong, without);
        let (mut low, mut high) = (1.0 / TEMPERATURES.end(), 1.0 / TEMPERATURES.start());
        let mut beta = 1.0;
        if derivatives(beta) == (0.0, 0.0) {
            return 1.0;
        }
        if derivatives(low).0 >= 0.0 {
            return *TEMPERATURES.end();
        }
        if derivatives(high).0 <= 0.0 {
            return *TEMPERATURES.start();
        }
        for _ in 0..200 {
            let (first, second) = derivatives(beta);
            if first == 0.0 {
                break;
            }
            if first > 0.0 {
                high = beta
            } else {
                low = beta
            }
            let mut next = beta - first / second;
            if !(next > low && next < high) {
                next = (low * high).sqrt();
            }
            let done = (next - beta).abs() <= 1e-13 * beta;
            beta = next;
            if done {
                break;
            }
        }
        1.0 / beta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_wrong_is_not_made_surer_than_its_number_allows() {
        // Ten pictures, all right: at 0.9 each they are not surer than one mistake in eleven.
        let logit = 9f32.ln();
        let rows: Vec<f32> = [logit, 0.0].repeat(10);
        let own = fit_temperature(&rows, &[0; 10], 2, None);
        // 10/11 = sigmoid(ln 9 / T).
        let expected = 9f64.ln() / 10f64.ln();
        assert!((own.value - expected).abs() < 1e-7, "{own:?} {expected}");
        assert_eq!(own.limit, Some(TemperatureLimit::Cautious));
        // At 0.999 each, ten pictures are no reason to change anything.
        let rows: Vec<f32> = [999f32.ln(), 0.0].repeat(10);
        let own = fit_temperature(&rows, &[0; 10], 2, None);
        assert_eq!(own, Temperature { value: 1.0, limit: Some(TemperatureLimit::Undecided) });
    }

    #[test]
    fn overconfidence_is_taken_back_to_the_accuracy() {
        // Three of four right, at a confidence of 0.999.
        let rows: Vec<f32> = [999f32.ln(), 0.0].repeat(400);
        let labels: Vec<u32> = (0..400).map(|i| u32::from(i % 4 == 0)).collect();
        let own = fit_temperature(&rows, &labels, 2, None);
        let expected = 999f64.ln() / 3f64.ln();
        assert!((own.value - expected).abs() < 1e-6, "{own:?} {expected}");
        assert_eq!(own.limit, None);
    }

    #[test]
    fn one_origin_alone_does_not_decide() {
        // Of three hands the third is mostly mistaken, and the others never.
        let rows: Vec<f32> = [4.0, 0.0].repeat(300);
        let labels: Vec<u32> = (0..300).map(|i| u32::from(i >= 200 && i % 4 > 0)).collect();
        let hands: Vec<u32> = (0..300).map(|i| i / 100).collect();
        let alone = fit_temperature(&rows, &labels, 2, None);
        assert!(alone.value > 3.0 && alone.limit.is_none(), "{alone:?}");
        let own = fit_temperature(&rows, &labels, 2, Some(&hands));
        assert_eq!(own, Temperature { value: 1.0, limit: Some(TemperatureLimit::Undecided) });
        // Each hand is mistaken: the least of what remains without one of them.
        let labels: Vec<u32> = (0..300).map(|i| u32::from(i % 10 < [2, 3, 4][i / 100])).collect();
        let own = fit_temperature(&rows, &labels, 2, Some(&hands));
        // Without the third, a quarter is mistaken.
        let expected = 4.0 / 3f64.ln();
        assert!((own.value - expected).abs() < 1e-6, "{own:?} {expected}");
        assert_eq!(own.limit, Some(TemperatureLimit::Cautious));
        // As many origins as pictures are as none.
        let each: Vec<u32> = (0..300).collect();
        assert_eq!(
            fit_temperature(&rows, &labels, 2, Some(&each)),
            fit_temperature(&rows, &labels, 2, None)
        );
    }

    #[test]
    fn it_stays_in_its_range() {
        // Always wrong: no temperature is high enough.
        let own = fit_temperature(&[5.0, 0.0].repeat(8), &[1; 8], 2, None);
        assert_eq!(own, Temperature { value: 20.0, limit: Some(TemperatureLimit::Range) });
        // Nothing to go by.
        for (rows, labels) in [(vec![], vec![]), (vec![f32::NAN, 0.0], vec![0])] {
            let own = fit_temperature(&rows, &labels, 2, None);
            assert_eq!((own.value, own.limit), (1.0, Some(TemperatureLimit::Undecided)));
        }
        assert_eq!(fit_temperature(&[0.0; 4], &[0, 1], 2, None).value, 1.0);
        assert_eq!(fit_temperature(&[3.0, 4.0], &[0, 0], 1, None).value, 1.0);
    }
}
