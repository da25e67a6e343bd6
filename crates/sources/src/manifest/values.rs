//! What the values of columns look like.

use std::collections::BTreeSet;

use crate::split_words::{is_plain, split_named};

/// More different values than this are not splits.
const MOST: usize = 8;

/// What was seen of each column. Empty values do not count.
pub(super) struct Values(Vec<Seen>);

#[derive(Clone, Default)]
struct Seen {
    all: usize,
    /// How many are a word for a split and nothing else.
    plain: usize,
    /// How many have such a word in them.
    named: usize,
    /// How many are 0 or 1.
    binary: usize,
    /// Up to one more than [`MOST`].
    different: BTreeSet<String>,
}

impl Values {
    pub(super) fn new(columns: usize) -> Self {
        Self(vec![Seen::default(); columns])
    }

    pub(super) fn see(&mut self, column: usize, value: &str) {
        let Some(seen) = self.0.get_mut(column).filter(|_| !value.is_empty()) else { return };
        seen.all += 1;
        seen.binary += usize::from(matches!(value, "0" | "1" | "0.0" | "1.0"));
        if seen.different.len() <= MOST {
            seen.plain += usize::from(is_plain(value));
            seen.named += usize::from(split_named(value).is_some());
            if !seen.different.contains(value) {
                seen.different.insert(value.to_owned());
            }
        }
    }

    fn columns(&self, is: impl Fn(&Seen) -> bool) -> Vec<usize> {
        (0..self.0.len()).filter(|at| self.0[*at].all > 0 && is(&self.0[*at])).collect()
    }

    /// The columns in which every value is a word for a split.
    pub(super) fn words(&self) -> Vec<usize> {
        self.columns(|seen| seen.plain == seen.all)
    }

    /// The columns that are not of that kind, but have few values, most of which contain a word for
    /// a split.
    pub(super) fn look_like_splits(&self) -> Vec<usize> {
        self.columns(|seen| {
            seen.plain < seen.all
                && 2 * seen.named >= seen.all
                && (2..=MOST).contains(&seen.different.len())
        })
    }

    /// Whether a column has only zeros and ones.
    pub(super) fn is_binary(&self, column: usize) -> bool {
        self.0.get(column).is_some_and(|seen| seen.all > 0 && seen.binary == seen.all)
    }
}
