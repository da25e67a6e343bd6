//! WebDataset shards: tar archives in which the files of a sample share a name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Archives, FileKind, file_kind, tidied};
use crate::rows::{Beside, Row};

/// The largest label file in bytes; a label is one line, or a small JSON object.
const MOST_LABEL: u64 = 1 << 20;
/// The fields of a JSON file that may hold the label, the first one first.
const FIELDS: [&str; 5] = ["label", "class", "cls", "label_name", "class_name"];

/// The files of one sample, by slot.
#[derive(Default)]
struct Files<'a> {
    picture: Option<(&'a str, usize)>,
    cls: Option<usize>,
    json: Option<usize>,
}

/// What precedes the first dot of the last part is the key, what follows says what it is.
fn key(name: &str) -> Option<(&str, &str)> {
    let start = name.rfind('/').map_or(0, |at| at + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (&name[..dot], &name[dot + 1..]))
}

fn samples(names: &[(String, usize)]) -> BTreeMap<&str, Files<'_>> {
    let mut samples: BTreeMap<&str, Files<'_>> = BTreeMap::new();
    for (name, slot) in names {
        let Some((key, extension)) = key(name) else { continue };
        let files = samples.entry(key).or_default();
        match extension.to_lowercase().as_str() {
            "cls" => files.cls = Some(*slot),
            "json" => files.json = Some(*slot),
            _ if matches!(file_kind(name), FileKind::Picture) => {
                files.picture.get_or_insert((name, *slot));
            }
            _ => {}
        }
    }
    samples
}

/// Whether at least half of the pictures have a label file of their own.
pub(super) fn is_shard(names: &[(String, usize)]) -> bool {
    if !names.iter().any(|(name, _)| name.ends_with(".cls") || name.ends_with(".json")) {
        return false;
    }
    let samples = samples(names);
    let pictures = samples.values().filter(|files| files.picture.is_some()).count();
    let labelled = samples
        .values()
        .filter(|files| files.picture.is_some() && (files.cls.is_some() || files.json.is_some()))
        .count();
    labelled > 0 && 2 * labelled >= pictures
}

/// The samples of a shard. Those without a label are left out, with a remark.
pub(super) fn rows(
    archives: &Archives,
    names: &[(String, usize)],
    beside: &mut Beside,
) -> Result<Vec<Row>, String> {
    let (mut rows, mut without, mut example) = (Vec::new(), 0, "");
    for (key, files) in samples(names) {
        let Some((name, slot)) = files.picture else { continue };
        let Some(class) = label(archives, key, &files)? else {
            without += 1;
            example = name;
            continue;
        };
        let id = tidied(name);
        rows.push(Row { id, packaging: 0, class, split: None, group: None, slot });
    }
    if without > 0 {
        beside.remarks.push(format!(
            "{without} picture(s) of the shard, such as '{example}', have no label and are left out"
        ));
    }
    Ok(rows)
}

fn label(archives: &Archives, key: &str, files: &Files<'_>) -> Result<Option<String>, String> {
    let text = |slot: usize| {
        let bytes = archives.read(archives.entries[slot], MOST_LABEL);
        let bytes = bytes.map_err(|defect| format!("the label of '{key}' {}", defect.reason))?;
        String::from_utf8(bytes).map_err(|_| format!("the label of '{key}' is not text"))
    };
    if let Some(slot) = files.cls {
        let label = text(slot)?.trim().to_owned();
        return Ok(Some(label).filter(|label| !label.is_empty()));
    }
    let Some(slot) = files.json else { return Ok(None) };
    let value: Value = serde_json::from_str(&text(slot)?)
        .map_err(|error| format!("'{key}.json' is not valid JSON: {error}"))?;
    Ok(FIELDS.into_iter().find_map(|field| match value.get(field)? {
        Value::String(label) => Some(label.trim().to_owned()).filter(|label| !label.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }))
}
