use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How many rows are compared with the training pictures' together, so that these are read once for
/// all of them.
const TOGETHER: usize = 16;
/// Sums that a product is spread over; a fixed number, so that the result does not depend on the
/// processor's vectors.
const LANES: usize = 8;
/// Training pictures at a time.
const BLOCK: usize = 64;

/// Which pictures are like the training pictures: those whose features are not farther from their
/// k-th nearest training picture's than a threshold.
///
/// Features are brought to length 1 first, and distances are Euclidean, 0 to 2: Sun, Ming, Zhu, Li,
/// *Out-of-Distribution Detection with Deep Nearest Neighbors*, ICML 2022.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Familiarity {
    /// k: the nearest training picture that counts, from 1.
    pub neighbours: usize,
    /// The largest distance of a familiar picture.
    pub threshold: f32,
    /// How many training pictures there were; the model has the features of some of them.
    pub training_pictures: u64,
    /// Their features at length 1, f32 `[rows, width]`, values of 16-bit floats. A tensor of its
    /// own in the file.
    #[serde(skip)]
    pub rows: Vec<f32>,
}

impl Familiarity {
    /// The distances of pictures to their k-th nearest training pictures: f32 `[n, width]` in, the
    /// backbone's rows, one distance each out. A row that is not finite is infinitely far away.
    /// To the bit independent of what else is asked for, of threads and of the processor.
    pub fn distances(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let width = width.max(1);
        let parts: Vec<Vec<f32>> =
            rows.par_chunks(width * TOGETHER).map(|part| self.of_some(part, width)).collect();
        parts.concat()
    }

    /// Whether a picture at this distance is unlike the training pictures.
    pub fn is_unfamiliar(&self, distance: f32) -> bool {
        distance.is_nan() || distance > self.threshold
    }

    fn of_some(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let unit: Vec<f32> = rows.chunks_exact(width).flat_map(at_length_1).collect();
        let count = self.rows.len() / width;
        let asked = unit.len() / width;
        let mut cosines = vec![0.0f32; asked * count];
        for (block, own) in self.rows.chunks(BLOCK * width).enumerate() {
            for (row, cosines) in unit.chunks_exact(width).zip(cosines.chunks_exact_mut(count)) {
                let cosines = &mut cosines[block * BLOCK..];
                for (four, out) in own.chunks(4 * width).zip(cosines.chunks_mut(4)) {
                    products(row, four, out);
                }
            }
        }
        let far = self.neighbours.clamp(1, count.max(1)) - 1;
        let each = cosines.chunks_exact_mut(count.max(1));
        each.map(|cosines| {
            if cosines.is_empty() {
                return f32::INFINITY;
            }
            let (_, nearest, _) = cosines.select_nth_unstable_by(far, |a, b| b.total_cmp(a));
            // |a − b|² = 2 − 2 ab at length 1.
            if nearest.is_finite() { (2.0 - 2.0 * *nearest).max(0.0).sqrt() } else { f32::INFINITY }
        })
        .collect()
    }
}

/// A row at length 1; zeros stay zeros.
pub fn at_length_1(row: &[f32]) -> Vec<f32> {
    let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let inverse = if length > 0.0 { 1.0 / length } else { 0.0 };
    row.iter().map(|x| (f64::from(*x) * inverse) as f32).collect()
}

/// The products of a row with up to four others, which lie one after the other.
fn products(row: &[f32], others: &[f32], out: &mut [f32]) {
    let width = row.len();
    if others.len() < 4 * width || out.len() < 4 {
        for (other, out) in others.chunks_exact(width).zip(out) {
            *out = product(row, [other])[0];
        }
        return;
    }
    let (a, rest) = others.split_at(width);
    let (b, rest) = rest.split_at(width);
    let (c, d) = rest.split_at(width);
    out[..4].copy_from_slice(&product(row, [a, b, c, d]));
}

/// Products and sums apart, never fused: every processor rounds them alike.
#[inline]
fn product<const N: usize>(row: &[f32], others: [&[f32]; N]) -> [f32; N] {
    let mut sums = [[0.0f32; LANES]; N];
    let (row, row_rest) = row.as_chunks::<LANES>();
    let parts = others.map(|other| other.as_chunks::<LANES>());
    let wholes = parts.map(|(whole, _)| &whole[..row.len()]);
    for (at, x) in row.iter().enumerate() {
        for (sums, other) in sums.iter_mut().zip(&wholes) {
            let y = &other[at];
            for lane in 0..LANES {
                sums[lane] += x[lane] * y[lane];
            }
        }
    }
    std::array::from_fn(|i| {
        let rest = row_rest.iter().zip(parts[i].1);
        let rest: f32 = rest.map(|(x, y)| x * y).sum();
        let mut sums = sums[i];
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                sums[lane] += sums[lane + half];
            }
            half /= 2;
        }
        sums[0] + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, from 0 to 1.
    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        use taper_core::random::{Key, Purpose};
        let mut stream = Key::new(seed, Purpose::new("test/familiarity")).stream(0, 0);
        (0..n).map(|_| stream.next_u32() as f32 / u32::MAX as f32).collect()
    }

    fn of(rows: usize, width: usize, neighbours: usize) -> Familiarity {
        let rows = numbers(rows * width, 1);
        let rows = rows.chunks_exact(width).flat_map(at_length_1).collect();
        Familiarity { neighbours, threshold: 0.5, training_pictures: 7, rows }
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        for (rows, width, neighbours) in [(1, 3, 1), (7, 20, 3), (131, 33, 11), (70, 16, 70)] {
            let own = of(rows, width, neighbours);
            let asked = numbers(37 * width, 2);
            let found = own.distances(&asked, width);
            assert_eq!(found.len(), 37);
            for (row, found) in asked.chunks_exact(width).zip(&found) {
                let unit = at_length_1(row);
                let mut all: Vec<f64> = own
                    .rows
                    .chunks_exact(width)
                    .map(|other| {
                        let squares = other.iter().zip(&unit);
                        squares.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
                    })
                    .collect();
                all.sort_by(f64::total_cmp);
                let expected = all[neighbours - 1];
                assert!((f64::from(*found) - expected).abs() < 1e-3, "{found}, {expected}");
            }
        }
    }

    #[test]
    fn what_else_is_asked_for_changes_no_bit() {
        let own = of(131, 33, 5);
        let asked = numbers(50 * 33, 3);
        let together = own.distances(&asked, 33);
        let alone: Vec<f32> =
            asked.chunks_exact(33).flat_map(|row| own.distances(row, 33)).collect();
        assert_eq!(together, alone);
    }

    #[test]
    fn what_is_not_finite_or_far_is_unfamiliar() {
        let own = of(9, 4, 2);
        let far = own.distances(&[f32::NAN, 1.0, 1.0, 1.0], 4)[0];
        assert!(own.is_unfamiliar(far), "{far}");
        assert!(own.is_unfamiliar(0.6) && !own.is_unfamiliar(0.5));
        // Zeros have no direction: all training pictures are as far.
        assert_eq!(own.distances(&[0.0; 4], 4), [2f32.sqrt()]);
    }
}
