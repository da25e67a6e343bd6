//! WebDataset shards: tar archives in which the files of a sample share a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};
use taper_archive::Archives;
use taper_core::Split;
use taper_names::{
    columns::is_label,
    group_columns::{group_of, kind_of},
    multi_label,
    paths::splits_of_paths,
    sets::listed,
    split_columns::{flag_of, is_hint, split_of_value},
};
use taper_picture::FileKind;

use crate::{
    Reading,
    rows::{Beside, Row, take_splits},
};

/// The largest label file in bytes; a label is one line, or a small JSON object.
const MOST_LABEL: u64 = 1 << 20;

/// What is wrong with a shard.
pub(super) enum Problem {
    /// Another argument would settle it.
    Choice(String),
    Damaged(String),
}

/// The files of one sample, by slot.
#[derive(Default)]
struct Files<'a> {
    picture: Option<(&'a str, usize)>,
    /// How unlikely it is that this is the picture: 2 if it is called by a field, as `mask` in
    /// `0001.mask.png`, and 1 if it cannot be read.
    unlikely: u8,
    /// How many more pictures there are.
    more: usize,
    /// Label files by the field that they are: `cls`, or `label` for `0001.label.cls`.
    cls: Vec<(&'a str, usize)>,
    /// The same of text files, which are often captions.
    txt: Vec<(&'a str, usize)>,
    json: Option<usize>,
}

/// What precedes the first dot of the last part is the key, what follows says what it is.
fn key(name: &str) -> Option<(&str, &str)> {
    let start = name.rfind('/').map_or(0, |at| at + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (&name[..dot], &name[dot + 1..]))
}

/// The samples. Pictures that cannot be read are among them, as in a list: they are found out when
/// they are read.
fn samples<'a>(
    names: &'a [(String, usize)],
    kind_of: &dyn Fn(&str, usize) -> FileKind,
) -> BTreeMap<&'a str, Files<'a>> {
    let mut samples: BTreeMap<&str, Files<'_>> = BTreeMap::new();
    for (name, slot) in names {
        let Some((key, extension)) = key(name) else { continue };
        let files = samples.entry(key).or_default();
        let (field, last) = extension.rsplit_once('.').unwrap_or((extension, extension));
        match last.to_lowercase().as_str() {
            "cls" => files.cls.push((field, *slot)),
            "json" => files.json = Some(*slot),
            "txt" => files.txt.push((field, *slot)),
            _ => {
                let unreadable = match kind_of(name, *slot) {
                    FileKind::Picture => 0,
                    FileKind::Foreign(_) => 1,
                    FileKind::Other => continue,
                };
                // `0001.jpg` rather than `0001.mask.png`, whichever comes first.
                let unlikely = 2 * u8::from(extension.contains('.')) + unreadable;
                files.more += usize::from(files.picture.is_some());
                if files.picture.is_none() || unlikely < files.unlikely {
                    (files.picture, files.unlikely) = (Some((name.as_str(), *slot)), unlikely);
                }
            }
        }
    }
    samples
}

/// Whether at least half of the pictures have a label file of their own; a text file is one only
/// where there are no folders that may be classes.
pub(super) fn is_shard(
    names: &[(String, usize)],
    kind_of: &dyn Fn(&str, usize) -> FileKind,
) -> bool {
    let any = |end: &str| names.iter().any(|(name, _)| name.ends_with(end));
    let flat = || names.iter().all(|(name, _)| !name.contains('/'));
    let texts = any(".txt") && flat();
    if !any(".cls") && !any(".json") && !texts {
        return false;
    }
    let samples = samples(names, kind_of);
    let with_picture = || samples.values().filter(|files| files.picture.is_some());
    let is_labelled = |files: &&Files<'_>| {
        !files.cls.is_empty() || files.json.is_some() || (texts && !files.txt.is_empty())
    };
    let labelled = with_picture().filter(is_labelled).count();
    labelled > 0 && 2 * labelled >= with_picture().count()
}

/// The samples of a shard. Those without a label are left out, with a remark; that none has one is
/// an error if there `must` be some.
pub(super) fn rows(
    archives: &Archives,
    names: &[(String, usize)],
    kind_of: &dyn Fn(&str, usize) -> FileKind,
    (reading, must): (&Reading, bool),
    beside: &mut Beside,
) -> Result<Vec<Row>, Problem> {
    let column = reading.options.label_column.as_deref();
    let mut labelled = Vec::new();
    let mut fields: BTreeSet<String> = BTreeSet::new();
    let mut present: BTreeSet<String> = BTreeSet::new();
    let mut differ = false;
    let (mut unused, mut several) = (0, None);
    let mut splits = Splits::default();
    let mut alone = Vec::new();
    for (key, files) in samples(names, kind_of) {
        let Some((name, slot)) = files.picture else {
            let json = json_of(archives, key, &files).unwrap_or_default();
            let labels = labels(archives, key, &files, &json, column);
            if labels.is_ok_and(|labels| !labels.is_empty()) {
                alone.push(key);
            }
            continue;
        };
        unused += files.more;
        several = several.or(Some(name).filter(|_| files.more > 0));
        let json = json_of(archives, key, &files)?;
        let labels = labels(archives, key, &files, &json, column)?;
        splits.add(&json);
        present.extend(json.keys().cloned());
        let texts = files.cls.iter().chain(&files.txt);
        present.extend(texts.map(|(field, _)| (*field).to_owned()));
        fields.extend(labels.keys().cloned());
        differ |= labels.values().collect::<BTreeSet<_>>().len() > 1;
        let groups = groups(&json, &labels, reading.group_column());
        labelled.push((name, slot, labels, groups));
    }
    if let Some(column) = column.filter(|_| fields.is_empty()) {
        return Err(Problem::Choice(format!(
            "no sample of the shard has a label '{column}', which `label_column` asks for"
        )));
    }
    if must && fields.is_empty() && !labelled.is_empty() {
        return Err(no_labels(labelled[0].0, &present));
    }
    if !alone.is_empty() {
        beside.remarks.push(format!(
            "{} sample(s) of the shard, such as '{}', have a label and no picture, and are left out",
            alone.len(),
            alone[0]
        ));
    }
    if fields.len() > 1 && differ {
        let names: Vec<String> = fields.iter().map(|field| format!("'{field}'")).collect();
        return Err(Problem::Choice(format!(
            "the samples of the shard have several labels, {}: say which with `label_column`",
            names.join(", ")
        )));
    }
    if let Some(name) = several {
        beside.remarks.push(format!(
            "samples of the shard have several pictures, of which one is used, such as '{name}'; {unused} picture(s) are not used"
        ));
    }
    let all = labelled.iter().flat_map(|(_, _, labels, _)| labels.values().map(String::as_str));
    if let Some(label) = multi_label::several(all, fields.first().map(String::as_str)) {
        let problem = multi_label::refusal(&format!("'{label}'"));
        return Err(Problem::Choice(format!(
            "{problem}, or say with `label_column` which field has it"
        )));
    }
    let (mut rows, mut without, mut example) = (Vec::new(), 0, "");
    let splits = splits.told(labelled.len(), beside);
    for (number, (name, slot, labels, groups)) in labelled.into_iter().enumerate() {
        let Some(class) = labels.into_values().next() else {
            without += 1;
            example = name;
            continue;
        };
        let id = name.to_owned();
        let split = splits.get(number).copied();
        rows.push(Row { id, packaging: 0, class, split, groups, slot });
    }
    if rows.iter().all(|row| row.split.is_none()) {
        let pictures: Vec<(&str, &str)> = rows.iter().map(|r| (&*r.id, &*r.class)).collect();
        let said = splits_of_paths(&pictures);
        let choice = "a field called split in the JSON file of every sample says otherwise";
        take_splits(&mut rows, said, choice, &mut beside.remarks).map_err(Problem::Choice)?;
    }
    if without > 0 {
        beside.remarks.push(format!(
            "{without} picture(s) of the shard, such as '{example}', have no label and are left out"
        ));
    }
    Ok(rows)
}

/// The fields of a sample that may say its group, or the one that was asked for, with their values.
fn groups(
    json: &Map<String, Value>,
    labels: &BTreeMap<String, String>,
    wanted: Option<&str>,
) -> Vec<(Arc<str>, String)> {
    let says = |name: &str| match wanted {
        Some(wanted) => name == wanted,
        None => kind_of(name).is_some() && !labels.contains_key(name),
    };
    let value = |value: &Value| match value {
        Value::String(text) => group_of(text),
        Value::Number(number) => group_of(&number.to_string()),
        _ => None,
    };
    let fields = json.iter().filter(|(name, _)| says(name));
    fields.filter_map(|(name, own)| Some((name.as_str().into(), value(own)?))).collect()
}

/// No sample has a label, such as this picture; there are these fields.
fn no_labels(name: &str, present: &BTreeSet<String>) -> Problem {
    let fields = match present.is_empty() {
        true => String::new(),
        false => format!(
            "; there are the fields {}: say which has it with `label_column`",
            listed(&present.iter().collect::<Vec<_>>())
        ),
    };
    let dots = match key(name) {
        Some((key, extension)) if extension.contains('.') => format!(
            "; a sample's name ends at its first dot, so that this picture is the field '{extension}' of '{key}'"
        ),
        _ => String::new(),
    };
    Problem::Choice(format!(
        "no sample of the shard, such as '{name}', has a label: put it into a file .cls of the same name, or into a field called label of its .json{fields}{dots}"
    ))
}

/// The fields of the samples that may say their splits.
#[derive(Default)]
struct Splits {
    samples: usize,
    /// By name: the value in each sample that has the field.
    fields: BTreeMap<String, Vec<String>>,
}

impl Splits {
    /// Takes note of what the next sample has.
    fn add(&mut self, json: &Map<String, Value>) {
        self.samples += 1;
        for (name, value) in json {
            let value = match value {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => continue,
            };
            if is_hint(name) || flag_of(name).is_some() {
                self.fields.entry(name.clone()).or_default().push(value);
            }
        }
    }

    /// The split of each sample, if a field called `split` says it for all; or else a remark about
    /// fields that may say it.
    fn told(self, samples: usize, beside: &mut Beside) -> Vec<Split> {
        for name in ["split", "subset", "partition"] {
            let Some(values) = self.fields.get(name) else { continue };
            let told: Option<Vec<Split>> = values.iter().map(|v| split_of_value(v)).collect();
            if let Some(told) = told.filter(|told| told.len() == samples) {
                return told;
            }
        }
        let varies = |values: &Vec<String>| values.iter().collect::<BTreeSet<_>>().len() > 1;
        let unused: Vec<&String> =
            self.fields.iter().filter(|(_, values)| varies(values)).map(|(name, _)| name).collect();
        if !unused.is_empty() {
            beside.remarks.push(format!(
                "fields of the samples that look like splits, {}, are not used; if one says them, write a shard for each split, with train, val or test in its name",
                listed(&unused)
            ));
        }
        Vec::new()
    }
}

/// The content of a small file of a sample.
fn text(archives: &Archives, key: &str, slot: usize) -> Result<String, Problem> {
    let bytes = archives.read(slot, MOST_LABEL);
    let bytes = bytes.map_err(|defect| format!("the label of '{key}' {}", defect.reason));
    let text = bytes.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| format!("the label of '{key}' is not text"))
    });
    text.map_err(Problem::Damaged)
}

/// What the JSON file of a sample says; nothing without one.
fn json_of(
    archives: &Archives,
    key: &str,
    files: &Files<'_>,
) -> Result<Map<String, Value>, Problem> {
    let Some(slot) = files.json else { return Ok(Map::new()) };
    match serde_json::from_str(&text(archives, key, slot)?) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(Problem::Damaged(format!("'{key}.json' is not valid JSON: {error}"))),
    }
}

/// The labels of a sample by the names of their fields; only that of `column` if it is given.
fn labels(
    archives: &Archives,
    key: &str,
    files: &Files<'_>,
    json: &Map<String, Value>,
    column: Option<&str>,
) -> Result<BTreeMap<String, String>, Problem> {
    let wanted = |field: &str| match column {
        Some(column) => field == column,
        None => field == "cls" || is_label(&field.to_lowercase()),
    };
    let mut labels = BTreeMap::new();
    // Text is a label only if it was asked for.
    let texts = files.txt.iter().filter(|_| column.is_some());
    for (field, slot) in files.cls.iter().chain(texts).filter(|(field, _)| wanted(field)) {
        labels.insert((*field).to_owned(), text(archives, key, *slot)?.trim().to_owned());
    }
    for (field, value) in json {
        if wanted(field)
            && let Some(label) = of_value(key, value)?
        {
            // The same name as that of a label file.
            let field =
                if labels.contains_key(field) { format!("json.{field}") } else { field.clone() };
            labels.insert(field, label);
        }
    }
    labels.retain(|_, label| !label.trim().is_empty());
    Ok(labels)
}

fn of_value(key: &str, value: &Value) -> Result<Option<String>, Problem> {
    Ok(match value {
        // Blanks around it may be part of a spelling, which a remark names.
        Value::String(label) => Some(multi_label::single(label.clone())),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(values) if values.len() > 1 => {
            return Err(Problem::Damaged(format!(
                "'{key}.json': {}",
                multi_label::refusal(&value.to_string())
            )));
        }
        Value::Array(values) => match values.first() {
            Some(value) => of_value(key, value)?,
            None => None,
        },
        _ => None,
    })
}
