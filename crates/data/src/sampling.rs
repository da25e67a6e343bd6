//! In which order an epoch's pictures come, and how much each class weighs: pure functions.

use std::{fmt, str::FromStr};

use taper_core::random::{Key, Purpose};

use crate::{Dataset, Error, Result};

const SAMPLING: Purpose = Purpose::new("data/sampling");

/// How the pictures of an epoch are chosen. Written `shuffled`, `balanced` or `sequential`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Sampling {
    /// Every picture once, by chance.
    #[default]
    Shuffled,
    /// As many pictures as there are, every class as often as any other; of a class, every picture equally often, up to
    /// one time more or less.
    Balanced,
    /// As many pictures as there are, drawn with replacement: each with a probability in proportion to its weight.
    Weighted(
        /// One weight for each of the indices, finite and not below 0, at least one above.
        Vec<f64>,
    ),
    /// Every picture once, as they stand.
    Sequential,
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Sampling::Shuffled => "shuffled",
            Sampling::Balanced => "balanced",
            Sampling::Weighted(_) => "weighted",
            Sampling::Sequential => "sequential",
        })
    }
}

impl FromStr for Sampling {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "shuffled" => Ok(Sampling::Shuffled),
            "balanced" => Ok(Sampling::Balanced),
            "sequential" => Ok(Sampling::Sequential),
            other => Err(Error::Option {
                field: "--sampling",
                value: other.into(),
                remedy: "use shuffled, balanced or sequential",
            }),
        }
    }
}

impl Sampling {
    /// The order of an epoch: indices into the data set's samples, as many as `indices` has.
    ///
    /// A function of its arguments alone. Shuffling sorts by random numbers keyed by (seed, epoch, id), so that a picture
    /// more or less leaves the others in their order.
    ///
    /// # Errors
    /// [`Error::NoSample`] for an index beyond the data set, [`Error::Option`] for weights that do not fit.
    pub fn order(
        &self,
        dataset: &Dataset,
        indices: &[usize],
        seed: u64,
        epoch: u32,
    ) -> Result<Vec<usize>> {
        if let Some(index) = indices.iter().find(|index| **index >= dataset.len()) {
            return Err(Error::NoSample {
                place: dataset.place(),
                index: *index,
                len: dataset.len(),
            });
        }
        let samples = dataset.samples();
        let labels: Vec<u32> = indices.iter().map(|index| samples[*index].label).collect();
        let keys: Vec<u64> = indices.iter().map(|index| samples[*index].key()).collect();
        let order = self.order_rows(&labels, &keys, seed, epoch)?;
        Ok(order.into_iter().map(|row| indices[row]).collect())
    }

    /// The order of an epoch over rows of any table: their numbers, as many as there are. `keys` stand for the rows in the
    /// random streams, as ids do for pictures; one for each label, all different.
    ///
    /// # Errors
    /// [`Error::Option`] for weights that do not fit.
    pub fn order_rows(
        &self,
        labels: &[u32],
        keys: &[u64],
        seed: u64,
        epoch: u32,
    ) -> Result<Vec<usize>> {
        let key = Key::new(seed, SAMPLING);
        match self {
            Sampling::Sequential => Ok((0..labels.len()).collect()),
            Sampling::Shuffled => Ok(shuffled(keys, key.part("shuffled"), epoch)),
            Sampling::Balanced => Ok(balanced(labels, keys, key.part("balanced"), epoch)),
            Sampling::Weighted(weights) => {
                weighted(labels.len(), weights, key.part("weighted"), epoch)
            }
        }
    }
}

fn shuffled(keys: &[u64], key: Key, epoch: u32) -> Vec<usize> {
    let mut keyed: Vec<(u64, usize)> = keys
        .iter()
        .enumerate()
        .map(|(row, own)| (key.stream(epoch, *own).next_u64(), row))
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, row)| row).collect()
}

fn balanced(labels: &[u32], keys: &[u64], key: Key, epoch: u32) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for row in shuffled(keys, key.part("within"), epoch) {
        by_class[labels[row] as usize].push(row);
    }
    by_class.retain(|members| !members.is_empty());
    let classes = by_class.len().max(1);
    // Which classes get one of the pictures that are left over is by chance.
    let mut turn: Vec<usize> = (0..by_class.len()).collect();
    key.part("surplus").stream(epoch, 0).shuffle(&mut turn);
    let mut slots: Vec<(u64, usize)> = Vec::with_capacity(labels.len());
    for (place, class) in turn.into_iter().enumerate() {
        let share = labels.len() / classes + usize::from(place < labels.len() % classes);
        let members = &by_class[class];
        for k in 0..share {
            let row = members[k % members.len()];
            // Repeats are apart: each has a random number of its own.
            let repeat = (k / members.len()) as u64;
            let own = keys[row] ^ repeat.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            slots.push((key.part("order").stream(epoch, own).next_u64(), row));
        }
    }
    slots.sort_unstable();
    slots.into_iter().map(|(_, row)| row).collect()
}

fn weighted(rows: usize, weights: &[f64], key: Key, epoch: u32) -> Result<Vec<usize>> {
    let sum: f64 = weights.iter().sum();
    let fit = weights.len() == rows
        && weights.iter().all(|w| *w >= 0.0 && w.is_finite())
        && (sum > 0.0 && sum.is_finite() || rows == 0);
    if !fit {
        return Err(Error::Option {
            field: "sampling weights",
            value: format!("{} for {rows} pictures, sum {sum}", weights.len()),
            remedy: "give one for each picture, finite, not below 0, and not all 0",
        });
    }
    let mut below = 0.0;
    let cumulative: Vec<f64> = weights
        .iter()
        .map(|weight| {
            below += weight;
            below
        })
        .collect();
    Ok((0..rows as u64)
        .map(|draw| {
            // 53 random bits: in [0, 1).
            let random = key.stream(epoch, draw).next_u64() >> 11;
            let at = random as f64 * (1.0 / (1u64 << 53) as f64) * sum;
            let drawn = cumulative.partition_point(|c| *c <= at);
            // Rounding may lead beyond the last one with a weight.
            let last = weights.iter().rposition(|w| *w > 0.0).unwrap_or(0);
            drawn.min(last)
        })
        .collect())
}

/// The weight of each class in the loss, by label, as scikit-learn's `compute_class_weight("balanced")` has it: n / (classes
/// present · n of the class). Classes without pictures weigh 1, which changes nothing.
pub fn class_weights(counts: &[usize]) -> Vec<f64> {
    let n: usize = counts.iter().sum();
    let present = counts.iter().filter(|count| **count > 0).count();
    counts
        .iter()
        .map(|count| if *count == 0 { 1.0 } else { n as f64 / (present * count) as f64 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FolderUse, fixture, open_folder};

    fn unbalanced() -> (tempfile::TempDir, Dataset) {
        let root = tempfile::tempdir().unwrap();
        fixture::write_folder(root.path(), &[("", 12)], &["a", "b", "c"]).unwrap();
        for k in 3..12 {
            std::fs::remove_file(root.path().join(format!("b/{k:02}.jpg"))).unwrap();
        }
        let dataset = open_folder(root.path(), FolderUse::Train).unwrap();
        (root, dataset)
    }

    #[test]
    fn shuffling_is_a_permutation_keyed_by_seed_epoch_and_id() {
        let (_root, dataset) = unbalanced();
        let all = dataset.indices(None);
        let order = |seed, epoch| Sampling::Shuffled.order(&dataset, &all, seed, epoch).unwrap();
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        let mut sorted = order(1, 0);
        sorted.sort_unstable();
        assert_eq!(sorted, all);
        // One picture less: the others keep their order.
        let gone = order(1, 0)[5];
        let fewer: Vec<usize> = all.iter().copied().filter(|i| *i != gone).collect();
        let mut expected = order(1, 0);
        expected.retain(|i| *i != gone);
        assert_eq!(Sampling::Shuffled.order(&dataset, &fewer, 1, 0).unwrap(), expected);
        assert_eq!(Sampling::Sequential.order(&dataset, &all, 1, 0).unwrap(), all);
        assert!(Sampling::Shuffled.order(&dataset, &[99], 1, 0).is_err());
    }

    #[test]
    fn balanced_sampling_shows_every_class_alike() {
        let (_root, dataset) = unbalanced();
        let all = dataset.indices(None);
        assert_eq!(dataset.counts(&all), [12, 3, 12]);
        let order = Sampling::Balanced.order(&dataset, &all, 7, 3).unwrap();
        assert_eq!(order.len(), 27);
        assert_eq!(dataset.counts(&order), [9, 9, 9]);
        for index in all.iter().filter(|i| dataset.samples()[**i].label == 1) {
            assert_eq!(order.iter().filter(|i| *i == index).count(), 3);
        }
        assert_eq!(order, Sampling::Balanced.order(&dataset, &all, 7, 3).unwrap());
    }

    #[test]
    fn weights_are_probabilities() {
        let (_root, dataset) = unbalanced();
        let all = dataset.indices(None);
        let mut weights = vec![0.0; all.len()];
        (weights[4], weights[9]) = (1.0, 3.0);
        let sampling = Sampling::Weighted(weights.clone());
        let mut counts = [0usize; 2];
        for epoch in 0..100 {
            for index in sampling.order(&dataset, &all, 5, epoch).unwrap() {
                counts[if index == all[4] { 0 } else { 1 }] += 1;
                assert!(index == all[4] || index == all[9]);
            }
        }
        let share = counts[0] as f64 / counts.iter().sum::<usize>() as f64;
        assert!((share - 0.25).abs() < 0.03, "{share}");
        weights[0] = -1.0;
        assert!(Sampling::Weighted(weights).order(&dataset, &all, 5, 0).is_err());
        assert!(Sampling::Weighted(vec![0.0; all.len()]).order(&dataset, &all, 5, 0).is_err());
        assert!(Sampling::Weighted(vec![1.0]).order(&dataset, &all, 5, 0).is_err());
    }

    #[test]
    fn class_weights_are_those_of_scikit_learn() {
        // scikit-learn 1.7: compute_class_weight("balanced", classes=[0, 1, 2], y=[0]*12 + [1]*3 + [2]*12)
        assert_eq!(class_weights(&[12, 3, 12]), [0.75, 3.0, 0.75]);
        assert_eq!(class_weights(&[4, 0, 4]), [1.0, 1.0, 1.0]);
    }
}
