//! From names like `train/cat/1.jpg` to splits, classes and samples: the common part of archives
//! and tables.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use taper_core::{ClassNames, Split, nearest};

use crate::{Dataset, Error, FolderUse, Ignored, PictureSource, Result, Sample};
use taper_picture::{Finding, format_of_extension};

/// How many ignored files are named.
const EXAMPLES: usize = 5;

/// A picture, as named by a table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// How many bytes of the id are parent folders of the data set.
    pub(crate) packaging: usize,
    pub(crate) class: String,
    pub(crate) split: Option<Split>,
    pub(crate) group: Option<String>,
    pub(crate) slot: usize,
}

/// What was found besides the pictures.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    pub(crate) findings: Vec<Finding>,
    pub(crate) remarks: Vec<String>,
    pub(crate) ignored: Ignored,
}

impl Beside {
    pub(crate) fn ignore(&mut self, name: &str) {
        self.ignored.count += 1;
        if self.ignored.examples.len() < EXAMPLES {
            self.ignored.examples.push(name.into());
        }
    }
}

/// Makes a data set from rows. Classes are in the order of `classes`, or sorted by the bytes of
/// their names.
pub(crate) fn dataset(
    place: &str,
    rows: Vec<Row>,
    classes: Option<Vec<String>>,
    source: Arc<dyn PictureSource>,
    beside: Beside,
    purpose: FolderUse,
) -> Result<Dataset> {
    let path = || Path::new(place).to_path_buf();
    if rows.is_empty() {
        return Err(Error::NoPictures { path: path() });
    }
    let names = match classes {
        Some(names) => names,
        None => {
            let names: BTreeSet<&str> = rows.iter().map(|row| row.class.as_str()).collect();
            names.into_iter().map(String::from).collect()
        }
    };
    let names =
        ClassNames::new(names).map_err(|source| Error::Classes { place: place.into(), source })?;
    if purpose == FolderUse::Train {
        check_training(place, &rows, &names)?;
    }
    // `ClassNames::label` looks through all names: too slow for thousands of classes.
    let labels: HashMap<&str, u32> =
        names.iter().enumerate().map(|(label, name)| (name, label as u32)).collect();
    let mut samples = Vec::with_capacity(rows.len());
    let mut groups: HashMap<String, Arc<str>> = HashMap::new();
    for row in rows {
        let Some(label) = labels.get(row.class.as_str()) else {
            return Err(Error::UnknownClass {
                place: place.into(),
                class: row.class,
                known: names.iter().collect::<Vec<_>>().join(", "),
            });
        };
        let mut sample = Sample::new(row.id, row.split, *label, row.slot);
        sample.group = row.group.map(|group| {
            Arc::clone(groups.entry(group).or_insert_with_key(|name| name.as_str().into()))
        });
        samples.push(sample);
    }
    let Beside { findings, mut remarks, ignored } = beside;
    remarks.extend(gaps(&samples, &names));
    Ok(Dataset::new(names, samples, source)?.with_index_report(findings, remarks, ignored))
}

fn check_training(place: &str, rows: &[Row], names: &ClassNames) -> Result<()> {
    let path = || Path::new(place).to_path_buf();
    let trains = |row: &&Row| matches!(row.split, None | Some(Split::Train));
    let known: BTreeSet<&str> = rows.iter().filter(trains).map(|r| r.class.as_str()).collect();
    if known.is_empty() {
        let found = rows.iter().find_map(|row| row.split).unwrap_or(Split::Test);
        return Err(Error::NoTrain { path: path(), found: found.name().into() });
    }
    for row in rows {
        if !known.contains(row.class.as_str()) {
            return Err(Error::NotInTrain {
                path: path(),
                class: row.class.clone(),
                split: row.split.unwrap_or(Split::Test),
                nearest: nearest(&row.class, known.iter().copied(), 1)
                    .into_iter()
                    .map(String::from)
                    .collect(),
            });
        }
    }
    match known.first().filter(|_| known.len() == 1 && names.len() == 1) {
        Some(class) => Err(Error::OneClass { path: path(), class: (*class).into() }),
        None => Ok(()),
    }
}

/// Says which classes are missing from which split.
fn gaps(samples: &[Sample], names: &ClassNames) -> Vec<String> {
    let mut have: BTreeMap<Split, BTreeSet<u32>> = BTreeMap::new();
    for sample in samples {
        if let Some(split) = sample.split {
            have.entry(split).or_default().insert(sample.label);
        }
    }
    have.into_iter()
        .filter(|(_, have)| have.len() < names.len())
        .map(|(split, have)| {
            let lack: Vec<&str> = (0..names.len() as u32)
                .filter(|label| !have.contains(label))
                .filter_map(|label| names.name(label))
                .collect();
            let more = lack.len().saturating_sub(10);
            let mut text =
                format!("{split} has no pictures of: {}", lack[..lack.len() - more].join(", "));
            if more > 0 {
                text += &format!(" and {more} more classes");
            }
            text
        })
        .collect()
}

/// Sorts the names of an archive's pictures into splits and classes, as folders would be:
/// `SPLIT/CLASS/…` or `CLASS/…`, under any number of common parent folders.
pub(crate) fn arrange(
    place: &str,
    entries: Vec<(String, usize)>,
    beside: &mut Beside,
) -> Result<Vec<Row>> {
    let mut pictures: Vec<(Vec<String>, usize)> = Vec::new();
    for (name, slot) in entries {
        let parts: Vec<String> =
            name.split('/').filter(|p| !p.is_empty() && *p != ".").map(String::from).collect();
        let hidden = parts.iter().any(|p| p.starts_with('.') || p == "__MACOSX");
        if hidden || !is_picture(&name) {
            beside.ignore(&name);
            continue;
        }
        pictures.push((parts, slot));
    }
    let mut depth = 0;
    // Folders that all pictures share are packaging, unless only the class would be left.
    while let Some(first) = pictures.first().and_then(|(parts, _)| parts.get(depth)) {
        let shared = split_named(first).is_none()
            && pictures
                .iter()
                .all(|(parts, _)| parts.get(depth) == Some(first) && parts.len() > depth + 2);
        if !shared {
            break;
        }
        depth += 1;
    }
    let in_splits = pictures
        .iter()
        .any(|(parts, _)| parts.get(depth).is_some_and(|p| split_named(p).is_some()));
    let mut rows = Vec::with_capacity(pictures.len());
    let mut loose: Option<(usize, String)> = None;
    let mut strangers: BTreeSet<String> = BTreeSet::new();
    let mut spelled: BTreeMap<Split, String> = BTreeMap::new();
    for (parts, slot) in pictures {
        let split = if in_splits {
            let Some(split) = split_named(&parts[depth]) else {
                strangers.insert(parts[depth].clone());
                continue;
            };
            let first = spelled.entry(split).or_insert_with(|| parts[depth].clone());
            if *first != parts[depth] {
                return Err(Error::SplitTwice {
                    path: place.into(),
                    split,
                    first: first.clone(),
                    second: parts[depth].clone(),
                });
            }
            Some(split)
        } else {
            None
        };
        let class_at = depth + usize::from(in_splits);
        if parts.len() < class_at + 2 {
            let (count, _) = loose.get_or_insert((0, parts.join("/")));
            *count += 1;
            continue;
        }
        let (id, class) = (parts.join("/"), parts[class_at].clone());
        let packaging = parts[..depth].iter().map(|part| part.len() + 1).sum();
        rows.push(Row { id, packaging, class, split, group: None, slot });
    }
    if let Some((count, example)) = loose {
        return Err(Error::LoosePictures { path: place.into(), count, example });
    }
    for stranger in strangers {
        beside.remarks.push(format!(
            "the folder '{stranger}' beside the split folders is not a split and is left out"
        ));
    }
    Ok(rows)
}

pub(crate) fn split_named(name: &str) -> Option<Split> {
    name.to_lowercase().parse().ok()
}

/// Whether a name is one of a picture that can be decoded.
pub(crate) fn is_picture(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    extension.is_some_and(|e| format_of_extension(&e).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(names: &[&str]) -> Result<Vec<(Option<Split>, String)>> {
        let entries = names.iter().enumerate().map(|(i, n)| (n.to_string(), i)).collect();
        let rows = arrange("x.zip", entries, &mut Beside::default())?;
        Ok(rows.into_iter().map(|row| (row.split, row.class)).collect())
    }

    #[test]
    fn packaging_splits_and_classes_are_told_apart() {
        let class = |c: &str| (None, c.to_string());
        let of = |s, c: &str| (Some(s), c.to_string());
        assert_eq!(arranged(&["a/1.jpg", "b/2.jpg"]).unwrap(), [class("a"), class("b")]);
        assert_eq!(arranged(&["rps/a/1.jpg", "rps/b/2.png"]).unwrap(), [class("a"), class("b")]);
        assert_eq!(arranged(&["a/1.jpg", "a/2.jpg"]).unwrap(), [class("a"), class("a")]);
        assert_eq!(arranged(&["x/a/1.jpg", "x/a/2.jpg"]).unwrap(), [class("a"), class("a")]);
        assert_eq!(
            arranged(&[
                "d/Train/a/1.jpg",
                "d/test/a/deep/er/2.jpg",
                "d/__MACOSX/x/y.jpg",
                "d/notes/b/3.jpg"
            ])
            .unwrap(),
            [of(Split::Train, "a"), of(Split::Test, "a")]
        );
        assert_eq!(arranged(&["train/a/1.jpg"]).unwrap(), [of(Split::Train, "a")]);
        assert!(matches!(
            arranged(&["1.jpg", "a/2.jpg"]),
            Err(Error::LoosePictures { count: 1, .. })
        ));
        assert!(matches!(arranged(&["train/1.jpg"]), Err(Error::LoosePictures { .. })));
        assert!(matches!(
            arranged(&["val/a/1.jpg", "valid/a/2.jpg"]),
            Err(Error::SplitTwice { .. })
        ));
        assert!(arranged(&["a/notes.txt", "a/.hidden.jpg"]).unwrap().is_empty());
    }
}
