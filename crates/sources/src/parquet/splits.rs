//! Splits in a column that is not called so.

use std::collections::BTreeMap;

use taper_parquet::{Error, Kind, Table};

use super::columns::Columns;
use crate::{
    sets::listed,
    split_words::{is_plain, split_named},
};

/// More different values than this are not splits.
const MOST: usize = 8;

/// Looks for a column in which every value is a word for a split: that is the split, with a remark;
/// one with other values too is only remarked. Columns are read only if the smallest and the
/// largest value, which the file states, look like it.
pub(super) fn find_split(
    table: &Table,
    columns: &Columns,
    remarks: &mut Vec<String>,
) -> Result<Option<usize>, Error> {
    let (mut plain, mut like) = (Vec::new(), Vec::new());
    for column in candidates(table, columns) {
        let mut values: BTreeMap<String, usize> = BTreeMap::new();
        let words = table.texts(column)?.into_iter().flatten();
        for word in words.map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()) {
            if values.len() <= MOST || values.contains_key(&word) {
                *values.entry(word).or_default() += 1;
            }
        }
        let all: usize = values.values().sum();
        let of = |is: fn(&str) -> bool| -> usize {
            values.iter().filter(|(word, _)| is(word)).map(|(_, count)| count).sum()
        };
        if values.is_empty() || values.len() > MOST {
        } else if of(is_plain) == all {
            plain.push(column);
        } else if 2 * of(|word| split_named(word).is_some()) >= all {
            like.push(column);
        }
    }
    let name = |column: &usize| table.columns()[*column].top().to_owned();
    if let [column] = plain.as_slice() {
        remarks.push(format!("the splits are taken from the column '{}'", name(column)));
        return Ok(Some(*column));
    }
    let names: Vec<String> = plain.iter().chain(&like).map(name).collect();
    if !names.is_empty() {
        remarks.push(format!(
            "the column {} looks like splits, but is not used: if it says them, name it with `split_column`",
            listed(&names)
        ));
    }
    Ok(None)
}

/// The columns of text whose smallest and largest values contain words for splits.
fn candidates(table: &Table, columns: &Columns) -> Vec<usize> {
    let taken = [Some(columns.label), columns.bytes, columns.path];
    let is_text = |at: &usize| {
        let column = &table.columns()[*at];
        column.kind == Kind::Text
            && !column.is_list
            && column.plain().is_some()
            && !taken.contains(&Some(*at))
    };
    let is_word =
        |text: &Option<&str>| text.is_some_and(|t| t.len() < 40 && split_named(t).is_some());
    let looks = |at: &usize| {
        let extremes = table.extremes(*at);
        !extremes.is_empty() && extremes.iter().all(|both| both.iter().any(is_word))
    };
    (0..table.columns().len()).filter(is_text).filter(looks).collect()
}
