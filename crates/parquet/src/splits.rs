//! Splits in columns that are not called so.

use std::collections::BTreeMap;

use taper_core::Split;
use taper_names::{
    split_columns::{
        flag_of, flags_remark, hints_at_split, is_hint, split_of_value, truth, unused_remark,
    },
    splits::is_plain,
};

use crate::{Columns, Error, Kind, Table};

/// More different values than this are not splits.
const MOST: usize = 8;

/// Different values of a column, and how often each occurs; empty ones do not count, and there are
/// at most [`MOST`] and one.
type Counts = BTreeMap<String, usize>;

/// Looks for a column in which every value is a word for a split, or for columns of truth values
/// such as `is_train`: those say the splits, with a remark. What may say them and is not used is
/// only remarked. A column whose name says nothing is read only if the smallest and the largest
/// value, which the file states, look like it.
///
/// # Errors
/// [`Error::Damaged`] if a column cannot be read.
pub fn find_splits(
    table: &Table,
    columns: &mut Columns,
    remarks: &mut Vec<String>,
) -> Result<(), Error> {
    let (mut plain, mut unused) = (Vec::new(), Vec::new());
    for column in candidates(table, columns) {
        let name = name(table, column);
        let counts = counts(table, column)?;
        let all: usize = counts.values().sum();
        let of = |is: &dyn Fn(&str) -> bool| -> usize {
            counts.iter().filter(|(word, _)| is(word)).map(|(_, count)| count).sum()
        };
        let few = !counts.is_empty() && counts.len() <= MOST;
        let truths = counts.keys().all(|word| truth(word).is_some());
        if few && of(&is_plain) == all {
            plain.push(column);
        } else if let Some(split) = flag_of(name).filter(|_| few && truths)
            && (split == Split::Train || 2 * of(&|word| truth(word) == Some(true)) <= all)
            && columns.flags.iter().all(|(_, own)| *own != split)
        {
            columns.flags.push((column, split));
        } else if (few && 2 * of(&hints_at_split) >= all) || (is_hint(name) && counts.len() >= 2) {
            unused.push((name, of(&|word| split_of_value(word).is_some()) == all));
        }
    }
    if let [column] = plain.as_slice() {
        columns.flags.clear();
        columns.split = Some(*column);
        let name = name(table, *column);
        remarks.push(format!("the splits are taken from the column '{name}'"));
        return Ok(());
    }
    if !columns.flags.is_empty() && plain.is_empty() {
        let flags: Vec<(&str, Split)> =
            columns.flags.iter().map(|(column, split)| (name(table, *column), *split)).collect();
        remarks.push(flags_remark(&flags));
        return Ok(());
    }
    columns.flags.clear();
    let mut all: Vec<(&str, bool)> =
        plain.iter().map(|column| (name(table, *column), true)).collect();
    all.extend(unused);
    remarks.extend(unused_remark(&all));
    Ok(())
}

fn name(table: &Table, column: usize) -> &str {
    table.columns()[column].top()
}

fn counts(table: &Table, column: usize) -> Result<Counts, Error> {
    let mut counts = Counts::new();
    for word in table.as_texts(column)?.into_iter().flatten() {
        if !word.is_empty() && (counts.len() <= MOST || counts.contains_key(&word)) {
            *counts.entry(word).or_default() += 1;
        }
    }
    Ok(counts)
}

/// The columns that may say the splits, by their names, or of text whose smallest and largest
/// values contain words for splits.
fn candidates(table: &Table, columns: &Columns) -> Vec<usize> {
    let taken = [columns.label, columns.bytes, columns.path];
    let is_word = |text: &Option<&str>| text.is_some_and(|t| t.len() < 40 && hints_at_split(t));
    let looks = |at: usize| {
        let extremes = table.extremes(at);
        !extremes.is_empty() && extremes.iter().all(|both| both.iter().any(is_word))
    };
    let may = |at: &usize| {
        let column = &table.columns()[*at];
        let Some(name) = column.plain() else { return false };
        let named = flag_of(name).is_some() || is_hint(name);
        !column.is_list
            && !taken.contains(&Some(*at))
            && column.kind != Kind::Other
            && (named || (column.kind == Kind::Text && looks(*at)))
    };
    (0..table.columns().len()).filter(may).collect()
}
