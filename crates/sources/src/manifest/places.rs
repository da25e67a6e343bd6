//! Where the files of a manifest are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use taper_picture::format_of_extension;

use crate::{Error, Result};

/// Extensions that are tried where there is none, the most frequent first.
const EXTENSIONS: [&str; 10] =
    ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG", "webp", "bmp", "tif", "gif"];
/// Of how many of the first files more than half must be in a folder for it to be the right one.
const PROBED: usize = 3;

/// The folder that the paths of a list are relative to: its own, or the one folder beside it that
/// has the first files. Extensions that are missing are filled in. `remarks` says what is unusual.
///
/// # Errors
/// [`Error::NoFiles`] if none of the files exists, [`Error::Ambiguous`] if several folders have
/// them.
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
        remarks.extend(filled.remark());
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
    // The folder that is named like the manifest comes first: train.csv, train/.
    inner.sort_by_key(|path| (path.file_name() != manifest.file_stem(), path.clone()));
    let holds = |inner: &PathBuf| {
        let mut first: Vec<Box<str>> = paths.iter().take(PROBED).cloned().collect();
        let any = fill_in(inner, &mut first).any;
        any && 2 * first.iter().filter(|p| inner.join(&***p).is_file()).count() > first.len()
    };
    let found: Vec<PathBuf> = inner.into_iter().filter(|inner| holds(inner)).collect();
    match found.as_slice() {
        [] => {}
        [first, more @ ..] if !more.is_empty() && first.file_name() != manifest.file_stem() => {
            let names: Vec<String> = found.iter().map(|f| format!("'{}'", f.display())).collect();
            let problem = format!(
                "its files are in {}: write the right folder into its paths, or move it there",
                names.join(" as well as ")
            );
            return Err(Error::Ambiguous { path: manifest.into(), problem });
        }
        [inner, ..] => {
            remarks.extend(fill_in(inner, paths).remark());
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

/// What filling in extensions has found.
#[derive(Default)]
struct Filled {
    /// Whether any file exists.
    any: bool,
    /// How many names there are with several extensions, and the first of them.
    several: usize,
    example: String,
}

impl Filled {
    fn remark(self) -> Option<String> {
        let Self { several, example, .. } = self;
        (several > 0).then(|| {
            format!(
                "{several} name(s) without an extension fit several files, such as {example}: the first is taken"
            )
        })
    }
}

/// Fills in extensions. Files with an extension are looked at only until the first one that exists.
fn fill_in(folder: &Path, paths: &mut [Box<str>]) -> Filled {
    let (mut filled, mut last) = (Filled::default(), None::<&str>);
    for path in paths {
        let extension = Path::new(&**path).extension().and_then(|e| e.to_str());
        let named = extension.is_some_and(|e| format_of_extension(&e.to_lowercase()).is_some());
        if named {
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
