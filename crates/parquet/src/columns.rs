//! Which columns of a Parquet file hold pictures, labels, splits and groups.

use serde_json::{Map, Value};
use taper_core::Split;
use taper_names::{
    columns::{Wanted, is_label, path_column},
    group_columns::kind_of,
    sets::listed,
    split_columns::{flag_of, truth},
};

use crate::{Column, Error, Kind, Table};

/// Names of columns that say the split.
const SPLITS: [&str; 6] = ["split", "subset", "partition", "set", "data_split", "dataset_split"];
/// Names of columns with pictures that are not a group with `bytes`.
const IMAGES: [&str; 4] = ["image", "img", "picture", "jpg"];

/// The numbers of the columns that say what a picture is.
#[derive(Debug, Default)]
pub struct Columns {
    /// The bytes of pictures.
    pub bytes: Option<usize>,
    /// Their paths.
    pub path: Option<usize>,
    /// The labels; none if they do not count.
    pub label: Option<usize>,
    /// Its name.
    pub label_name: String,
    /// Columns of which one is 1 in each row, if each class has its own.
    pub one_hot: Vec<usize>,
    /// Columns that may say groups, or the one that was asked for.
    pub groups: Vec<usize>,
    /// The words for splits.
    pub split: Option<usize>,
    /// Columns of truth values that say the splits, if there is no column of words.
    pub flags: Vec<(usize, Split)>,
    /// Class names, if the metadata have them.
    pub names: Option<Vec<String>>,
    /// What was not understood.
    pub remarks: Vec<String>,
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

/// What is wrong with the columns of a table.
#[derive(Debug)]
pub enum Wrong {
    /// One is missing or has values of another kind, or several could be meant.
    Column(String),
    /// Nothing looks like labels.
    NoLabels(String),
    /// The file cannot be read.
    Damaged(Error),
}

impl From<String> for Wrong {
    fn from(problem: String) -> Self {
        Self::Column(problem)
    }
}

/// Finds the columns by their names and by what the schema's metadata say, or says which there are.
/// The names that were asked for win; if labels do not count, only the pictures are looked for.
///
/// # Errors
/// [`Wrong`] says what is missing or could be meant.
pub fn choose_columns(
    table: &Table,
    wanted: &Wanted<'_>,
    labels_count: bool,
) -> Result<Columns, Wrong> {
    let features = Features::of(table);
    let schema = table.columns();
    let images = match wanted.path {
        Some(name) => vec![name.to_owned()],
        None => images(schema, &features),
    };
    let told = |problem: String| match labels_count {
        true => problem,
        // Without labels, no column can be chosen either.
        false => told_alone(&problem),
    };
    let image = one(images, schema, "picture bytes", "image", "image_column").map_err(told)?;
    let binary = &[Kind::Text];
    let bytes =
        find(schema, &[&image, "bytes"], binary).or_else(|| find(schema, &[&image], binary));
    let path = find(schema, &[&image, "path"], binary);
    // A column of text has paths.
    let is_text = path.is_none() && bytes.is_some_and(|at| schema[at].is_text);
    let (bytes, path) = if is_text { (None, bytes) } else { (bytes, path) };
    if bytes.is_none() && path.is_none() {
        return Err(told(missing(schema, &image, "picture bytes", "image_column")).into());
    }
    if !labels_count {
        return Ok(Columns { bytes, path, ..Columns::default() });
    }
    let labels = match wanted.label {
        Some(name) => vec![name.to_owned()],
        None => labels(schema, &features),
    };
    let groups = groups(schema, wanted.group);
    let mut columns = Columns { bytes, path, ..Columns::default() };
    if labels.is_empty() {
        columns.groups = groups.as_ref().cloned().unwrap_or_default();
        columns.split = split(schema, wanted.split).unwrap_or_default();
        columns.one_hot = one_hot(table, &columns)?;
        if columns.one_hot.is_empty() {
            return Err(Wrong::NoLabels(missing(schema, "label", "labels", "label_column")));
        }
    } else {
        let name = one(labels, schema, "labels", "label", "label_column")?;
        let kinds = [Kind::Integer, Kind::Boolean, Kind::Text];
        let Some(label) = find(schema, &[&name], &kinds) else {
            return Err(no_label(schema, &name).into());
        };
        columns.names = features.names(&name);
        (columns.label, columns.label_name) = (Some(label), name);
    }
    columns.remarks.extend(unread_groups(schema, wanted.group));
    columns.split = split(schema, wanted.split)?;
    columns.groups = groups?;
    if let (Some(name), true) = (wanted.group, columns.groups.first() == columns.label.as_ref()) {
        return Err(Wrong::Column(format!(
            "the column '{name}' has the labels, and cannot also say which pictures belong together: name another one with `group_column`"
        )));
    }
    columns.groups.retain(|at| columns.label != Some(*at));
    Ok(columns)
}

/// A problem with the column of pictures where it cannot be named.
fn told_alone(problem: &str) -> String {
    let (what, _) = problem.split_once("say which").unwrap_or((problem, ""));
    format!(
        "{}; to classify pictures that are files, write their paths into a CSV file with the column path and give that, or keep one column of pictures",
        what.trim_end_matches([' ', ';', ':'])
    )
}

/// The column of splits, by its name.
fn split(schema: &[Column], wanted: Option<&str>) -> Result<Option<usize>, String> {
    let text = &[Kind::Text];
    Ok(match wanted {
        Some(name) => match find(schema, &[name], text) {
            Some(split) => Some(split),
            None => return Err(missing(schema, name, "splits", "split_column")),
        },
        None => {
            let names = schema.iter().filter_map(Column::plain);
            let found: Vec<String> = names
                .filter(|name| SPLITS.contains(&name.to_lowercase().as_str()))
                .filter(|name| find(schema, &[name], text).is_some())
                .map(String::from)
                .collect();
            match found.is_empty() {
                true => None,
                false => {
                    let name = one(found, schema, "splits", "split", "split_column")?;
                    find(schema, &[&name], text)
                }
            }
        }
    })
}

/// The columns that may say groups, by their names, or the one that was asked for.
fn groups(schema: &[Column], wanted: Option<&str>) -> Result<Vec<usize>, String> {
    let kinds = [Kind::Text, Kind::Integer, Kind::Float];
    match wanted {
        Some(name) => match find(schema, &[name], &kinds) {
            Some(at) => Ok(vec![at]),
            None => Err(match schema.iter().find(|column| column.top() == name) {
                Some(_) => format!(
                    "'{name}' has several values or fields for each picture, or true and false, which say no groups: name a column of text or numbers with `group_column`"
                ),
                None => missing(schema, name, "groups", "group_column"),
            }),
        },
        None => {
            let may = |at: &usize| {
                let column = &schema[*at];
                !column.is_list
                    && kinds.contains(&column.kind)
                    && column.plain().is_some_and(|name| kind_of(name).is_some())
            };
            Ok((0..schema.len()).filter(may).collect())
        }
    }
}

/// A remark about columns that may say groups, by their names, and cannot be read as such.
fn unread_groups(schema: &[Column], wanted: Option<&str>) -> Option<String> {
    let unread = |column: &&Column| {
        let plain = column.plain().is_some() && !column.is_list;
        kind_of(column.top()).is_some() && (!plain || column.kind == Kind::Other)
    };
    let mut names: Vec<&str> = schema.iter().filter(unread).map(Column::top).collect();
    names.dedup();
    (wanted.is_none() && !names.is_empty()).then(|| {
        format!(
            "{} could say which pictures belong together, and {} not read, having several values or fields for each picture: write a column of text or numbers to keep them together",
            listed(&names),
            if names.len() == 1 { "is" } else { "are" }
        )
    })
}

/// The columns of the classes, if each has its own: all that are left hold only zeros and ones, and
/// there are two or more.
fn one_hot(table: &Table, columns: &Columns) -> Result<Vec<usize>, Wrong> {
    let taken = [columns.bytes, columns.path, columns.split];
    let kinds = [Kind::Integer, Kind::Boolean, Kind::Float];
    let mut found = Vec::new();
    for (at, column) in table.columns().iter().enumerate() {
        let index = ["id", "index", "__index_level_0__"];
        let Some(name) = column.plain().filter(|_| !taken.contains(&Some(at))) else { continue };
        let other = index.contains(&&*name.to_lowercase())
            || path_column([name]).is_some()
            || flag_of(name).is_some()
            || columns.groups.contains(&at);
        if other {
            continue;
        }
        let may_be_class = kinds.contains(&column.kind) && !column.is_list;
        let values =
            if may_be_class { table.as_texts(at).map_err(Wrong::Damaged)? } else { vec![] };
        if !may_be_class || !values.iter().flatten().all(|value| truth(value).is_some()) {
            return Ok(Vec::new());
        }
        found.push(at);
    }
    Ok(if found.len() > 1 { found } else { Vec::new() })
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
