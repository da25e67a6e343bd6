//! A cleaned list of the pictures. The originals are only read.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use taper_core::Split;
use taper_data::Dataset;

use crate::{Error, Health, Result, file::write_whole};

/// What a cleaned manifest leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fixed {
    /// The manifest, to be given to `--data`.
    pub manifest: PathBuf,
    /// The list of what was left out and why.
    pub left_out_list: PathBuf,
    /// How many pictures are kept.
    pub kept: usize,
    /// How many are left out, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

/// Writes `manifest.csv` (path, label, split) and `left-out.csv` (path, reason) into a folder,
/// which is created if necessary.
///
/// Left out are: pictures that cannot be used; of a picture in two splits, the copy in the earlier
/// one (train before val before test), so that the test split stays unchanged; both copies of a
/// picture with two labels; all but the first of exact duplicates within a split. Probable label
/// errors are kept: whether they are errors is for a person to decide. Paths are relative to the
/// folder where that is possible, else absolute.
///
/// # Errors
/// [`Error::NoFiles`] if the pictures are not files of their own, [`Error::Exists`] if the folder
/// already has a manifest, [`Error::Write`].
pub fn fix(health: &Health, dataset: &Dataset, folder: &Path) -> Result<Fixed> {
    let manifest = folder.join("manifest.csv");
    let left_out_list = folder.join("left-out.csv");
    for path in [&manifest, &left_out_list] {
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: path.clone() });
        }
    }
    if dataset.file(0).is_none() {
        return Err(Error::NoFiles { place: dataset.place() });
    }
    let reasons = reasons(health, dataset);
    fs::create_dir_all(folder).map_err(Error::write(folder))?;
    let base = fs::canonicalize(folder).map_err(Error::write(folder))?;

    let mut rows = csv::Writer::from_writer(Vec::new());
    let mut gone = csv::Writer::from_writer(Vec::new());
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |e: csv::Error| Error::Write { path, source: e.into() }
    };
    let with_splits = dataset.samples().iter().any(|s| s.split.is_some());
    let header: &[&str] =
        if with_splits { &["path", "label", "split"] } else { &["path", "label"] };
    rows.write_record(header).map_err(fail(&manifest))?;
    gone.write_record(["path", "reason"]).map_err(fail(&left_out_list))?;
    let mut fixed = Fixed { manifest, left_out_list, ..Fixed::default() };
    for (index, sample) in dataset.samples().iter().enumerate() {
        if let Some(reason) = reasons.get(&index) {
            *fixed.left_out.entry(reason).or_default() += 1;
            gone.write_record([&sample.id, *reason]).map_err(fail(&fixed.left_out_list))?;
            continue;
        }
        let path = dataset.file(index).and_then(|file| relative(&base, &file));
        let Some(path) = path else {
            // A name that is not UTF-8 cannot be written in a manifest.
            let reason = "its name is not UTF-8";
            *fixed.left_out.entry(reason).or_default() += 1;
            gone.write_record([&sample.id, reason]).map_err(fail(&fixed.left_out_list))?;
            continue;
        };
        let class = dataset.classes().name(sample.label).unwrap_or_default();
        let split = sample.split.map_or("", Split::name);
        let record: &[&str] = if with_splits { &[&path, class, split] } else { &[&path, class] };
        rows.write_record(record).map_err(fail(&fixed.manifest))?;
        fixed.kept += 1;
    }
    for (writer, path) in [(rows, &fixed.manifest), (gone, &fixed.left_out_list)] {
        let bytes = writer
            .into_inner()
            .map_err(|e| Error::Write { path: path.clone(), source: e.into_error() })?;
        write_whole(path, &bytes)?;
    }
    Ok(fixed)
}

fn reasons(health: &Health, dataset: &Dataset) -> BTreeMap<usize, &'static str> {
    let mut reasons: BTreeMap<usize, &'static str> = BTreeMap::new();
    for finding in health.unreadable.iter().filter_map(|f| f.sample) {
        reasons.insert(finding, "unreadable");
    }
    for pair in &health.label_conflicts {
        for index in [pair.pair.0, pair.pair.1] {
            reasons.entry(index).or_insert("the same picture has two labels");
        }
    }
    for pair in health.duplicates.iter().filter(|d| d.across_splits && d.same_label) {
        let (a, b) = pair.pair;
        let split = |i: usize| dataset.samples()[i].split;
        let earlier = if split(a) < split(b) { a } else { b };
        reasons.entry(earlier).or_insert("the same picture is in a later split");
    }
    // Each exact duplicate is paired with the first picture of its group, which may have been left
    // out already.
    let mut kept: HashSet<(usize, Option<Split>)> = HashSet::new();
    for pair in health.duplicates.iter().filter(|d| d.same_label && d.distance == 0.0) {
        let (first, other) = pair.pair;
        let split = |i: usize| dataset.samples()[i].split;
        if !reasons.contains_key(&first) {
            kept.insert((first, split(first)));
        }
        if !reasons.contains_key(&other) && !kept.insert((first, split(other))) {
            reasons.insert(other, "the same picture is already in this split");
        }
    }
    reasons
}

/// A path from `base`, with forward slashes, or the absolute one if they have nothing in common.
fn relative(base: &Path, file: &Path) -> Option<String> {
    let folder = fs::canonicalize(file.parent()?).ok()?;
    let common = base.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let name = file.file_name()?;
    // Sharing only the root is not enough for a relative path.
    if common <= 1 {
        return Some(folder.join(name).to_str()?.to_owned());
    }
    let mut path = PathBuf::new();
    for _ in base.components().skip(common) {
        path.push("..");
    }
    path.extend(folder.components().skip(common));
    path.push(name);
    Some(path.to_str()?.replace('\\', "/"))
}
