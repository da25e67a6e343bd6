//! Which columns of a Parquet file hold pictures, labels and splits.

use parquet::{
    basic::Type,
    file::metadata::FileMetaData,
    schema::types::{ColumnDescriptor, SchemaDescriptor},
};
use serde_json::{Map, Value};

use crate::{SourceOptions, manifest::is_label};

/// Names of columns that say the split.
const SPLITS: [&str; 6] = ["split", "subset", "partition", "set", "data_split", "dataset_split"];
/// Names of columns with pictures that are not a group with `bytes`.
const IMAGES: [&str; 4] = ["image", "img", "picture", "jpg"];

/// The numbers of the columns.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) bytes: Option<usize>,
    pub(super) path: Option<usize>,
    pub(super) label: usize,
    pub(super) split: Option<usize>,
    /// Class names, if the metadata have them.
    pub(super) names: Option<Vec<String>>,
}

/// What the schema's metadata, under the key `huggingface`, say about the columns.
struct Features(Map<String, Value>);

impl Features {
    fn of(metadata: &FileMetaData) -> Self {
        let text = metadata
            .key_value_metadata()
            .into_iter()
            .flatten()
            .find(|pair| pair.key == "huggingface")
            .and_then(|pair| pair.value.as_deref());
        let features = text
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
pub(super) fn choose(metadata: &FileMetaData, options: &SourceOptions) -> Result<Columns, Wrong> {
    let features = Features::of(metadata);
    let schema = metadata.schema_descr();
    let images = match &options.image_column {
        Some(name) => vec![name.clone()],
        None => images(schema, &features),
    };
    let image = one(images, schema, "picture bytes", "image", "image_column")?;
    let binary = &[Type::BYTE_ARRAY];
    let bytes =
        find(schema, &[&image, "bytes"], binary).or_else(|| find(schema, &[&image], binary));
    let path = find(schema, &[&image, "path"], binary);
    if bytes.is_none() && path.is_none() {
        return Err(missing(schema, &image, "picture bytes", "image_column").into());
    }
    let labels = match &options.label_column {
        Some(name) => vec![name.clone()],
        None => labels(schema, &features),
    };
    if labels.is_empty() {
        return Err(Wrong::NoLabels(missing(schema, "label", "labels", "label_column")));
    }
    let name = one(labels, schema, "labels", "label", "label_column")?;
    let kinds = [Type::INT64, Type::INT32, Type::BOOLEAN, Type::BYTE_ARRAY];
    let Some(label) = find(schema, &[&name], &kinds) else {
        return Err(no_label(schema, &name).into());
    };
    let split = match &options.split_column {
        Some(name) => match find(schema, &[name], binary) {
            Some(split) => Some(split),
            None => return Err(missing(schema, name, "splits", "split_column").into()),
        },
        None => {
            let names = schema.columns().iter().map(|column| column.name().to_owned());
            let found: Vec<String> = names
                .filter(|name| SPLITS.contains(&name.to_lowercase().as_str()))
                .filter(|name| find(schema, &[name], binary).is_some())
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
    Ok(Columns { bytes, path, label, split, names: features.names(&name) })
}

fn find(schema: &SchemaDescriptor, wanted: &[&str], kinds: &[Type]) -> Option<usize> {
    schema.columns().iter().position(|column| {
        column.path().parts().iter().map(String::as_str).eq(wanted.iter().copied())
            && kinds.contains(&column.physical_type())
            && column.max_rep_level() == 0
    })
}

fn images(schema: &SchemaDescriptor, features: &Features) -> Vec<String> {
    let declared = features.of_kind("Image");
    if !declared.is_empty() {
        return declared;
    }
    let parts = |column: &ColumnDescriptor| column.path().parts().to_vec();
    let all = || schema.columns().iter().map(|column| parts(column));
    let groups: Vec<String> = all()
        .filter(|parts| parts.len() == 2 && parts[1] == "bytes")
        .map(|parts| parts[0].clone())
        .collect();
    if !groups.is_empty() {
        return groups;
    }
    let plain = all().filter(|parts| parts.len() == 1).map(|parts| parts[0].clone());
    plain.filter(|name| IMAGES.contains(&name.as_str())).collect()
}

fn labels(schema: &SchemaDescriptor, features: &Features) -> Vec<String> {
    let declared = features.of_kind("ClassLabel");
    if !declared.is_empty() {
        return declared;
    }
    let fields = schema.root_schema().get_fields().iter().map(|field| field.name().to_owned());
    fields.filter(|name| is_label(&name.to_lowercase())).collect()
}

/// Why a column cannot be the labels.
fn no_label(schema: &SchemaDescriptor, name: &str) -> String {
    let parts = schema.columns().iter().find(|column| column.path().parts()[0] == name);
    match parts {
        Some(column) if column.max_rep_level() > 0 => format!(
            "'{name}' holds lists, several labels for one picture (multi-label), which is not supported: keep one label for each picture, or name another column with `label_column`"
        ),
        Some(column) if column.path().parts().len() == 1 => format!(
            "'{name}' holds values of the type {}, which are no labels (text, whole numbers or booleans are): say which column holds the labels with `label_column`",
            column.physical_type()
        ),
        _ => missing(schema, name, "labels", "label_column"),
    }
}

fn one(
    mut found: Vec<String>,
    schema: &SchemaDescriptor,
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

fn missing(schema: &SchemaDescriptor, name: &str, what: &str, field: &str) -> String {
    let names: Vec<String> = schema.columns().iter().take(12).map(|c| c.path().string()).collect();
    format!(
        "there is no column '{name}' with {what}; there are: {}; say which it is with `{field}`",
        names.join(", ")
    )
}
