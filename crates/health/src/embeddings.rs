//! A backbone's features of the pictures, projected to a width at which everything else is cheap.

use std::collections::HashMap;

use rayon::prelude::*;
use taper_core::random::{Key, Purpose};

use crate::{Error, Result, scan::Scanned};

const PROJECTION: Purpose = Purpose::new("health/projection");
/// Width after projection. Distances are preserved to a few per cent (Johnson and Lindenstrauss,
/// 1984).
pub(crate) const PROJECTED: usize = 256;

/// Features of pictures from a frozen backbone, one row each.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Numbers per row.
    pub width: usize,
    /// f32 `[rows, width]`, row-major.
    pub values: Vec<f32>,
    /// The index of each row's picture in the data set.
    pub samples: Vec<usize>,
}

impl Embeddings {
    pub(crate) fn check(&self) -> Result<()> {
        let fail = |problem| Error::Embeddings {
            rows: self.samples.len(),
            width: self.width,
            values: self.values.len(),
            problem,
        };
        if self.width == 0 || self.samples.len().checked_mul(self.width) != Some(self.values.len())
        {
            return Err(fail("give rows times width values"));
        }
        if self.values.iter().any(|v| !v.is_finite()) {
            return Err(fail("some are not finite: the backbone's weights may be damaged"));
        }
        Ok(())
    }
}

/// Centred and projected rows.
#[derive(Debug)]
pub(crate) struct Projected {
    /// Position among the scanned pictures, for each row.
    pub(crate) positions: Vec<usize>,
    /// `[rows, PROJECTED]`, centred, of mean squared length 1.
    pub(crate) rows: Vec<[f32; PROJECTED]>,
}

/// Projects the rows of the scanned pictures.
pub(crate) fn project(embeddings: &Embeddings, pictures: &[Scanned]) -> Projected {
    let by_index: HashMap<usize, usize> =
        pictures.iter().enumerate().map(|(position, p)| (p.index, position)).collect();
    let width = embeddings.width;
    let chosen: Vec<(usize, &[f32])> = embeddings
        .samples
        .iter()
        .zip(embeddings.values.chunks_exact(width))
        .filter_map(|(index, row)| Some((*by_index.get(index)?, row)))
        .collect();
    let rows = projected(width, &chosen.iter().map(|(_, row)| *row).collect::<Vec<_>>());
    Projected { positions: chosen.into_iter().map(|(position, _)| position).collect(), rows }
}

/// Rows of this width, centred and projected, of mean squared length 1.
pub(crate) fn projected(width: usize, chosen: &[&[f32]]) -> Vec<[f32; PROJECTED]> {
    let n = chosen.len().max(1) as f64;
    let mut mean = vec![0f64; width];
    for row in chosen {
        for (sum, value) in mean.iter_mut().zip(*row) {
            *sum += f64::from(*value) / n;
        }
    }
    // Random signs, keyed by the column, so that they do not depend on anything else.
    let key = Key::new(0, PROJECTION);
    let signs: Vec<[f32; PROJECTED]> = (0..width)
        .map(|column| {
            let mut stream = key.stream(0, column as u64);
            let mut row = [0.0; PROJECTED];
            for part in row.as_chunks_mut::<32>().0 {
                let bits = stream.next_u32();
                for (i, sign) in part.iter_mut().enumerate() {
                    *sign = if bits >> i & 1 == 1 { 1.0 } else { -1.0 };
                }
            }
            row
        })
        .collect();
    let mut rows: Vec<[f32; PROJECTED]> = chosen
        .par_iter()
        .map(|row| {
            let mut out = [0f32; PROJECTED];
            for ((value, mean), signs) in row.iter().zip(&mean).zip(&signs) {
                let value = (f64::from(*value) - mean) as f32;
                for (out, sign) in out.iter_mut().zip(signs) {
                    *out += value * sign;
                }
            }
            out
        })
        .collect();
    let squares: f64 = rows.iter().flatten().map(|v| f64::from(*v) * f64::from(*v)).sum();
    let scale = if squares > 0.0 { (n / squares).sqrt() as f32 } else { 0.0 };
    rows.iter_mut().flatten().for_each(|v| *v *= scale);
    rows
}

pub(crate) fn dot(a: &[f32; PROJECTED], b: &[f32; PROJECTED]) -> f32 {
    let mut sums = [0f32; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

/// The rows at unit length: their dot product is the cosine.
pub(crate) fn directions(projected: &Projected) -> Vec<[f32; PROJECTED]> {
    projected
        .rows
        .par_iter()
        .map(|row| {
            let length = dot(row, row).sqrt().max(1e-12);
            row.map(|v| v / length)
        })
        .collect()
}

/// The `k` rows among `candidates` most similar to row `of`, without itself: (cosine, row), best
/// first.
pub(crate) fn nearest(
    directions: &[[f32; PROJECTED]],
    of: usize,
    candidates: impl Iterator<Item = usize>,
    k: usize,
) -> Vec<(f32, usize)> {
    let mut best: Vec<(f32, usize)> = Vec::with_capacity(k + 1);
    for row in candidates.filter(|row| *row != of) {
        let cosine = dot(&directions[of], &directions[row]);
        if best.len() == k && best.last().is_some_and(|last| cosine <= last.0) {
            continue;
        }
        let at = best.partition_point(|b| b.0 >= cosine);
        best.insert(at, (cosine, row));
        best.truncate(k);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first() {
        let direction = |angle: f32| {
            let mut row = [0.0; PROJECTED];
            (row[0], row[1]) = (angle.cos(), angle.sin());
            row
        };
        let rows: Vec<_> = [0.0, 1.0, 0.1, 3.0, -0.3].map(direction).into();
        let found: Vec<usize> = nearest(&rows, 0, 0..5, 3).iter().map(|n| n.1).collect();
        assert_eq!(found, [2, 4, 1]);
    }

    #[test]
    fn embeddings_that_do_not_fit_are_refused() {
        let embeddings = Embeddings { width: 2, values: vec![0.0; 5], samples: vec![0, 1] };
        assert!(embeddings.check().is_err());
        let embeddings = Embeddings { width: 1, values: vec![f32::NAN], samples: vec![0] };
        assert!(embeddings.check().unwrap_err().to_string().contains("finite"));
    }
}
