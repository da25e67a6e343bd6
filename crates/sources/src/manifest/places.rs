//! Where the files of a manifest are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use taper_picture::format_of_extension;

use crate::{Error, Result, rows::Beside};

/// Extensions that are tried where there is none, the most frequent first.
const EXTENSIONS: [&str; 10] =
    ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG", "webp", "bmp", "tif", "gif"];
/// How many of the first files must be in a folder beside the manifest for it to be the right one.
const PROBED: usize = 3;

/// The folder that the paths are relative to. Extensions that are missing are filled in.
pub(super) fn find(
    manifest: &Path,
    folder: &Path,
    paths: &mut [Box<str>],
    beside: &mut Beside,
) -> Result<PathBuf> {
    if paths.is_empty() {
        return Ok(folder.into());
    }
    if fill_in(folder, paths) {
        return Ok(folder.into());
    }
    let mut inner: Vec<PathBuf> =
        match fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }) {
            Ok(entries) => entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect(),
            Err(_) => Vec::new(),
        };
    // The folder that is named like the manifest comes first: train.csv, train/.
    inner.sort_by_key(|path| (path.file_name() != manifest.file_stem(), path.clone()));
    for inner in inner {
        let mut first: Vec<Box<str>> = paths.iter().take(PROBED).cloned().collect();
        let found = |path: &str| inner.join(path).is_file();
        if fill_in(&inner, &mut first) && first.iter().all(|path| found(path)) {
            fill_in(&inner, paths);
            beside.remarks.push(format!(
                "the paths of {} are relative to '{}'",
                manifest.display(),
                inner.display()
            ));
            return Ok(inner);
        }
    }
    let problem = format!(
        "none of its {} file(s) exists; the first is '{}', which was looked for in '{}' and the folders in it",
        paths.len(),
        paths[0],
        if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.display()
    );
    Err(Error::Table { path: manifest.into(), problem })
}

/// Fills in extensions, and says whether any file exists. Files with an extension are looked at
/// only until the first one that exists.
fn fill_in(folder: &Path, paths: &mut [Box<str>]) -> bool {
    let (mut any, mut last) = (false, None::<&str>);
    for path in paths {
        let extension = Path::new(&**path).extension().and_then(|e| e.to_str());
        let named = extension.is_some_and(|e| format_of_extension(&e.to_lowercase()).is_some());
        if named {
            any = any || folder.join(&**path).is_file();
            continue;
        }
        if folder.join(&**path).is_file() {
            any = true;
            continue;
        }
        let found = last
            .into_iter()
            .chain(EXTENSIONS)
            .find(|extension| folder.join(format!("{path}.{extension}")).is_file());
        if let Some(extension) = found {
            *path = format!("{path}.{extension}").into();
            (any, last) = (true, Some(extension));
        }
    }
    any
}
