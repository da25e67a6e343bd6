//! A cleaned list of the pictures. The originals are only read.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
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
    /// Classes of which no picture is kept.
    pub lost: Vec<String>,
    /// How many are left out, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

/// What becomes of pictures that are nearly the same as another one ([`Health::near_copies`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NearCopies {
    /// They are kept: they may be two shots of one thing.
    #[default]
    Keep,
    /// They are left out, as copies are.
    LeaveOut,
}

/// Writes `manifest.csv` (path, label; split and group if the data set has them) and `left-out.csv`
/// (path, reason) into a folder, which is created if necessary.
///
/// Left out are: pictures that cannot be used; of a picture in two splits, the copies in earlier
/// ones (train before val before test), so that the test split stays unchanged; all copies of a
/// picture with two labels; all but the first of copies within a split.
/// Probable label errors are kept, and so are near copies unless `near` says otherwise: whether
/// they are what they seem is for a person to decide. Paths are relative to the folder where that
/// is possible, else absolute.
///
/// # Errors
/// [`Error::NoFiles`] if the pictures are not files of their own, [`Error::NothingKept`] if all of
/// them would be left out (there is a list of them then, and no manifest), [`Error::Exists`] if the
/// folder already has a manifest, [`Error::Write`].
pub fn fix(health: &Health, dataset: &Dataset, folder: &Path, near: NearCopies) -> Result<Fixed> {
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
    let reasons = reasons(health, dataset, near);
    let kept = |index: &usize| !reasons.contains_key(index);
    let of_class = |index: usize| dataset.samples()[index].label;
    let all: BTreeSet<u32> = (0..dataset.len()).map(of_class).collect();
    let left: BTreeSet<u32> = (0..dataset.len()).filter(kept).map(of_class).collect();
    let lost = all.difference(&left).filter_map(|label| dataset.classes().name(*label));
    let lost: Vec<String> = lost.map(String::from).collect();
    fs::create_dir_all(folder).map_err(Error::write(folder))?;
    let base = fs::canonicalize(folder).map_err(Error::write(folder))?;

    let mut rows = csv::Writer::from_writer(Vec::new());
    let mut gone = csv::Writer::from_writer(Vec::new());
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |e: csv::Error| Error::Write { path, source: e.into() }
    };
    let with_splits = dataset.samples().iter().any(|s| s.split.is_some());
    let with_groups = dataset.group_column().is_some();
    let columns = [("path", true), ("label", true), ("split", with_splits), ("group", with_groups)];
    let header = columns.iter().filter(|(_, there)| *there).map(|(name, _)| name);
    rows.write_record(header).map_err(fail(&manifest))?;
    gone.write_record(["path", "reason"]).map_err(fail(&left_out_list))?;
    let mut fixed = Fixed { manifest, left_out_list, lost, ..Fixed::default() };
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
        let group = sample.group.as_deref().unwrap_or_default();
        let values = [path.as_str(), class, split, group].into_iter().zip(&columns);
        let record = values.filter(|(_, (_, there))| *there).map(|(value, _)| value);
        rows.write_record(record).map_err(fail(&fixed.manifest))?;
        fixed.kept += 1;
    }
    let mut files = vec![(gone, &fixed.left_out_list)];
    if fixed.kept > 0 {
        files.push((rows, &fixed.manifest));
    }
    for (writer, path) in files {
        let bytes = writer
            .into_inner()
            .map_err(|e| Error::Write { path: path.clone(), source: e.into_error() })?;
        write_whole(path, &bytes)?;
    }
    match fixed.kept {
        0 => Err(Error::NothingKept { place: dataset.place(), list: fixed.left_out_list }),
        _ => Ok(fixed),
    }
}

fn reasons(health: &Health, dataset: &Dataset, near: NearCopies) -> BTreeMap<usize, &'static str> {
    let mut reasons: BTreeMap<usize, &'static str> = BTreeMap::new();
    for finding in health.unreadable.iter().filter_map(|f| f.sample) {
        reasons.insert(finding, "unreadable");
    }
    let sample = |i: usize| &dataset.samples()[i];
    for group in groups(health.duplicates.iter().map(|d| d.pair)) {
        let labels: HashSet<u32> = group.iter().map(|i| sample(*i).label).collect();
        let last = group.iter().map(|i| sample(*i).split).max();
        for index in group {
            if labels.len() > 1 {
                reasons.entry(index).or_insert("the same picture has two labels");
            } else if Some(sample(index).split) != last {
                reasons.entry(index).or_insert("the same picture is in a later split");
            }
        }
    }
    let within = health.duplicates.iter().filter(|d| !d.across_splits && d.same_label);
    for group in groups(within.map(|d| d.pair)) {
        let mut kept: HashSet<Option<Split>> = HashSet::new();
        for index in group {
            if !reasons.contains_key(&index) && !kept.insert(sample(index).split) {
                reasons.insert(index, "the same picture is already in this split");
            }
        }
    }
    if near == NearCopies::LeaveOut {
        for pair in &health.near_copies {
            let (a, b) = pair.pair;
            if !pair.same_label {
                reasons.entry(a).or_insert("nearly the same picture has another label");
                reasons.entry(b).or_insert("nearly the same picture has another label");
            } else {
                let earlier = if sample(a).split < sample(b).split { a } else { b };
                reasons.entry(earlier).or_insert("nearly the same picture is in a later split");
            }
        }
    }
    reasons
}

/// The groups that pairs form, each in ascending order.
fn groups(pairs: impl Iterator<Item = (usize, usize)>) -> Vec<BTreeSet<usize>> {
    let mut groups: Vec<BTreeSet<usize>> = Vec::new();
    let mut group_of: BTreeMap<usize, usize> = BTreeMap::new();
    for (a, b) in pairs {
        let (into, from) = match (group_of.get(&a).copied(), group_of.get(&b).copied()) {
            (Some(x), Some(y)) => (x.min(y), Some(x.max(y))),
            (Some(x), None) | (None, Some(x)) => (x, None),
            (None, None) => {
                groups.push(BTreeSet::new());
                (groups.len() - 1, None)
            }
        };
        if let Some(from) = from.filter(|from| *from != into) {
            for moved in std::mem::take(&mut groups[from]) {
                group_of.insert(moved, into);
                groups[into].insert(moved);
            }
        }
        for index in [a, b] {
            group_of.insert(index, into);
            groups[into].insert(index);
        }
    }
    groups
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
