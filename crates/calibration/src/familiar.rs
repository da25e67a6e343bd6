use half::f16;
use taper_core::random::{Key, Purpose};
use taper_model::{Familiarity, at_length_1};

const CHOICE: Purpose = Purpose::new("calibration/reference");
/// The most training pictures whose features a model keeps.
pub const LIMIT_ROWS: usize = 1000;
/// The most bytes that they take.
pub const LIMIT_BYTES: usize = 4 << 20;
/// The share of validation pictures that are familiar by definition.
const FAMILIAR: f64 = 0.95;
/// The most neighbours that a distance is taken to.
const NEIGHBOURS: usize = 50;

/// Which of `n` training pictures a model keeps the features of: all if they are few, else a part
/// that depends on the seed alone. Ascending.
pub fn reference_rows(n: usize, width: usize, seed: u64) -> Vec<usize> {
    let room = LIMIT_BYTES / (width * size_of::<f16>()).max(1);
    some(n, LIMIT_ROWS.min(room.max(1)), seed)
}

/// At most `limit` of `n`, ascending: those with the smallest numbers of a keyed stream.
fn some(n: usize, limit: usize, seed: u64) -> Vec<usize> {
    if n <= limit {
        return (0..n).collect();
    }
    let key = Key::new(seed, CHOICE);
    let number = |row: usize| (key.stream(0, row as u64).next_u64(), row);
    let mut numbered: Vec<(u64, usize)> = (0..n).map(number).collect();
    numbered.sort_unstable();
    numbered.truncate(limit);
    let mut rows: Vec<usize> = numbered.into_iter().map(|(_, row)| row).collect();
    rows.sort_unstable();
    rows
}

/// What is familiar, by the features of training pictures, f32 `[rows, width]`, of which there were
/// `training` in all, and of validation pictures. None if either are missing or not finite.
pub(crate) fn familiarity(
    reference: &[f32],
    training: usize,
    validation: &[f32],
    width: usize,
    seed: u64,
) -> Option<Familiarity> {
    if width == 0 || reference.len() < width || validation.len() < width {
        return None;
    }
    let unit = reference.chunks_exact(width).flat_map(at_length_1);
    let rows: Vec<f32> = unit.map(|x| f16::from_f32(x).to_f32()).collect();
    if rows.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let kept = rows.len() / width;
    let neighbours = ((kept as f64).sqrt() as usize).clamp(1, NEIGHBOURS);
    let mut own =
        Familiarity { neighbours, threshold: 2.0, training_pictures: training as u64, rows };
    // As many as settle a quantile; comparing takes as long as there are pictures.
    let chosen = some(validation.len() / width, LIMIT_ROWS, seed);
    let asked: Vec<f32> =
        chosen.iter().flat_map(|&row| &validation[row * width..][..width]).copied().collect();
    let mut distances = own.distances(&asked, width);
    distances.sort_by(f32::total_cmp);
    // The ⌈(n + 1) · 0.95⌉-th smallest, so that at most one in twenty of further pictures like them
    // is above; with fewer than 19, the largest.
    let n = distances.len();
    let rank = ((n as f64 + 1.0) * FAMILIAR - 1e-9).ceil() as usize;
    own.threshold = distances[rank.clamp(1, n) - 1];
    own.threshold.is_finite().then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_all_kept_and_many_are_a_fixed_part() {
        assert_eq!(reference_rows(5, 10, 3), [0, 1, 2, 3, 4]);
        let part = reference_rows(9000, 10, 3);
        assert_eq!(part.len(), LIMIT_ROWS);
        assert!(part.is_sorted_by(|a, b| a < b) && part[LIMIT_ROWS - 1] < 9000);
        assert_eq!(part, reference_rows(9000, 10, 3));
        assert_ne!(part, reference_rows(9000, 10, 4));
        // Wide features: 4 MiB of 25,088 numbers.
        assert_eq!(reference_rows(9000, 25_088, 3).len(), 83);
        assert_eq!(reference_rows(3, 100_000_000, 3).len(), 1);
    }

    #[test]
    fn the_threshold_leaves_one_in_twenty_outside() {
        // Training pictures at one direction, validation pictures ever farther from it.
        let reference = [1.0, 0.0].repeat(4);
        let validation: Vec<f32> = (1..=99).flat_map(|i| [1.0, i as f32 / 100.0]).collect();
        let own = familiarity(&reference, 4, &validation, 2, 0).unwrap();
        assert_eq!((own.neighbours, own.training_pictures), (2, 4));
        let outside = own.distances(&validation, 2).into_iter().filter(|d| own.is_unfamiliar(*d));
        // The 95th of 99 is the threshold.
        assert_eq!(outside.count(), 4);
        assert!(familiarity(&[], 0, &validation, 2, 0).is_none());
        assert!(familiarity(&reference, 4, &[], 2, 0).is_none());
        assert!(familiarity(&[f32::NAN, 0.0], 1, &validation, 2, 0).is_none());
    }
}
