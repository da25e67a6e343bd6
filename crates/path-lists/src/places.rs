//! Where the files of a manifest are.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use taper_core::Split;
use taper_picture::format_of_extension;
use unicode_normalization::UnicodeNormalization;

use taper_names::splits::split_named;

use crate::{Error, Result};

/// Extensions that are tried where there is none, the most frequent first.
const EXTENSIONS: [&str; 10] =
    ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG", "webp", "bmp", "tif", "gif"];
/// How many files, evenly spaced, are looked for in each folder beside the list.
const PROBED: usize = 64;

/// The folder that the paths of a list are relative to: its own, or the one folder beside it that
/// has the files; if several folders beside it have some each, the paths are made relative to its
/// own. Extensions that are missing are filled in. `remarks` says what is unusual.
///
/// # Errors
/// [`Error::NoFiles`] if none of the files exists, [`Error::Ambiguous`] if several folders have
/// the same ones.
pub fn find_files(
    manifest: &Path,
    paths: &mut [Box<str>],
    remarks: &mut Vec<String>,
) -> Result<PathBuf> {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    if paths.is_empty() {
        return Ok(folder.into());
    }
    let filled = fill_in(folder, paths);
    if filled.any {
        remarks.extend(filled.remarks());
        return Ok(folder.into());
    }
    let mut inner: Vec<PathBuf> =
        match fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }) {
            Ok(entries) => entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect(),
            Err(_) => Vec::new(),
        };
    // As the user would write them.
    for path in &mut inner {
        if let Ok(plain) = path.strip_prefix(".") {
            *path = plain.to_path_buf();
        }
    }
    // The files of another split may have the same names.
    let own = split_of(manifest);
    inner.retain(|path| own.is_none() || split_of(path).is_none_or(|other| Some(other) == own));
    let named = |path: &Path| {
        path.file_name() == manifest.file_stem() || (own.is_some() && split_of(path) == own)
    };
    // The folder that is named like the manifest comes first: train.csv, train/.
    inner.sort_by_key(|path| (!named(path), path.clone()));
    let mut probes: Vec<Box<str>> = probes(paths);
    let found: Vec<(PathBuf, usize)> = inner
        .into_iter()
        .map(|inner| {
            let there = probes.iter_mut().filter(|path| exists(&inner, path)).count();
            (inner, there)
        })
        .filter(|(_, there)| *there > 0)
        .collect();
    // A folder of samples or of thumbnails may have some of them too.
    let whole: Vec<&(PathBuf, usize)> =
        found.iter().filter(|(_, there)| *there == probes.len()).collect();
    let found = match whole.as_slice() {
        [only] if !named(&found[0].0) => vec![(*only).clone()],
        _ => found.clone(),
    };
    let total: usize = found.iter().map(|(_, there)| there).sum();
    match found.as_slice() {
        [] => {}
        [(first, _), more @ ..] if !more.is_empty() && !named(first) => {
            let folders: Vec<&Path> = found.iter().map(|(path, _)| path.as_path()).collect();
            let names: Vec<String> = folders.iter().map(|f| format!("'{}'", f.display())).collect();
            if total <= probes.len() && gather(folder, &folders, paths) {
                let names = names.join(" and ");
                remarks
                    .push(format!("the paths of {} are relative to {names}", manifest.display()));
                return Ok(folder.into());
            }
            let problem = format!(
                "its files are in {}: write the right folder into its paths, or move it there",
                names.join(" as well as ")
            );
            return Err(Error::Ambiguous { path: manifest.into(), problem });
        }
        [(inner, _), ..] => {
            remarks.extend(fill_in(inner, paths).remarks());
            remarks.push(format!(
                "the paths of {} are relative to '{}'",
                manifest.display(),
                inner.display()
            ));
            return Ok(inner.clone());
        }
    }
    Err(Error::NoFiles {
        path: manifest.into(),
        count: paths.len(),
        first: paths[0].to_string(),
        folder: if folder.as_os_str().is_empty() { ".".into() } else { folder.into() },
    })
}

/// The split that a file or a folder is called by.
fn split_of(path: &Path) -> Option<Split> {
    path.file_stem()?.to_str().and_then(split_named)
}

/// A path of a list as one spelling: absolute, without `.` and `..`.
pub fn plain(manifest: &Path, path: &str) -> String {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let whole = folder.join(path);
    let whole = std::path::absolute(&whole).unwrap_or(whole);
    let mut plain = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain.to_string_lossy().into_owned()
}

/// Some of the paths, the first of them included.
fn probes(paths: &[Box<str>]) -> Vec<Box<str>> {
    let step = paths.len().div_ceil(PROBED).max(1);
    paths.iter().step_by(step).cloned().collect()
}

/// Whether a path is that of a file in a folder, perhaps with an extension.
fn exists(folder: &Path, path: &str) -> bool {
    fill_in(folder, &mut [path.into()]).any
}

/// Writes the folder, of several below `root`, that has its file before each path. Nothing is
/// changed if a file is in more than one of them. One that is in none is looked for in the first.
fn gather(root: &Path, folders: &[&Path], paths: &mut [Box<str>]) -> bool {
    let mut gathered: Vec<Box<str>> = Vec::with_capacity(paths.len());
    for path in paths.iter() {
        let mut found: Option<Box<str>> = None;
        for folder in folders {
            let mut filled = [path.clone()];
            if !fill_in(folder, &mut filled).any {
                continue;
            }
            if found.is_some() {
                return false;
            }
            found = Some(below(root, folder, &filled[0]));
        }
        gathered.push(found.unwrap_or_else(|| below(root, folders[0], path)));
    }
    paths.clone_from_slice(&gathered);
    true
}

/// A path in one of the folders of another one.
fn below(root: &Path, folder: &Path, path: &str) -> Box<str> {
    let folder = folder.strip_prefix(root).unwrap_or(folder);
    format!("{}/{path}", folder.display()).into()
}

/// What filling in extensions has found.
#[derive(Default)]
struct Filled {
    /// Whether any file exists.
    any: bool,
    /// How many names there are with several extensions, and the first of them.
    several: usize,
    example: String,
    /// How many paths are spelt in another Unicode form than their files.
    respelt: usize,
}

impl Filled {
    fn remarks(self) -> Vec<String> {
        let Self { several, example, respelt, .. } = self;
        let several = (several > 0).then(|| {
            format!(
                "{several} name(s) without an extension fit several files, such as {example}: the first is taken"
            )
        });
        let respelt = (respelt > 0).then(|| {
            format!(
                "{respelt} path(s) are spelt in another Unicode form (NFC, NFD) than the names of their files, and are taken for these"
            )
        });
        several.into_iter().chain(respelt).collect()
    }
}

/// Fills in extensions. Files with an extension are looked at only until the first one that exists.
fn fill_in(folder: &Path, paths: &mut [Box<str>]) -> Filled {
    let (mut filled, mut last) = (Filled::default(), None::<&str>);
    for path in paths {
        let extension = Path::new(&**path).extension().and_then(|e| e.to_str());
        let named = extension.is_some_and(|e| format_of_extension(&e.to_lowercase()).is_some());
        if named {
            // Systems write letters with accents in one of two forms.
            if !path.is_ascii() && !folder.join(&**path).is_file() {
                let forms = [path.nfc().collect::<String>(), path.nfd().collect()];
                if let Some(form) = forms.into_iter().find(|form| folder.join(form).is_file()) {
                    *path = form.into();
                    filled.respelt += 1;
                }
            }
            filled.any = filled.any || folder.join(&**path).is_file();
            continue;
        }
        if folder.join(&**path).is_file() {
            filled.any = true;
            continue;
        }
        let is_file = |extension: &str| folder.join(format!("{path}.{extension}")).is_file();
        let first = last.into_iter().chain(EXTENSIONS).find(|extension| is_file(extension));
        let Some(extension) = first else { continue };
        let other = |own: &&str| !own.eq_ignore_ascii_case(extension) && is_file(own);
        if let Some(other) = EXTENSIONS[..3].iter().find(|own| other(own)) {
            if filled.several == 0 {
                filled.example = format!("{path}.{extension} and {path}.{other}");
            }
            filled.several += 1;
        }
        *path = format!("{path}.{extension}").into();
        (filled.any, last) = (true, Some(extension));
    }
    filled
}
