//! Accuracy against the number of training pictures, on features that are there already.

use taper_core::random::{Key, Purpose};
use taper_logistic::{Rows, Solver, never, solve};
use taper_train::Table;

/// Shares of the training pictures that are tried, the least first.
const SHARES: [f64; 4] = [0.125, 0.25, 0.5, 1.0];
/// How often pictures are drawn for each share but the whole.
const DRAWS: u32 = 3;
/// Fewer pictures of a class than this are not trained on.
const FEWEST: usize = 2;
/// What solving all of them may take at most: rows × features × classes of the whole.
const MOST: usize = 30_000_000;
/// The length of the rows, as in the head `logistic`.
const LENGTH: f32 = 20.0;
const DRAWN: Purpose = Purpose::new("run-report/learning-curve");

/// A point of the curve.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// Training pictures.
    pub(crate) pictures: usize,
    /// Mean accuracy over the draws, 0…1.
    pub(crate) accuracy: f64,
    /// The lowest and the highest of the draws.
    pub(crate) range: (f64, f64),
    /// Mean recall of each class, 0…1; none for classes that were not measured.
    pub(crate) recall: Vec<Option<f64>>,
}

/// Accuracy against the number of training pictures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LearningCurve {
    pub(crate) points: Vec<Point>,
    /// The pictures that it was measured on.
    pub(crate) measured: usize,
}

/// Where the curve may go with twice the pictures: the gain from the last doubling, or less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outlook {
    /// Gain from half the pictures to all, as a difference of accuracies.
    pub(crate) last: f64,
    /// Two standard errors of it.
    pub(crate) noise: f64,
    /// What doubling the pictures might bring at most, as the errors shrink by a constant share
    /// with each doubling.
    pub(crate) next: f64,
}

impl LearningCurve {
    /// Solves logistic regressions of one strength on shares of the training pictures, `views` rows
    /// each, of which only the first is used. None with fewer than 16 training or 20 other
    /// pictures, or if it would take long.
    pub(crate) fn measure(
        train: &Table,
        views: usize,
        other: &Table,
        (classes, strength): (usize, f64),
        seed: u64,
    ) -> Option<Self> {
        let width = train.width;
        let pictures = train.len() / views.max(1);
        let size = pictures.saturating_mul(width).saturating_mul(classes);
        if pictures < 16 || other.len() < 20 || size > MOST || width != other.width {
            return None;
        }
        let rows: Vec<f32> =
            (0..pictures).flat_map(|at| of_length(train.row(at * views))).collect();
        let labels: Vec<u32> = (0..pictures).map(|at| train.labels[at * views]).collect();
        let tested: Vec<Vec<f32>> = (0..other.len()).map(|at| of_length(other.row(at))).collect();
        let mut points = Vec::new();
        for share in SHARES {
            let draws = if share < 1.0 { DRAWS } else { 1 };
            let mut measured = Vec::new();
            let mut count = 0;
            for draw in 0..draws {
                let Some(chosen) = drawn(&labels, classes, share, (seed, draw)) else { continue };
                count = chosen.len();
                measured.push(accuracy(
                    (&rows, &labels, width),
                    &chosen,
                    (&tested, &other.labels),
                    (classes, strength),
                )?);
            }
            if measured.is_empty() || points.last().is_some_and(|p: &Point| p.pictures >= count) {
                continue;
            }
            points.push(point(count, &measured));
        }
        (points.len() > 1).then_some(Self { points, measured: other.len() })
    }

    /// What more pictures might bring; none without two points a doubling apart.
    pub(crate) fn outlook(&self) -> Option<Outlook> {
        let [.., half, whole] = &self.points[..] else { return None };
        let doubled = whole.pictures as f64 / half.pictures.max(1) as f64;
        if !(1.6..=2.5).contains(&doubled) {
            return None;
        }
        let n = self.measured as f64;
        let error = |p: f64| p * (1.0 - p) / n;
        let noise = 2.0 * (error(half.accuracy) + error(whole.accuracy)).sqrt();
        let last = whole.accuracy - half.accuracy;
        let (before, now) = (1.0 - half.accuracy, 1.0 - whole.accuracy);
        let next = if before > 0.0 { now * (1.0 - (now / before).min(1.0)) } else { 0.0 };
        Some(Outlook { last, noise, next })
    }

    /// The class whose recall gained most by the last doubling, and by how much.
    pub(crate) fn gaining_class(&self) -> Option<(usize, f64)> {
        let [.., half, whole] = &self.points[..] else { return None };
        let gains = half.recall.iter().zip(&whole.recall).enumerate();
        let gains = gains.filter_map(|(class, (a, b))| Some((class, (*b)? - (*a)?)));
        gains.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// A row of the length that logistic regression is solved on.
fn of_length(row: &[f32]) -> Vec<f32> {
    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    let scale = if length > 0.0 { LENGTH / length } else { 0.0 };
    row.iter().map(|x| x * scale).collect()
}

/// A share of each class's pictures; none if a class would have too few.
fn drawn(
    labels: &[u32],
    classes: usize,
    share: f64,
    (seed, draw): (u64, u32),
) -> Option<Vec<usize>> {
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (at, label) in labels.iter().enumerate() {
        of_class.get_mut(*label as usize)?.push(at);
    }
    let key = Key::new(seed, DRAWN);
    let mut chosen = Vec::new();
    for mut own in of_class {
        let wanted = (own.len() as f64 * share).round() as usize;
        if share < 1.0 && wanted < FEWEST && !own.is_empty() {
            return None;
        }
        own.sort_by_cached_key(|at| (key.stream(draw, *at as u64).next_u32(), *at));
        chosen.extend_from_slice(&own[..wanted.min(own.len())]);
    }
    chosen.sort_unstable();
    Some(chosen)
}

/// The share of pictures that are recognised, and that of each class.
type Measured = (f64, Vec<Option<f64>>);

fn accuracy(
    (rows, labels, width): (&[f32], &[u32], usize),
    chosen: &[usize],
    (tested, expected): (&[Vec<f32>], &[u32]),
    (classes, strength): (usize, f64),
) -> Option<Measured> {
    let values: Vec<f32> =
        chosen.iter().flat_map(|at| &rows[at * width..][..width]).copied().collect();
    let own: Vec<u32> = chosen.iter().map(|at| labels[*at]).collect();
    let rows = Rows::new(&values, width, &own, classes).ok()?;
    // A curve needs no more than this.
    let solver = Solver { iterations: 100, excess: 1e-4, ..Solver::default() }.check().ok()?;
    let solved = solve(&rows, strength, None, &solver, &never).ok()?;
    let mut right = vec![(0usize, 0usize); classes];
    for (row, label) in tested.iter().zip(expected) {
        let logits = solved.model.logits(row);
        let best = (0..classes).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        let (hits, all) = right.get_mut(*label as usize)?;
        *hits += usize::from(best == Some(*label as usize));
        *all += 1;
    }
    let hits: usize = right.iter().map(|(hits, _)| hits).sum();
    let recall = right.iter().map(|(hits, all)| (*all > 0).then(|| *hits as f64 / *all as f64));
    Some((hits as f64 / tested.len().max(1) as f64, recall.collect()))
}

fn point(pictures: usize, measured: &[Measured]) -> Point {
    let n = measured.len() as f64;
    let accuracies = || measured.iter().map(|(accuracy, _)| *accuracy);
    let classes = measured.first().map_or(0, |(_, recall)| recall.len());
    let recall = (0..classes).map(|class| {
        let sum: Option<f64> = measured.iter().map(|(_, recall)| recall[class]).sum();
        sum.map(|sum| sum / n)
    });
    Point {
        pictures,
        accuracy: accuracies().sum::<f64>() / n,
        range: (accuracies().fold(1.0, f64::min), accuracies().fold(0.0, f64::max)),
        recall: recall.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of two classes whose directions differ by `apart`, with noise that is always the same.
    fn table(n: u32, apart: f32) -> Table {
        let noise = |at: u32| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let row = |at: u32| {
            let side = if at.is_multiple_of(2) { apart } else { -apart };
            (0..8).map(move |i| if i == 0 { side } else { 0.0 } + noise(8 * at + i))
        };
        let labels: Vec<u32> = (0..n).map(|at| at % 2).collect();
        Table { width: 8, values: (0..n).flat_map(row).collect(), labels, ..Table::default() }
    }

    #[test]
    fn the_curve_is_over_shares_of_each_class() {
        let (train, other) = (table(64, 3.0), table(101, 3.0));
        let curve = LearningCurve::measure(&train, 1, &other, (2, 0.1), 0).unwrap();
        let pictures: Vec<usize> = curve.points.iter().map(|own| own.pictures).collect();
        assert_eq!((pictures, curve.measured), (vec![8, 16, 32, 64], 101));
        assert!(curve.points.iter().all(|own| own.accuracy > 0.97), "{curve:?}");
        // What cannot be told apart stays near a half.
        let blind = LearningCurve::measure(&table(64, 0.0), 1, &other, (2, 0.1), 0).unwrap();
        assert!(blind.points[0].accuracy < 0.95, "{blind:?}");
        assert!(LearningCurve::measure(&table(14, 3.0), 1, &other, (2, 0.1), 0).is_none());
        assert!(LearningCurve::measure(&train, 1, &table(19, 3.0), (2, 0.1), 0).is_none());
    }
}
