//! What Taper itself has written: never part of a data set.

use std::{ffi::OsStr, fs::File, io::Read, path::Path};

use taper_core::file::FIGURE_MARK as MARK;

/// Whether a folder with these files is one that Taper wrote: of a training run, of a
/// cross-validation, of the LR finder or of an inspection; or a cache, whoever wrote it.
pub(crate) fn is_output_folder<'a>(names: impl Iterator<Item = &'a OsStr>) -> bool {
    let (mut recipe, mut product) = (false, false);
    for name in names.filter_map(OsStr::to_str) {
        match name {
            "recipe.toml" => recipe = true,
            "lr_find.json" | "health.json" | "CACHEDIR.TAG" => return true,
            "model.safetensors" | "history.csv" | "history.jsonl" | "checkpoints"
            | "result.json" | "folds.json" | "fold-0" | "evaluation.json" => product = true,
            _ => {}
        }
    }
    recipe && product
}

/// Whether a file is a picture or a drawing that Taper wrote: those say so in their first bytes.
pub(crate) fn is_own_file(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    if !["png", "svg"].iter().any(|own| extension.eq_ignore_ascii_case(own)) {
        return false;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(256).read_to_end(&mut head));
    read.is_ok() && head.windows(MARK.len()).any(|bytes| bytes == MARK)
}
