//! What Taper itself has written: never part of a data set.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::File,
    io::Read,
    path::Path,
};

use taper_core::file::FIGURE_MARK as MARK;
use taper_names::sets::listed;

use crate::Error;

/// The name of the file that marks other folders for output, such as those that `predict` sorts
/// pictures into.
pub const FOLDER_MARK: &str = ".taper-output";

/// Who wrote what is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Taper,
    /// Some program, into a cache.
    Cache,
}

/// What was passed over.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    own: Vec<String>,
    caches: Vec<String>,
}

impl Passed {
    pub(crate) fn add(&mut self, output: Output, name: String) {
        match output {
            Output::Taper => self.own.push(name),
            Output::Cache => self.caches.push(name),
        }
    }

    /// A remark for each kind.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let kinds = [
            (&self.own, "written by Taper"),
            (&self.caches, "marked as a cache by a file CACHEDIR.TAG"),
        ];
        let given = kinds.into_iter().filter(|(names, _)| !names.is_empty());
        given
            .map(|(names, what)| {
                format!("{}: {what}, not part of the data set, and left out", listed(names))
            })
            .collect()
    }

    /// An error that may come from what was passed over says so.
    pub(crate) fn with(&self, error: Error) -> Error {
        match self.remarks() {
            remarks if remarks.is_empty() => error,
            remarks => Error::PassedOver { passed: remarks.join("; "), source: Box::new(error) },
        }
    }
}

/// Whether a folder with these files is one that Taper wrote: of a training run, of a
/// cross-validation, of a study, of the LR finder or of an inspection; or a cache, whoever wrote
/// it.
pub(crate) fn output_folder<'a>(names: impl Iterator<Item = &'a OsStr>) -> Option<Output> {
    let (mut recipe, mut product) = (false, false);
    for name in names.filter_map(OsStr::to_str) {
        match name {
            "recipe.toml" => recipe = true,
            "lr_find.json" | "health.json" | "evaluation.json" | "left-out.csv" | "folds.json"
            | FOLDER_MARK => return Some(Output::Taper),
            "CACHEDIR.TAG" => return Some(Output::Cache),
            "model.safetensors" | "history.csv" | "history.jsonl" | "checkpoints"
            | "result.json" | "fold-0" | "seeds.json" | ".lock" | "study.toml" => product = true,
            // Interrupted before the first of several seeds was complete.
            _ => product |= name.starts_with("seed-"),
        }
    }
    (recipe && product).then_some(Output::Taper)
}

/// Whether a file among the data has a name that only Taper gives: what it wrote there is not part
/// of them.
pub(crate) fn is_own_report(name: &str) -> bool {
    const NAMES: [&str; 3] = ["evaluation.json", "health.json", "lr_find.json"];
    NAMES.contains(&name.rsplit('/').next().unwrap_or(name))
}

/// The folders that Taper wrote, of files with these paths; only the topmost. One in which all
/// pictures lie is the data set, as if it had been given alone.
pub(crate) fn output_folders<'a>(
    paths: impl Iterator<Item = &'a str>,
    pictures: &[&str],
) -> BTreeMap<&'a str, Output> {
    let mut within: BTreeMap<&str, BTreeSet<&OsStr>> = BTreeMap::new();
    for path in paths {
        let mut rest = path;
        while let Some((folder, name)) = rest.rsplit_once('/') {
            within.entry(folder).or_default().insert(OsStr::new(name));
            rest = folder;
        }
    }
    let mut found: BTreeMap<&str, Output> = BTreeMap::new();
    for (folder, names) in within {
        if let Some(output) = output_folder(names.into_iter())
            && !found.keys().any(|own| is_within(folder, own))
            && !pictures.iter().all(|picture| is_within(picture, folder))
        {
            found.insert(folder, output);
        }
    }
    found
}

/// Whether a path lies in a folder, at whatever depth.
pub(crate) fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a file is a picture or a drawing that Taper wrote: those say so in their first bytes.
pub fn is_own_file(path: &Path) -> bool {
    if !may_be_own(path) {
        return false;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && is_own_head(&head)
}

/// How many of the first bytes may hold the mark.
pub(crate) const HEAD: u64 = 256;

/// Whether a file could be one that Taper wrote, by its name's ending.
pub(crate) fn may_be_own(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["png", "svg", "jpg", "jpeg"].iter().any(|own| extension.eq_ignore_ascii_case(own))
}

/// Whether the first bytes of a file are those of a figure of Taper's.
pub(crate) fn is_own_head(head: &[u8]) -> bool {
    head.windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// Whether a file has the name that Taper gives to its pictures unless told otherwise: such files
/// are looked into wherever they lie.
pub(crate) fn has_own_name(name: &OsStr) -> bool {
    const NAMES: [&str; 9] = [
        "augment.png",
        "curves.png",
        "confusion.png",
        "lr_find.png",
        "reliability.png",
        "reliability.svg",
        "curves.svg",
        "confusion.svg",
        "lr_find.svg",
    ];
    name.to_str().is_some_and(|name| NAMES.contains(&name))
}
