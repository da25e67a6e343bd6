//! From rows to a data set: the common part of all sources.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    path::Path,
    sync::Arc,
};

use taper_core::{ClassNames, Split, nearest};
use taper_data::{Dataset, Ignored, PictureSource, Sample};
use taper_names::{
    class_names::{doubts, unite},
    companions::no_labels,
    group_columns::{self, Choice},
    paths::Said,
    sets::listed,
    split_columns::split_of_value,
    splits::{split_named, words_of},
};
use taper_picture::Finding;

use crate::{
    Error, FolderUse, Reading, Result, is_archive, is_manifest,
    own_files::{Output, Passed, is_own_report},
};

/// How many ignored files are named.
const EXAMPLES: usize = 5;

/// A picture, as named by a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// How many bytes of the id are parent folders of the data set.
    pub(crate) packaging: usize,
    pub(crate) class: String,
    pub(crate) split: Option<Split>,
    /// The columns that may say its group, and their values.
    pub(crate) groups: Vec<(Arc<str>, String)>,
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
    /// Archives and Parquet files among the pictures.
    pub(crate) unread: Vec<String>,
    /// Files with the names of manifests.
    pub(crate) tables: Vec<String>,
    /// Files that may list splits.
    pub(crate) split_lists: Vec<String>,
    /// How many other files there are in folders, and the first of them.
    pub(crate) among: Option<(usize, String)>,
}

impl Beside {
    pub(crate) fn ignore(&mut self, name: &str) {
        self.ignored.count += 1;
        if self.ignored.examples.len() < EXAMPLES {
            self.ignored.examples.push(name.into());
        }
    }

    /// Takes note of a file that is no picture and may yet say something about them.
    pub(crate) fn other_file(&mut self, name: &str) {
        if is_own_report(name) {
            self.passed.add(Output::Taper, name.into());
            return;
        }
        let path = Path::new(name);
        if is_archive(path) || has_ending(path, &["parquet"]) {
            self.unread.push(name.into());
        } else if is_manifest(path) {
            self.tables.push(name.into());
        }
        if lists_splits(path) && (name.contains('/') || !is_manifest(path)) {
            self.split_lists.push(name.into());
        }
        // In folders, where pictures are expected.
        if name.contains('/') {
            self.among.get_or_insert((0, name.into())).0 += 1;
        }
        self.ignore(name);
    }

    /// What there is instead of pictures.
    pub(crate) fn instead(&self) -> Option<String> {
        let found = [self.unread.as_slice(), &self.tables].concat();
        (!found.is_empty()).then(|| format!("{} and no pictures", listed(&found)))
    }

    /// Remarks about what lies among the pictures and is not read.
    fn unread_remarks(&mut self, purpose: FolderUse, has_splits: bool) {
        if let Some((count, first)) = self.among.take().filter(|_| purpose == FolderUse::Train) {
            self.remarks.push(format!(
                "{count} file(s) among the pictures, such as '{first}', are no pictures that can be read, and are left out"
            ));
        }
        // Those in class folders are often notes about each picture.
        let of_whole = |name: &&String| match name.split_once('/') {
            None => true,
            Some((folder, file)) => !file.contains('/') && split_named(folder).is_some(),
        };
        let tables: Vec<&String> = self.tables.iter().filter(of_whole).collect();
        if !tables.is_empty() && purpose != FolderUse::Classify {
            self.remarks.push(format!(
                "{} beside the folders {} not read; to use a table that lists pictures and their labels, give it instead",
                listed(&tables),
                if tables.len() == 1 { "is" } else { "are" }
            ));
        }
        if !self.unread.is_empty() {
            self.remarks.push(format!(
                "{}: archives and tables among folders of pictures are not read; to use one, give it alone",
                listed(&self.unread)
            ));
        }
        if !self.split_lists.is_empty() && purpose != FolderUse::Classify && !has_splits {
            self.remarks.push(format!(
                "{}: files that seem to list splits are not read, and the splits are drawn; to use those that the files say, write a CSV file with the columns path, label and split, and give that",
                listed(&self.split_lists)
            ));
        }
    }
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.iter().any(|own| ending.eq_ignore_ascii_case(own)))
}

/// Whether a file may list the pictures of splits, by its name: `train_test_split.txt`,
/// `meta/train.json`, `splits/fold1.mat`, `TestImages.txt`, `testing_list.txt`.
fn lists_splits(path: &Path) -> bool {
    if !has_ending(path, &["txt", "lst", "list", "json", "mat", "csv", "tsv", "yaml", "yml"]) {
        return false;
    }
    let is_list = |name: &str| {
        split_named(name).is_some()
            || words_of(name).iter().any(|word| {
                matches!(word.as_str(), "split" | "splits" | "trainval" | "setid" | "traintest")
            })
    };
    let text = |name: &OsStr| name.to_str().is_some_and(is_list);
    path.file_stem().is_some_and(text)
        || path.parent().and_then(Path::file_name).and_then(OsStr::to_str).is_some_and(|folder| {
            words_of(folder).iter().any(|word| word == "split" || word == "splits")
        })
}

/// What the rows of a table of one split say about it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How many say another split, and which.
    others: BTreeMap<Split, usize>,
}

impl Told {
    /// A remark about those that say another.
    pub(crate) fn remark(&self, table: &str) -> Option<String> {
        let all: usize = self.others.values().sum();
        let names: Vec<&str> = self.others.keys().map(|split| split.name()).collect();
        (all > 0).then(|| {
            format!(
                "{all} picture(s) of {table} belong to {} by its column of splits, although its name says train",
                names.join(" and ")
            )
        })
    }
}

/// The split of a row of a table: the one that a column says, or else the table's own. A table to
/// train on may hold pictures out; one of pictures held out has no others.
pub(crate) fn split_of_row(
    word: Option<String>,
    table: Option<Split>,
    told: &mut Told,
) -> std::result::Result<Option<Split>, String> {
    let Some(word) = word else { return Ok(table) };
    let Some(own) = split_of_value(&word) else {
        return Err(format!(
            "has the split '{word}': use train, val, test or nothing, or name another column with `split_column`"
        ));
    };
    match table {
        Some(Split::Train) if own != Split::Train => *told.others.entry(own).or_default() += 1,
        Some(table) if table != own => {
            return Err(format!(
                "has the split '{word}', but the table's name or folder says {table}: correct one of them, or name another column with `split_column`"
            ));
        }
        _ => {}
    }
    Ok(Some(own))
}

/// A remark about rows of which a column says another split than their paths do.
pub(crate) fn contradicted(rows: &[Row], said: &Said) -> Option<String> {
    let Said::Splits(splits, told) = said else { return None };
    let mut differ =
        rows.iter().zip(splits).filter(|(row, split)| row.split.is_some_and(|own| own != **split));
    let (row, split) = differ.next()?;
    Some(format!(
        "{} picture(s), such as '{}', belong to {} by the column of splits, although {told} in their paths say {split} or another split: the column counts",
        differ.count() + 1,
        row.id,
        row.split.map_or("", Split::name)
    ))
}

/// Gives rows the splits that their paths say, with a remark, or says why it cannot be told;
/// `choice` says what settles it.
pub(crate) fn take_splits(
    rows: &mut [Row],
    said: Said,
    choice: &str,
    remarks: &mut Vec<String>,
) -> std::result::Result<(), String> {
    match said {
        Said::Nothing => Ok(()),
        Said::Splits(splits, told) => {
            for (row, split) in rows.iter_mut().zip(splits) {
                row.split = Some(split);
            }
            remarks.push(format!("the splits are taken from {told} in the paths; {choice}"));
            Ok(())
        }
        Said::Partly(told, path) => Err(format!(
            "cannot tell what the splits are: {told} in the paths have the names of splits, but '{path}' is in none; {choice}"
        )),
    }
}

/// Leaves out pictures whose label means that they have none, with a remark.
pub(crate) fn leave_out_unlabelled(rows: &mut Vec<Row>, remarks: &mut Vec<String>) {
    let labels = no_labels(rows.iter().map(|row| row.class.as_str()));
    let labels: BTreeSet<String> = labels.into_iter().map(String::from).collect();
    for label in labels {
        let mut left = rows.iter().filter(|row| row.class == label).map(|row| row.id.clone());
        let (Some(example), more) = (left.next(), left.count()) else { continue };
        let count = more + 1;
        remarks.push(format!(
            "{count} picture(s), such as '{example}', have the label '{label}', which means that they have none, and are left out; if it is a class, give it another name"
        ));
        rows.retain(|row| row.class != label);
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
    let has_splits = rows.iter().any(|row| row.split.is_some());
    beside.unread_remarks(reading.purpose, has_splits);
    if rows.is_empty() {
        return Err(taper_data::Error::NoPictures { path: path() }.into());
    }
    let (changed, remarks) = unite(rows.iter().map(|row| row.class.as_str()));
    beside.remarks.extend(remarks);
    for row in rows.iter_mut().filter(|_| !changed.is_empty()) {
        if let Some(name) = changed.get(&row.class) {
            row.class.clone_from(name);
        }
    }
    let names = match classes {
        Some(mut names) => {
            let mut seen = BTreeSet::new();
            names.iter_mut().for_each(|name| {
                if let Some(one) = changed.get(name) {
                    name.clone_from(one);
                }
            });
            names.retain(|name| seen.insert(name.clone()));
            names
        }
        None => {
            let names: BTreeSet<&str> = rows.iter().map(|row| row.class.as_str()).collect();
            names.into_iter().map(String::from).collect()
        }
    };
    let count = |name: &str| rows.iter().filter(|row| row.class == name).count();
    beside.remarks.extend(doubts(&names, count));
    let names =
        ClassNames::new(names).map_err(|source| Error::Classes { place: place.into(), source })?;
    let group = group_column(place, &rows, reading, &mut beside.remarks)?;
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
        let own = row.groups.into_iter().find(|(name, _)| Some(&**name) == group.as_deref());
        sample.group = own.map(|(_, group)| {
            Arc::clone(groups.entry(group).or_insert_with_key(|name| name.as_str().into()))
        });
        samples.push(sample);
    }
    let Beside { findings, mut remarks, ignored, .. } = beside;
    remarks.extend(gaps(&samples, &names));
    let mut dataset = Dataset::new(names, samples, source)?;
    if let Some(column) = group {
        dataset = dataset.with_group_column(column);
    }
    Ok(reading.options.limits(dataset).with_index_report(findings, remarks, ignored))
}

/// The column that says the groups of the rows, if one does.
fn group_column(
    place: &str,
    rows: &[Row],
    reading: &Reading,
    remarks: &mut Vec<String>,
) -> Result<Option<String>> {
    let choice = reading.groups();
    // Most data have no such columns.
    if reading.purpose == FolderUse::Classify
        || (matches!(choice, Choice::Auto | Choice::Elsewhere)
            && rows.iter().all(|row| row.groups.is_empty()))
    {
        return Ok(None);
    }
    let told: Vec<group_columns::Row<'_>> = rows
        .iter()
        .map(|row| group_columns::Row {
            label: &row.class,
            split: row.split.map(Split::name),
            groups: &row.groups,
        })
        .collect();
    let trains = reading.purpose == FolderUse::Train;
    let chosen = group_columns::choose(&told, choice, trains, remarks);
    chosen.map_err(|problem| Error::Columns { path: place.into(), problem })
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
