//! What the values of columns look like.

use std::collections::BTreeSet;

use crate::{
    split_columns::{hints_at_split, split_of_value, truth},
    splits::is_plain,
};

/// More different values than this are not splits.
const MOST: usize = 8;

/// What was seen of each column. Empty values do not count.
#[derive(Debug)]
pub struct Values(Vec<Seen>);

#[derive(Debug, Clone, Default)]
struct Seen {
    all: usize,
    /// How many are a word for a split and nothing else.
    plain: usize,
    /// How many have such a word in them, or another one that people call a split by.
    named: usize,
    /// How many are understood where splits are expected.
    understood: usize,
    /// How many are 0 or 1, true or false.
    binary: usize,
    /// How many of those are 1 or true.
    set: usize,
    /// Up to one more than [`MOST`].
    different: BTreeSet<String>,
}

impl Values {
    /// Of so many columns, of which nothing was seen yet.
    pub fn new(columns: usize) -> Self {
        Self(vec![Seen::default(); columns])
    }

    /// Takes note of a value.
    pub fn see(&mut self, column: usize, value: &str) {
        let Some(seen) = self.0.get_mut(column).filter(|_| !value.is_empty()) else { return };
        seen.all += 1;
        // Longer texts are neither flags nor splits, and there may be many of them.
        if value.len() <= 5 {
            let truth = truth(value);
            seen.binary += usize::from(truth.is_some());
            seen.set += usize::from(truth == Some(true));
        }
        if seen.different.len() <= MOST {
            seen.plain += usize::from(is_plain(value));
            seen.named += usize::from(hints_at_split(value));
            seen.understood += usize::from(split_of_value(value).is_some());
            if !seen.different.contains(value) {
                seen.different.insert(value.to_owned());
            }
        }
    }

    fn columns(&self, is: impl Fn(&Seen) -> bool) -> Vec<usize> {
        (0..self.0.len()).filter(|at| self.0[*at].all > 0 && is(&self.0[*at])).collect()
    }

    /// The columns in which every value is a word for a split.
    pub fn words(&self) -> Vec<usize> {
        self.columns(|seen| seen.plain == seen.all)
    }

    /// Whether a column is not of that kind, but has few values, most of which contain a word for a
    /// split.
    pub fn looks_like_splits(&self, column: usize) -> bool {
        self.0.get(column).is_some_and(|seen| {
            seen.all > 0
                && seen.plain < seen.all
                && 2 * seen.named >= seen.all
                && (2..=MOST).contains(&seen.different.len())
        })
    }

    /// Whether a column has several values, but not one for each row.
    pub fn varies(&self, column: usize) -> bool {
        self.0.get(column).is_some_and(|seen| {
            seen.different.len() >= 2 && (seen.different.len() < seen.all || seen.all <= MOST)
        })
    }

    /// Whether all values are understood where splits are expected.
    pub fn understood(&self, column: usize) -> bool {
        self.0.get(column).is_some_and(|seen| seen.understood == seen.all)
    }

    /// Whether a column has only zeros and ones, or truth values.
    pub fn is_binary(&self, column: usize) -> bool {
        self.0.get(column).is_some_and(|seen| seen.all > 0 && seen.binary == seen.all)
    }

    /// Whether at most half of such values are 1 or true, as for pictures held out.
    pub fn is_minority(&self, column: usize) -> bool {
        self.0.get(column).is_some_and(|seen| 2 * seen.set <= seen.all)
    }
}
