//! Which columns of a Parquet file hold pictures, labels and splits.

use serde_json::{Map, Value};
use taper_core::Split;
use taper_names::columns::is_label;
use taper_parquet::{Column, Kind, Table};

use crate::{FolderUse, Reading};

/// Names of columns that say the split.
const SPLITS: [&str; 6] = ["split", "subset", "partition", "set", "data_split", "dataset_split"];
/// Names of columns with pictures that are not a group with `bytes`.
const IMAGES: [&str; 4] = ["image", "img", "picture", "jpg"];

/// The numbers of the columns.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) bytes: Option<usize>,
    pub(super) path: Option<usize>,
    /// None if labels do not count.
    pub(super) label: Option<usize>,
    /// Its name.
    pub(super) label_name: String,
    pub(super) split: Option<usize>,
    /// Columns of truth values that say the splits, if there is no column of words.
    pub(super) flags: Vec<(usize, Split)>,
    /// Class names, if the metadata have them.
    pub(super) names: Option<Vec<String>>,
}

/// What the schema's metadata, under the key `huggingface`, say about the columns.
struct Features(Map<String, Value>);

impl Features {
    fn of(table: &Table) -> Self {
        let features = table
            .metadata("huggingface")
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .and_then(|value| value.pointer("/info/features").cloned());
        match features {
            Some(Value::Object(features)) => Self(features),
            _ => Self(Map::new()),
        }
    }

    fn of_kind(&self, kind: &str) -> Vec<String> {
        let own = self.0.iter().filter(|(_, feature)| feature["_type"] == kind);
        own.map(|(name, _)| name.clone()).collect()
    }

    fn names(&self, column: &str) -> Option<Vec<String>> {
        let names = self.0.get(column)?["names"].as_array()?;
        names.iter().map(|name| name.as_str().map(String::from)).collect()
    }
}

/// What is wrong with the columns.
pub(super) enum Wrong {
    /// One is missing or has values of another kind, or several could be meant.
    Column(String),
    /// Nothing looks like labels.
    NoLabels(String),
}

impl From<String> for Wrong {
    fn from(problem: String) -> Self {
        Self::Column(problem)
    }
}

/// Finds the columns, or says which there are.
pub(super) fn choose(table: &Table, reading: &Reading) -> Result<Columns, Wrong> {
    let options = &reading.options;
    let features = Features::of(table);
    let schema = table.columns();
    let images = match &options.image_column {
        Some(name) => vec![name.clone()],
        None => images(schema, &features),
    };
    let image = one(images, schema, "picture bytes", "image", "image_column")?;
    let binary = &[Kind::Text];
    let bytes =
        find(schema, &[&image, "bytes"], binary).or_else(|| find(schema, &[&image], binary));
    let path = find(schema, &[&image, "path"], binary);
    if bytes.is_none() && path.is_none() {
        return Err(missing(schema, &image, "picture bytes", "image_column").into());
    }
    if reading.purpose == FolderUse::Classify {
        let (label, label_name, split, flags) = (None, String::new(), None, Vec::new());
        return Ok(Columns { bytes, path, label, label_name, split, flags, names: None });
    }
    let labels = match &options.label_column {
        Some(name) => vec![name.clone()],
        None => labels(schema, &features),
    };
    if labels.is_empty() {
        return Err(Wrong::NoLabels(missing(schema, "label", "labels", "label_column")));
    }
    let name = one(labels, schema, "labels", "label", "label_column")?;
    let kinds = [Kind::Integer, Kind::Boolean, Kind::Text];
    let Some(label) = find(schema, &[&name], &kinds) else {
        return Err(no_label(schema, &name).into());
    };
    let split = match &options.split_column {
        Some(name) => match find(schema, &[name], binary) {
            Some(split) => Some(split),
            None => return Err(missing(schema, name, "splits", "split_column").into()),
        },
        None => {
            let names = schema.iter().filter_map(Column::plain);
            let found: Vec<String> = names
                .filter(|name| SPLITS.contains(&name.to_lowercase().as_str()))
                .filter(|name| find(schema, &[name], binary).is_some())
                .map(String::from)
                .collect();
            match found.is_empty() {
                true => None,
                false => {
                    let name = one(found, schema, "splits", "split", "split_column")?;
                    find(schema, &[&name], binary)
                }
            }
        }
    };
    let (names, label) = (features.names(&name), Some(label));
    Ok(Columns { bytes, path, label, label_name: name, split, flags: Vec::new(), names })
}

fn find(schema: &[Column], wanted: &[&str], kinds: &[Kind]) -> Option<usize> {
    schema.iter().position(|column| {
        column.path.iter().map(String::as_str).eq(wanted.iter().copied())
            && kinds.contains(&column.kind)
            && !column.is_list
    })
}

fn images(schema: &[Column], features: &Features) -> Vec<String> {
    let declared = features.of_kind("Image");
    if !declared.is_empty() {
        return declared;
    }
    let groups: Vec<String> = schema
        .iter()
        .filter(|column| column.path.len() == 2 && column.path[1] == "bytes")
        .map(|column| column.top().to_owned())
        .collect();
    if !groups.is_empty() {
        return groups;
    }
    let plain = schema.iter().filter_map(Column::plain);
    plain.filter(|name| IMAGES.contains(name)).map(String::from).collect()
}

fn labels(schema: &[Column], features: &Features) -> Vec<String> {
    let declared = features.of_kind("ClassLabel");
    if !declared.is_empty() {
        return declared;
    }
    let mut fields: Vec<&str> = schema.iter().map(Column::top).collect();
    // Those of one group lie side by side.
    fields.dedup();
    let labels = fields.into_iter().filter(|name| is_label(&name.to_lowercase()));
    labels.map(String::from).collect()
}

/// Why a column cannot be the labels.
fn no_label(schema: &[Column], name: &str) -> String {
    match schema.iter().find(|column| column.top() == name) {
        Some(column) if column.is_list => format!(
            "'{name}' holds lists, several labels for one picture (multi-label), which is not supported: keep one label for each picture, or name another column with `label_column`"
        ),
        Some(column) if column.plain().is_some() => format!(
            "'{name}' holds values of the type {}, which are no labels (text, whole numbers or booleans are): say which column holds the labels with `label_column`",
            column.type_name
        ),
        _ => missing(schema, name, "labels", "label_column"),
    }
}

fn one(
    mut found: Vec<String>,
    schema: &[Column],
    what: &str,
    usual: &str,
    field: &str,
) -> Result<String, String> {
    if found.len() > 1 {
        let names: Vec<String> = found.iter().map(|name| format!("'{name}'")).collect();
        let names = names.join(", ");
        return Err(format!("{names} could all hold the {what}: say which with `{field}`"));
    }
    found.pop().ok_or_else(|| missing(schema, usual, what, field))
}

fn missing(schema: &[Column], name: &str, what: &str, field: &str) -> String {
    let names: Vec<String> = schema.iter().take(12).map(|column| column.path.join(".")).collect();
    format!(
        "there is no column '{name}' with {what}; there are: {}; say which it is with `{field}`",
        names.join(", ")
    )
}
