//! Splits and folds of groups that hold pictures of several classes, such as patients with ill and
//! well tissue: no class has groups of its own, so all classes are drawn together.

use std::{cmp::Reverse, collections::BTreeMap};

use taper_core::random::Key;

use crate::Dataset;

/// Pictures that stay together, of any classes.
struct MixedGroup {
    random: u64,
    /// In the list that is drawn from; at least one.
    positions: Vec<usize>,
    /// Pictures of each class.
    counts: Vec<usize>,
}

/// A class whose groups do not suffice: its label, and how many groups have pictures of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFew {
    pub(crate) label: usize,
    pub(crate) groups: usize,
}

/// All groups of a list of pictures, and what they come to.
pub(crate) struct MixedGroups {
    groups: Vec<MixedGroup>,
    /// Pictures of each class.
    totals: Vec<usize>,
    /// How many groups have pictures of each class.
    having: Vec<usize>,
}

impl MixedGroups {
    /// The groups of these pictures, in a random order that depends on the key and their names;
    /// none if no group has pictures of several classes.
    pub(crate) fn of(dataset: &Dataset, indices: &[usize], key: &Key) -> Option<Self> {
        let classes = dataset.classes().len();
        let mut named: BTreeMap<&str, MixedGroup> = BTreeMap::new();
        let mut groups = Vec::new();
        for (position, index) in indices.iter().enumerate() {
            let sample = &dataset.samples()[*index];
            let label = sample.label as usize;
            let new = |random: u64| MixedGroup {
                random: key.stream(0, random).next_u64(),
                positions: Vec::new(),
                counts: vec![0; classes],
            };
            match sample.group.as_deref() {
                Some(name) => {
                    let hash = crate::dataset::hash_of(name);
                    let group = named.entry(name).or_insert_with(|| new(hash));
                    group.positions.push(position);
                    group.counts[label] += 1;
                }
                None => {
                    let mut group = new(sample.key());
                    group.positions.push(position);
                    group.counts[label] += 1;
                    groups.push(group);
                }
            }
        }
        groups.extend(named.into_values());
        let several = |group: &MixedGroup| group.counts.iter().filter(|n| **n > 0).count() > 1;
        if !groups.iter().any(several) {
            return None;
        }
        groups.sort_unstable_by_key(|group| (group.random, group.positions[0]));
        let totals = (0..classes).map(|c| groups.iter().map(|g| g.counts[c]).sum()).collect();
        let having = (0..classes).map(|c| groups.iter().filter(|g| g.counts[c] > 0).count());
        Some(Self { having: having.collect(), totals, groups })
    }

    /// A class that has pictures, but in fewer groups than this.
    fn too_few(&self, needed: usize) -> Option<TooFew> {
        let label = self.having.iter().position(|n| (1..needed).contains(n))?;
        Some(TooFew { label, groups: self.having[label] })
    }

    /// Marks the pictures of groups that come close to `fraction` of every class: at least one
    /// group of each, and few enough that at least `needed − 1` groups of each remain.
    pub(crate) fn draw(
        &self,
        fraction: f64,
        needed: usize,
        taken: &mut [bool],
    ) -> Result<(), TooFew> {
        self.too_few(needed).map_or(Ok(()), Err)?;
        let mut drawn = vec![0; self.totals.len()];
        let mut left = self.having.clone();
        let mut chosen = vec![false; self.groups.len()];
        let may_go = |group: &MixedGroup, left: &[usize]| {
            group.counts.iter().zip(left).all(|(n, left)| *n == 0 || *left >= needed)
        };
        let mut take = |at: usize, drawn: &mut Vec<usize>, left: &mut Vec<usize>| {
            chosen[at] = true;
            for (label, n) in self.groups[at].counts.iter().enumerate().filter(|(_, n)| **n > 0) {
                drawn[label] += n;
                left[label] -= 1;
            }
        };
        for (at, group) in self.groups.iter().enumerate() {
            if may_go(group, &left) && self.gain(group, &drawn, fraction) > 0.0 {
                take(at, &mut drawn, &mut left);
            }
        }
        for label in 0..drawn.len() {
            if drawn[label] > 0 || self.totals[label] == 0 {
                continue;
            }
            let fits = |group: &MixedGroup| group.counts[label] > 0 && may_go(group, &left);
            match self.groups.iter().position(fits) {
                Some(at) => take(at, &mut drawn, &mut left),
                None => return Err(TooFew { label, groups: self.having[label] }),
            }
        }
        for (group, chosen) in self.groups.iter().zip(chosen) {
            group.positions.iter().for_each(|position| taken[*position] |= chosen);
        }
        Ok(())
    }

    /// By how much the squared distances from the wanted shares of all classes fall with a group.
    fn gain(&self, group: &MixedGroup, drawn: &[usize], fraction: f64) -> f64 {
        let of = |label: usize| {
            let total = self.totals[label].max(1) as f64;
            let off = |n: usize| (n as f64 / total - fraction).powi(2);
            off(drawn[label]) - off(drawn[label] + group.counts[label])
        };
        (0..drawn.len()).map(of).sum()
    }

    /// The fold of each picture: the largest groups first, each into the fold in which the classes
    /// stay most even (as scikit-learn's `StratifiedGroupKFold`).
    pub(crate) fn folds(&self, folds: usize, of: &mut [usize]) -> Result<(), TooFew> {
        self.too_few(folds).map_or(Ok(()), Err)?;
        let mut order: Vec<&MixedGroup> = self.groups.iter().collect();
        order.sort_by_key(|group| Reverse(group.positions.len()));
        let mut counts = vec![vec![0_usize; self.totals.len()]; folds];
        for group in order {
            let cost = |fold: &usize| -> f64 {
                let grown = |label: usize| {
                    let (has, more) = (counts[*fold][label] as f64, group.counts[label] as f64);
                    ((has + more).powi(2) - has.powi(2))
                        / (self.totals[label].max(1) as f64).powi(2)
                };
                (0..self.totals.len()).map(grown).sum()
            };
            let Some(fold) = (0..folds).min_by(|a, b| cost(a).total_cmp(&cost(b))) else { break };
            for (total, n) in counts[fold].iter_mut().zip(&group.counts) {
                *total += n;
            }
            group.positions.iter().for_each(|position| of[*position] = fold);
        }
        for (label, total) in self.totals.iter().enumerate() {
            if *total > 0 && counts.iter().any(|fold| fold[label] == 0) {
                return Err(TooFew { label, groups: self.having[label] });
            }
        }
        Ok(())
    }
}
