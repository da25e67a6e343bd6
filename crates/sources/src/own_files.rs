//! What Taper itself has written: never part of a data set.

use std::{ffi::OsStr, fs::File, io::Read, path::Path};

use taper_core::file::FIGURE_MARK as MARK;

/// The name of the file that marks other folders for output, such as those that `predict` sorts
/// pictures into.
pub const FOLDER_MARK: &str = ".taper-output";

/// Whether a folder with these files is one that Taper wrote: of a training run, of a
/// cross-validation, of the LR finder or of an inspection; or a cache, whoever wrote it.
pub(crate) fn is_output_folder<'a>(names: impl Iterator<Item = &'a OsStr>) -> bool {
    let (mut recipe, mut product) = (false, false);
    for name in names.filter_map(OsStr::to_str) {
        match name {
            "recipe.toml" => recipe = true,
            "lr_find.json" | "health.json" | "evaluation.json" | "left-out.csv" | "folds.json"
            | "CACHEDIR.TAG" | FOLDER_MARK => return true,
            "model.safetensors" | "history.csv" | "history.jsonl" | "checkpoints"
            | "result.json" | "fold-0" | ".lock" => product = true,
            _ => {}
        }
    }
    recipe && product
}

/// Whether a file is a picture or a drawing that Taper wrote: those say so in their first bytes.
pub fn is_own_file(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    if !["png", "svg", "jpg", "jpeg"].iter().any(|own| extension.eq_ignore_ascii_case(own)) {
        return false;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(256).read_to_end(&mut head));
    read.is_ok() && head.windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// Whether a file has the name that Taper gives to its pictures unless told otherwise: such files
/// are looked into wherever they lie.
pub(crate) fn has_own_name(name: &OsStr) -> bool {
    const NAMES: [&str; 7] = [
        "augment.png",
        "curves.png",
        "confusion.png",
        "lr_find.png",
        "curves.svg",
        "confusion.svg",
        "lr_find.svg",
    ];
    name.to_str().is_some_and(|name| NAMES.contains(&name))
}
