use std::{
    fs,
    path::{Path, PathBuf},
};

use taper_core::Split;
use taper_data::Dataset;

use crate::{
    Error, FolderUse, LayoutChoice, Reading, Result, is_archive, is_manifest,
    manifest::{has_name_of_list, is_list, open_tables},
    open_archive, open_archives, open_folder, open_manifest, split_named,
    tables::{self, Tables},
};

/// A kind of file that contains a data set.
struct Format {
    /// Whether a path is one.
    is: fn(&Path) -> bool,
    open: fn(&Path, Reading) -> Result<Dataset>,
}

/// The kinds of files, tried in this order. Anything else is a folder.
const FORMATS: [Format; 4] = [
    PARQUET,
    Format {
        is: |path| path.is_file() && (is_manifest(path) || has_name_of_list(path)),
        open: |path, reading| open_manifest(path, reading),
    },
    Format {
        is: |path| !path.is_dir() && is_archive(path),
        open: |path, reading| open_archive(path, reading),
    },
    // A folder of archives, such as `train.zip` and `test.zip`, or shards.
    Format {
        is: |path| !archives_in(path).is_empty(),
        open: |path, reading| {
            let archives = archives_in(path);
            let parts: Vec<_> = archives.iter().map(|path| (path.as_path(), None)).collect();
            open_archives(&parts, reading)
        },
    },
];

#[cfg(feature = "parquet")]
const PARQUET: Format =
    Format { is: crate::is_parquet, open: |path, reading| crate::open_parquet(path, reading) };

#[cfg(not(feature = "parquet"))]
const PARQUET: Format = Format {
    is: |path| {
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) && !path.is_dir()
    },
    open: |path, _| {
        let problem = "this build cannot read Parquet (feature 'parquet')".into();
        Err(Error::Table { path: path.into(), problem })
    },
};

/// The archives in a folder that has no folders besides.
fn archives_in(folder: &Path) -> Vec<PathBuf> {
    let entries = || fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let hidden = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    if entries().any(|path| path.is_dir() && !hidden(&path)) {
        return Vec::new();
    }
    let mut archives: Vec<PathBuf> =
        entries().filter(|path| is_archive(path) && !hidden(path)).collect();
    archives.sort();
    archives
}

/// Opens whatever lies at a path: a folder of pictures, a manifest, an archive or a folder of them;
/// with the feature `parquet` also a Parquet file, or a folder of them.
///
/// # Errors
/// As [`open_folder`], [`open_manifest`] and [`open_archive`]; [`Error::NotASource`] for any other
/// file.
pub fn open_path(path: impl AsRef<Path>, reading: impl Into<Reading>) -> Result<Dataset> {
    let (path, reading) = (path.as_ref(), reading.into());
    if path.is_dir() {
        refuse_mixture(path)?;
    }
    if let Some(format) = FORMATS.iter().find(|format| (format.is)(path)) {
        return (format.open)(path, reading);
    }
    if path.is_dir()
        && reading.purpose != FolderUse::Classify
        && reading.options.layout != LayoutChoice::Classes
        && reading.options.label_from.is_none()
    {
        match tables::find(path) {
            Some(Tables::OfSplits(tables, without)) => {
                let dataset = open_tables(path, &tables, &without, &reading)?;
                return Ok(tables::with_unlisted(dataset, path, &without));
            }
            Some(Tables::One(table)) => {
                let dataset = open_manifest(table, reading)?;
                return Ok(tables::with_unlisted(dataset, path, &[]));
            }
            None => {}
        }
    }
    match open_folder(path, reading) {
        Err(Error::NotAFolder { path }) => Err(Error::NotASource { path }),
        Err(
            error @ (Error::LoosePictures { .. }
            | Error::Ambiguous { .. }
            | Error::Data(taper_data::Error::OneClass { .. })),
        ) => Err(with_manifest(path, error)),
        other => other,
    }
}

/// Parquet is what a folder is read as if there is any: not while the rest is of another kind.
fn refuse_mixture(folder: &Path) -> Result<()> {
    if !(PARQUET.is)(folder) {
        return Ok(());
    }
    let entries = || fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let other = entries().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let own = name == "data" || split_named(name).is_some() || name.starts_with('.');
        is_archive(path)
            || (path.is_dir() && !own && open_folder(path, FolderUse::Classify).is_ok())
    });
    other.map_or(Ok(()), |other| {
        let found = format!("Parquet files and '{}'", other.display());
        Err(Error::Mixed { path: folder.into(), found })
    })
}

/// Points at a manifest that lies in the folder, or in one of its folders.
fn with_manifest(folder: &Path, error: Error) -> Error {
    let within = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
        paths.sort();
        paths
    };
    let own = within(folder);
    let deeper = own.iter().filter(|path| path.is_dir()).flat_map(|inner| within(inner));
    let mut found: Vec<PathBuf> = own
        .iter()
        .cloned()
        .chain(deeper)
        .filter(|path| is_manifest(path) || is_list(path))
        .collect();
    found.sort_by_key(|path| unlikely(path));
    let of_part = |path: &Path| path.parent() != Some(folder) && split_of_folder(path).is_some();
    let parts = found.iter().filter(|path| of_part(path)).count();
    match found.into_iter().next() {
        Some(manifest) => {
            let one = parts > 1 && of_part(&manifest);
            let others = if one { parts - 1 } else { 0 };
            Error::ManifestBeside { manifest, others, source: Box::new(error) }
        }
        None => error,
    }
}

/// The split that the folder of a file is called by.
fn split_of_folder(file: &Path) -> Option<Split> {
    file.parent()?.file_name()?.to_str().and_then(split_named)
}

/// How unlikely it is that a manifest lists the pictures to train on, by its name: competitions
/// have `train.csv` beside `sample_submission.csv` and `test.csv`.
fn unlikely(manifest: &Path) -> u8 {
    let name = manifest.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    match split_named(&name).or_else(|| split_of_folder(manifest)) {
        _ if name.contains("submission") || name.contains("sample") => 3,
        Some(Split::Train) => 0,
        Some(_) => 2,
        None => 1,
    }
}
