//! From rows to a data set: the common part of all sources.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use taper_core::{ClassNames, Split, nearest};
use taper_data::{Dataset, Ignored, PictureSource, Sample};
use taper_picture::Finding;

use crate::{Error, FolderUse, Reading, Result, own_files::Passed, spelling};

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
    /// What Taper wrote, and folders of caches.
    pub(crate) passed: Passed,
}

impl Beside {
    pub(crate) fn ignore(&mut self, name: &str) {
        self.ignored.count += 1;
        if self.ignored.examples.len() < EXAMPLES {
            self.ignored.examples.push(name.into());
        }
    }
}

/// Makes a data set from rows. Classes are in the order of `classes`, as a schema declares them, or
/// sorted by the bytes of their names; then spellings of one name become one class.
pub(crate) fn dataset(
    place: &str,
    rows: Vec<Row>,
    classes: Option<Vec<String>>,
    source: Arc<dyn PictureSource>,
    mut beside: Beside,
    reading: &Reading,
) -> Result<Dataset> {
    let passed = std::mem::take(&mut beside.passed);
    beside.remarks.extend(passed.remarks());
    build(place, rows, classes, source, beside, reading).map_err(|error| match error {
        // Another column would settle it.
        Error::Data(taper_data::Error::OneClass { path, class })
            if let Some(column) = &reading.options.label_column =>
        {
            let problem = format!(
                "the column '{column}' has the same value '{class}' for every training picture: name another one with `label_column`"
            );
            Error::Columns { path, problem }
        }
        error => passed.with(error),
    })
}

fn build(
    place: &str,
    mut rows: Vec<Row>,
    classes: Option<Vec<String>>,
    source: Arc<dyn PictureSource>,
    mut beside: Beside,
    reading: &Reading,
) -> Result<Dataset> {
    let path = || Path::new(place).to_path_buf();
    if rows.is_empty() {
        return Err(taper_data::Error::NoPictures { path: path() }.into());
    }
    if classes.is_none() {
        beside.remarks.extend(spelling::unite(&mut rows));
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
    if reading.purpose == FolderUse::Train {
        check_training(place, &rows, &names)?;
    }
    // `ClassNames::label` looks through all names: too slow for thousands of classes.
    let labels: HashMap<&str, u32> =
        names.iter().enumerate().map(|(label, name)| (name, label as u32)).collect();
    let mut samples = Vec::with_capacity(rows.len());
    let mut groups: HashMap<String, Arc<str>> = HashMap::new();
    for row in rows {
        let Some(label) = labels.get(row.class.as_str()) else {
            return Err(taper_data::Error::UnknownClass {
                place: place.into(),
                class: row.class,
                known: names.iter().collect::<Vec<_>>().join(", "),
            }
            .into());
        };
        let mut sample = Sample::new(row.id, row.split, *label, row.slot);
        sample.group = row.group.map(|group| {
            Arc::clone(groups.entry(group).or_insert_with_key(|name| name.as_str().into()))
        });
        samples.push(sample);
    }
    let Beside { findings, mut remarks, ignored, .. } = beside;
    remarks.extend(gaps(&samples, &names));
    let dataset = Dataset::new(names, samples, source)?;
    Ok(reading.options.limits(dataset).with_index_report(findings, remarks, ignored))
}

fn check_training(place: &str, rows: &[Row], names: &ClassNames) -> Result<()> {
    let path = || Path::new(place).to_path_buf();
    let trains = |row: &&Row| matches!(row.split, None | Some(Split::Train));
    let known: BTreeSet<&str> = rows.iter().filter(trains).map(|r| r.class.as_str()).collect();
    if known.is_empty() {
        let there = |split: &Split| rows.iter().any(|row| row.split == Some(*split));
        let found: Vec<&str> =
            [Split::Val, Split::Test].into_iter().filter(there).map(Split::name).collect();
        let found = found.join(" and ");
        return Err(taper_data::Error::NoTrain { path: path(), found }.into());
    }
    for row in rows {
        if !known.contains(row.class.as_str()) {
            return Err(taper_data::Error::NotInTrain {
                path: path(),
                class: row.class.clone(),
                split: row.split.unwrap_or(Split::Test),
                nearest: nearest(&row.class, known.iter().copied(), 1)
                    .into_iter()
                    .map(String::from)
                    .collect(),
            }
            .into());
        }
    }
    match known.first().filter(|_| known.len() == 1 && names.len() == 1) {
        Some(class) => {
            Err(taper_data::Error::OneClass { path: path(), class: (*class).into() }.into())
        }
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
