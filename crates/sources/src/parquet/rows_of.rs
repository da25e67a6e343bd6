//! The rows of a Parquet file, without their pictures.

use std::path::Path;

use taper_parquet::{Table, Values};

use super::{
    columns::{self, Columns, Wrong},
    damaged,
    splits::find_split,
};
use crate::{Error, Reading, Result};

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
    pub(super) name: Option<String>,
    pub(super) class: Option<String>,
    pub(super) split: Option<String>,
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
    let mut columns = match columns::choose(&table, &reading.options) {
        Ok(columns) => columns,
        Err(Wrong::Column(problem)) => return Ok(Err(Problem::Columns(problem))),
        Err(Wrong::NoLabels(problem)) => return Ok(Err(Problem::NoLabels(problem))),
    };
    let mut remarks = Vec::new();
    let listed = || -> std::result::Result<Vec<Listed>, taper_parquet::Error> {
        if columns.split.is_none() {
            columns.split = find_split(&table, &columns, &mut remarks)?;
        }
        rows(&table, &columns)
    };
    match { listed }() {
        Ok(rows) => Ok(Ok(Listing { table, columns, rows, remarks })),
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

fn rows(
    table: &Table,
    columns: &Columns,
) -> std::result::Result<Vec<Listed>, taper_parquet::Error> {
    let text = |column: Option<usize>| match column {
        Some(column) => table.texts(column),
        None => Ok(vec![None; table.rows() as usize]),
    };
    let classes = classes(table, columns)?;
    let names = text(columns.path)?;
    let splits = text(columns.split)?;
    let rows = classes.into_iter().zip(names).zip(splits).map(|((class, name), split)| Listed {
        name: name.map(|name| last_part(&name)).filter(|name| !name.is_empty()),
        class,
        split: split.map(|split| split.trim().to_owned()).filter(|split| !split.is_empty()),
    });
    Ok(rows.collect())
}

fn classes(
    table: &Table,
    columns: &Columns,
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
    let numbers: Vec<Option<i64>> = match table.values(columns.label)? {
        Values::Text(names) => {
            return Ok(names.into_iter().map(|name| name.filter(|n| !n.is_empty())).collect());
        }
        Values::Integers(numbers) => numbers,
        Values::Booleans(values) => values.into_iter().map(|v| v.map(i64::from)).collect(),
    };
    let names: std::result::Result<_, String> =
        numbers.into_iter().map(|number| number.map_or(Ok(None), named)).collect();
    let path = table.path().to_path_buf();
    names.map_err(|problem| taper_parquet::Error::Damaged { path, problem })
}

/// The last part of a path, for an id.
fn last_part(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}
