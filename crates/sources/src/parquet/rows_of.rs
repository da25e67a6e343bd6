//! The rows of a Parquet file, without their pictures.

use std::{path::Path, sync::Arc};

use taper_core::Split;
use taper_names::{
    columns::{class_of_row, one_hot_remark},
    group_columns::group_of,
    multi_label,
    split_columns::{of_flags, truth},
};
use taper_parquet::{Columns, Table, Values, Wrong, choose_columns, find_splits};

use super::damaged;
use crate::{Error, FolderUse, Reading, Result};

/// Class names are looked up in lists: a column of arbitrary numbers is not a label.
const MOST_CLASSES: usize = 1_000_000;

/// What is wrong with a file's content.
pub(super) enum Problem {
    /// It lacks a column, or leaves a choice.
    Columns(String),
    /// It has no column of labels.
    NoLabels(String),
    Damaged(String),
}

/// A file and its rows.
pub(super) struct Listing {
    pub(super) table: Table,
    pub(super) columns: Columns,
    pub(super) rows: Vec<Listed>,
    /// What was decided about the columns, or could be.
    pub(super) remarks: Vec<String>,
}

/// A row.
pub(super) struct Listed {
    /// Its path, if it has one.
    pub(super) path: Option<String>,
    pub(super) class: Option<String>,
    pub(super) split: Option<String>,
    /// The columns that may say its group, by name, and their values.
    pub(super) groups: Vec<(Arc<str>, String)>,
}

/// Opens a file and lists its rows; what is wrong with its content is the inner error.
pub(super) fn list(
    path: &Path,
    reading: &Reading,
) -> Result<std::result::Result<Listing, Problem>> {
    let table = match Table::open(path) {
        Ok(table) => table,
        Err(error) => return problem(damaged(path, error)),
    };
    let labels_count = reading.purpose != FolderUse::Classify;
    let mut columns = match choose_columns(&table, &reading.wanted(), labels_count) {
        Ok(columns) => columns,
        Err(Wrong::Column(problem)) => return Ok(Err(Problem::Columns(problem))),
        Err(Wrong::NoLabels(problem)) => return Ok(Err(Problem::NoLabels(problem))),
        Err(Wrong::Damaged(error)) => return problem(damaged(path, error)),
    };
    let mut remarks = std::mem::take(&mut columns.remarks);
    if !columns.one_hot.is_empty() {
        let name = |at: &usize| table.columns()[*at].top();
        remarks.push(one_hot_remark(&columns.one_hot.iter().map(name).collect::<Vec<_>>()));
    }
    let listed = || -> std::result::Result<_, taper_parquet::Error> {
        let labelled = columns.label.is_some() || !columns.one_hot.is_empty();
        if columns.split.is_none() && labelled {
            find_splits(&table, &mut columns, &mut remarks)?;
        }
        rows(&table, &columns)
    };
    match { listed }() {
        Ok(Ok(rows)) => Ok(Ok(Listing { table, columns, rows, remarks })),
        Ok(Err(problem)) => Ok(Err(Problem::Columns(problem))),
        Err(error) => problem(damaged(path, error)),
    }
}

/// Only damage is a problem of the content.
fn problem(error: Error) -> Result<std::result::Result<Listing, Problem>> {
    match error {
        Error::Table { problem, .. } => Ok(Err(Problem::Damaged(problem))),
        other => Err(other),
    }
}

/// The rows, or what another column would settle.
fn rows(
    table: &Table,
    columns: &Columns,
) -> std::result::Result<std::result::Result<Vec<Listed>, String>, taper_parquet::Error> {
    let none = || vec![None; table.rows() as usize];
    let classes = match columns.label {
        Some(label) => classes(table, columns, label)?,
        None if !columns.one_hot.is_empty() => match one_hot(table, &columns.one_hot)? {
            Ok(classes) => classes,
            Err(problem) => return Ok(Err(problem)),
        },
        None => vec![Some("unlabelled".into()); table.rows() as usize],
    };
    let labels = classes.iter().flatten().map(String::as_str);
    if columns.names.is_none()
        && columns.label.is_some()
        && let Some(label) = multi_label::several(labels, Some(&columns.label_name))
    {
        let problem = multi_label::refusal(&format!("'{label}'"));
        return Ok(Err(format!("{problem}, or name another column with `label_column`")));
    }
    let names = columns.path.map_or_else(|| Ok(none()), |column| table.texts(column))?;
    let splits = match columns.split {
        Some(column) => table.texts(column)?,
        None if columns.flags.is_empty() => none(),
        None => match flagged(table, &columns.flags)? {
            Ok(splits) => splits,
            Err(problem) => return Ok(Err(problem)),
        },
    };
    let rows = classes.into_iter().zip(names).zip(splits).map(|((class, name), split)| Listed {
        path: name.map(|name| name.replace('\\', "/")),
        class,
        split: split.map(|split| split.trim().to_owned()).filter(|split| !split.is_empty()),
        groups: Vec::new(),
    });
    let mut rows: Vec<Listed> = rows.collect();
    for column in &columns.groups {
        let name: Arc<str> = table.columns()[*column].top().into();
        for (row, value) in rows.iter_mut().zip(table.as_texts(*column)?) {
            let value = value.and_then(|value| group_of(&value));
            row.groups.extend(value.map(|value| (Arc::clone(&name), value)));
        }
    }
    Ok(Ok(rows))
}

/// The classes of rows with a column for each class.
fn one_hot(
    table: &Table,
    columns: &[usize],
) -> std::result::Result<std::result::Result<Vec<Option<String>>, String>, taper_parquet::Error> {
    let names: Vec<String> = table.columns().iter().map(|column| column.top().to_owned()).collect();
    let mut set = vec![Vec::with_capacity(columns.len()); table.rows() as usize];
    for column in columns {
        for (row, value) in set.iter_mut().zip(table.as_texts(*column)?) {
            row.push(value.and_then(|value| truth(&value)));
        }
    }
    let class = |(number, row): (usize, Vec<Option<bool>>)| {
        let value = |at: usize| columns.iter().position(|own| *own == at).and_then(|k| row[k]);
        let class = class_of_row(columns, &names, value);
        class.map(Some).map_err(|problem| format!("row {number}: {problem}"))
    };
    Ok(set.into_iter().enumerate().map(class).collect())
}

/// The names of the splits that columns of truth values say.
fn flagged(
    table: &Table,
    flags: &[(usize, Split)],
) -> std::result::Result<std::result::Result<Vec<Option<String>>, String>, taper_parquet::Error> {
    let mut rows = vec![Vec::with_capacity(flags.len()); table.rows() as usize];
    for (column, split) in flags {
        for (row, value) in rows.iter_mut().zip(table.as_texts(*column)?) {
            row.push((*split, value.and_then(|value| truth(&value))));
        }
    }
    let name = |(number, row): (usize, Vec<(Split, Option<bool>)>)| {
        let split = of_flags(&row).map_err(|problem| {
            format!(
                "row {number} {problem}: correct it, or name a column of words with `split_column`"
            )
        });
        split.map(|split| Some(split.name().to_owned()))
    };
    Ok(rows.into_iter().enumerate().map(name).collect())
}

fn classes(
    table: &Table,
    columns: &Columns,
    label: usize,
) -> std::result::Result<Vec<Option<String>>, taper_parquet::Error> {
    let named = |number: i64| -> std::result::Result<Option<String>, String> {
        match (&columns.names, usize::try_from(number)) {
            // The Hub uses −1 where the label is not given.
            (_, Err(_)) => Ok(None),
            (Some(names), Ok(at)) => match names.get(at) {
                Some(name) => Ok(Some(name.clone())),
                None => Err(format!(
                    "the label {at} is out of range: there are {} classes",
                    names.len()
                )),
            },
            (None, Ok(at)) if at < MOST_CLASSES => Ok(Some(at.to_string())),
            (None, Ok(at)) => Err(format!("the label {at} is not a class number")),
        }
    };
    let numbers: Vec<Option<i64>> = match table.values(label)? {
        Values::Text(names) => {
            return Ok(names
                .into_iter()
                .map(|name| name.map(multi_label::single).filter(|n| !n.trim().is_empty()))
                .collect());
        }
        Values::Integers(numbers) => numbers,
        Values::Booleans(values) => values.into_iter().map(|v| v.map(i64::from)).collect(),
        // Columns of labels are of another kind.
        Values::Floats(numbers) => vec![None; numbers.len()],
    };
    let names: std::result::Result<_, String> =
        numbers.into_iter().map(|number| number.map_or(Ok(None), named)).collect();
    let path = table.path().to_path_buf();
    names.map_err(|problem| taper_parquet::Error::Damaged { path, problem })
}

/// The last part of a path, for an id.
pub(super) fn last_part(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}
