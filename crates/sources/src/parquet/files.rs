//! Where the Parquet files of a data set are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use taper_core::Split;
use taper_names::{sets, splits::split_named};

/// Whether a file's name is that of a Parquet file, or a folder holds some where
/// [`open_parquet`](super::open_parquet) looks for them.
pub fn is_parquet(path: &Path) -> bool {
    if path.is_dir() { !files_in(path).is_empty() } else { has_extension(path) }
}

fn has_extension(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"))
}

/// The Parquet files in a folder, its folders `data` and `default`, and the folders named like
/// splits in it and in `default`. Nowhere else: searching a folder of pictures would take long.
pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let mut files = Vec::new();
    for path in list(folder) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if has_extension(&path) && path.is_file() {
            files.push(path);
        } else if name == "default" && path.is_dir() {
            files.extend(files_in(&path));
        } else if (name == "data" || split_named(name).is_some()) && path.is_dir() {
            let inner = list(&path).into_iter();
            files.extend(inner.filter(|path| has_extension(path) && path.is_file()));
        }
    }
    files
}

/// A remark about folders with Parquet files that [`files_in`] does not look into.
pub(super) fn left_out(folder: &Path, read: &[PathBuf]) -> Option<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let within = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let holds_some = |path: &Path| {
        within(path).map(|entry| entry.path()).any(|file| has_extension(&file) && file.is_file())
    };
    // Another configuration has folders of splits, as `default` has.
    let holds = |path: &PathBuf| {
        let named = |inner: &fs::DirEntry| inner.file_name().to_str().and_then(split_named);
        let mut splits = within(path).filter(|inner| named(inner).is_some());
        holds_some(path) || splits.any(|inner| holds_some(&inner.path()))
    };
    let unread = |path: &PathBuf| !read.iter().any(|file| file.starts_with(path)) && holds(path);
    let mut names: Vec<String> =
        entries.filter(unread).map(|path| format!("'{}'", path.display())).collect();
    names.sort();
    let names = names.join(", ");
    (!names.is_empty()).then(|| {
        format!("{names}: Parquet files in folders that are no splits are not read; to use them, give the folder alone")
    })
}

/// Remarks about files that the names of the others say there are.
pub(super) fn missing(files: &[PathBuf]) -> Vec<String> {
    sets::missing(&files.iter().map(|file| stem(file, true)).collect::<Vec<_>>())
}

/// `train-00000-of-00001.parquet`, `rps-train.parquet` and `train/0000.parquet` belong to `train`.
pub(super) fn split_of(path: &Path) -> Option<Split> {
    let own = split_named(path.file_stem()?.to_str()?);
    let parent = || path.parent()?.file_name()?.to_str().and_then(split_named);
    own.or_else(parent)
}

/// What the ids of a file's rows begin with: its name and, among several files, the split folder
/// that it lies in, since files of different folders may have the same name.
pub(super) fn stem(path: &Path, several: bool) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match parent.filter(|name| several && split_named(name).is_some()) {
        Some(parent) => format!("{parent}/{stem}"),
        None => stem,
    }
}
