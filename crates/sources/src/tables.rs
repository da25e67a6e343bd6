//! Tables that say the labels of the pictures in a folder, where its folders do not.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

use taper_core::Split;
use taper_data::Dataset;
use taper_picture::FileKind;

use crate::{
    is_hidden, is_manifest,
    manifest::{has_name_of_list, is_list},
    own_files::{is_own_file, output_folder},
    split_named,
};

/// The tables of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// One for each split: `train/metadata.csv` and `test/metadata.csv`, or `train.csv` and
    /// `test.csv`; and the folders of splits that have none.
    OfSplits(Vec<(PathBuf, Split)>, Vec<PathBuf>),
    /// `metadata.csv` or `metadata.jsonl`, as image folders of Hugging Face have it.
    One(PathBuf),
}

/// The tables to read instead of the layout of a folder; none if its folders may be classes, or if
/// it cannot be told which tables count.
pub(crate) fn find(root: &Path) -> Option<Tables> {
    let (folders, files) = entries(root);
    let (splits, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        folders.iter().partition(|folder| split_of(folder).is_some());
    // As image folders of Hugging Face have it: the table counts, whatever its folders are called.
    let has_metadata = |folder: &PathBuf| {
        let tables = entries(folder).1.into_iter().filter(|file| is_manifest(file));
        split_of(folder).is_some() && tables.filter(|file| is_metadata(file)).count() == 1
    };
    let may_be_classes = |folder: &PathBuf| entries(folder).0.len() > 1 && !has_metadata(folder);
    if folders.iter().any(may_be_classes)
        || others.len() > 1
        || (!splits.is_empty() && !others.is_empty())
    {
        return None;
    }
    let (mut inner, mut without) = (Vec::new(), Vec::new());
    for folder in splits {
        let tables: Vec<PathBuf> = entries(folder).1.into_iter().filter(|f| is_table(f)).collect();
        match (tables.as_slice(), split_of(folder)) {
            ([table], Some(split)) => inner.push((table.clone(), split)),
            ([], _) => without.push(folder.clone()),
            _ => return None,
        }
    }
    if !inner.is_empty() {
        return are_different(&inner).then_some(Tables::OfSplits(inner, without));
    }
    let metadata: Vec<&PathBuf> =
        files.iter().filter(|file| is_manifest(file) && is_metadata(file)).collect();
    if let [table] = metadata[..] {
        return Some(Tables::One(table.clone()));
    }
    let own: Vec<(PathBuf, Split)> = files
        .into_iter()
        .filter(|file| is_table(file) || has_name_of_list(file))
        .filter_map(|file| split_of(&file).map(|split| (file, split)))
        .collect();
    // One that is not understood is not passed over, so that it is said why.
    let known = own.iter().any(|(file, _)| is_table(file));
    (known && own.len() > 1 && are_different(&own)).then(|| Tables::OfSplits(own, Vec::new()))
}

/// The data set that a folder's tables gave, with a remark if the folder has more pictures than it.
/// `remarked`: folders about which that has been said.
pub(crate) fn with_unlisted(dataset: Dataset, root: &Path, remarked: &[PathBuf]) -> Dataset {
    let listed: HashSet<PathBuf> = (0..dataset.len()).filter_map(|i| dataset.file(i)).collect();
    let (mut count, mut first) = (0, None);
    let mut folders = vec![root.to_path_buf()];
    // Links may lead back.
    let mut seen = HashSet::new();
    while let Some(folder) = folders.pop() {
        let (inner, files) = entries(&folder);
        let names = inner.iter().chain(&files).filter_map(|path| path.file_name());
        let is_root = folder == root;
        let first_time = fs::canonicalize(&folder).is_ok_and(|real| seen.insert(real));
        if !first_time || (!is_root && output_folder(names).is_some()) {
            continue;
        }
        folders.extend(inner.into_iter().rev().filter(|folder| !remarked.contains(folder)));
        for file in files {
            let unlisted = !listed.contains(&file) && !is_own_file(&file);
            if unlisted && FileKind::of_file(&file) == FileKind::Picture {
                count += 1;
                first.get_or_insert(file);
            }
        }
    }
    match first {
        None => dataset,
        Some(first) => dataset.with_remark(format!(
            "{count} picture(s) of the folder, such as {}, are left out: no table that was read gives them a label",
            first.strip_prefix(root).unwrap_or(&first).display()
        )),
    }
}

/// Whether no two tables are of the same split.
fn are_different(tables: &[(PathBuf, Split)]) -> bool {
    tables.iter().map(|(_, split)| *split).collect::<BTreeSet<_>>().len() == tables.len()
}

/// The split that a file or a folder is called by.
fn split_of(path: &Path) -> Option<Split> {
    path.file_stem()?.to_str().and_then(split_named)
}

fn is_metadata(file: &Path) -> bool {
    file.file_stem().is_some_and(|stem| stem == "metadata")
}

/// Whether a file may list pictures and labels. Competitions add examples of what to hand in.
fn is_table(file: &Path) -> bool {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    (is_manifest(file) || is_list(file)) && !name.contains("submission") && !name.contains("sample")
}

/// The folders and the files in a folder, sorted, without those that systems leave behind.
fn entries(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let shown = all.filter(|entry| !is_hidden(&entry.file_name())).map(|entry| entry.path());
    let mut shown: Vec<PathBuf> = shown.collect();
    shown.sort();
    shown.into_iter().partition(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]

    use super::*;

    /// What is found among these files: tables of splits, one table, or nothing.
    fn found(files: &[&str]) -> String {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "cat/1.jpg 0\n").unwrap();
        }
        let name = |path: &Path| path.strip_prefix(root.path()).unwrap().display().to_string();
        match find(root.path()) {
            None => String::new(),
            Some(Tables::One(table)) => name(&table),
            Some(Tables::OfSplits(tables, without)) => {
                let all = tables.iter().map(|(table, split)| format!("{split}={}", name(table)));
                let without = without.iter().map(|folder| format!("-{}", name(folder)));
                all.chain(without).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn tables_count_where_folders_say_no_class() {
        for (files, expected) in [
            (
                &["train/1.jpg", "train/_classes.csv", "test/2.jpg", "test/_classes.csv"][..],
                "test=test/_classes.csv train=train/_classes.csv",
            ),
            (
                &["train/images/1.jpg", "train/metadata.jsonl", "test/images/2.jpg"],
                "train=train/metadata.jsonl -test",
            ),
            (&["images/1.jpg", "metadata.jsonl"], "metadata.jsonl"),
            (&["1.jpg", "metadata.csv"], "metadata.csv"),
            (&["jpg/1.jpg", "train.txt", "test.txt"], "test=test.txt train=train.txt"),
            (&["jpg/1.jpg", "train.lst", "val.csv"], "train=train.lst val=val.csv"),
            (
                &["train/1.jpg", "test/2.jpg", "train.csv", "test.csv", "sample_submission.csv"],
                "test=test.csv train=train.csv",
            ),
            (
                &["train/a/1.jpg", "train/b/1.jpg", "train/metadata.csv", "test/a/2.jpg"],
                "train=train/metadata.csv -test",
            ),
            // Classes, or something that cannot be told.
            (&["cat/1.jpg", "dog/1.jpg", "metadata.csv"], ""),
            (&["train/cat/1.jpg", "train/dog/1.jpg", "train/labels.csv", "test/1.jpg"], ""),
            (&["bus/1.jpg", "train/1.jpg", "train/notes.csv"], ""),
            (&["train/1.jpg", "train/a.csv", "train/b.csv"], ""),
            (&["images/1.jpg", "train.csv"], ""),
            (&["images/1.jpg", "train_a.csv", "train_b.csv"], ""),
        ] {
            assert_eq!(found(files), expected, "{files:?}");
        }
    }
}
