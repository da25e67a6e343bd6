use std::collections::BTreeMap;

use taper_core::random::{Key, Purpose};

const FOLDS: Purpose = Purpose::new("logistic/folds");

/// Draws folds: the fold of each row, from 0. Rows with the same number in `groups` are in one
/// fold; without groups each row is a group. A group goes where its first row's class has the
/// fewest rows so far, the largest groups first, so that every fold has nearly the same share of
/// each class.
///
/// There are `wanted` folds, or as many as the class with the fewest groups has; none if that is
/// just one.
pub fn folds(labels: &[u32], groups: Option<&[u32]>, wanted: usize, seed: u64) -> Option<Vec<u8>> {
    // The rows of each group, by the class of its first row.
    let mut by_class: BTreeMap<u32, BTreeMap<u32, Vec<usize>>> = BTreeMap::new();
    let mut class_of: BTreeMap<u32, u32> = BTreeMap::new();
    for (row, &label) in labels.iter().enumerate() {
        let group = groups.map_or(row as u32, |groups| groups[row]);
        let class = *class_of.entry(group).or_insert(label);
        by_class.entry(class).or_default().entry(group).or_default().push(row);
    }
    let fewest = by_class.values().map(BTreeMap::len).min()?;
    let count = wanted.min(fewest).min(usize::from(u8::MAX));
    if count < 2 {
        return None;
    }
    let mut fold_of = vec![0; labels.len()];
    let mut sizes = vec![0usize; count];
    for (class, groups) in by_class {
        let key = Key::new(seed, FOLDS);
        let mut drawn: Vec<(usize, u32, Vec<usize>)> = groups
            .into_iter()
            .map(|(group, rows)| {
                let place = key.stream(class, u64::from(group)).next_u32();
                (usize::MAX - rows.len(), place, rows)
            })
            .collect();
        drawn.sort();
        let mut own = vec![0usize; count];
        for (_, _, rows) in drawn {
            // Of equals, the fold with the fewest rows of all classes.
            let fold = (0..count).min_by_key(|&fold| (own[fold], sizes[fold])).unwrap_or(0);
            own[fold] += rows.len();
            sizes[fold] += rows.len();
            rows.into_iter().for_each(|row| fold_of[row] = fold as u8);
        }
    }
    Some(fold_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_stratified_and_keep_groups_together() {
        let labels: Vec<u32> = (0..60).map(|i| u32::from(i % 3 == 0)).collect();
        let drawn = folds(&labels, None, 5, 1).unwrap();
        for fold in 0..5 {
            let own: Vec<u32> = (0..60).filter(|&i| drawn[i] == fold).map(|i| labels[i]).collect();
            assert_eq!((own.len(), own.iter().sum::<u32>()), (12, 4));
        }
        assert_eq!(drawn, folds(&labels, None, 5, 1).unwrap());
        assert_ne!(drawn, folds(&labels, None, 5, 2).unwrap());

        let groups: Vec<u32> = (0..60).map(|i| i / 6 * 2 + u32::from(i % 3 == 0)).collect();
        let drawn = folds(&labels, Some(&groups), 5, 1).unwrap();
        for i in 0..60 {
            assert!((0..60).all(|j| groups[i] != groups[j] || drawn[i] == drawn[j]));
        }
        assert_eq!((0..60).filter(|&i| drawn[i] == 0).count(), 12);
        // Fewer folds where a class has fewer groups, and none where it has one.
        let few = folds(&[0, 0, 0, 1, 1], None, 5, 0).unwrap();
        assert_eq!(few.iter().max(), Some(&1));
        assert!(folds(&[0, 0, 0, 1], None, 5, 0).is_none());
        assert!(folds(&[0, 0, 1, 1], Some(&[1, 1, 2, 2]), 5, 0).is_none());
    }
}
