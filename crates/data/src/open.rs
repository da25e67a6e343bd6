use std::path::Path;

use crate::{
    Dataset, Error, FolderUse, Result, is_archive, is_manifest, open_archive, open_folder,
    open_manifest,
};

/// A kind of file that contains a data set.
struct Format {
    /// Whether a path is one.
    is: fn(&Path) -> bool,
    open: fn(&Path, FolderUse) -> Result<Dataset>,
}

/// The kinds of files, tried in this order. Anything else is a folder.
const FORMATS: [Format; 3] = [
    PARQUET,
    Format {
        is: |path| !path.is_dir() && is_manifest(path),
        open: |p, purpose| open_manifest(p, purpose),
    },
    Format {
        is: |path| !path.is_dir() && is_archive(path),
        open: |p, purpose| open_archive(p, purpose),
    },
];

#[cfg(feature = "parquet")]
const PARQUET: Format =
    Format { is: crate::is_parquet, open: |p, purpose| crate::open_parquet(p, purpose) };

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

/// Opens whatever lies at a path: a folder of pictures, a manifest (`.csv`, `.jsonl`, `.ndjson`) or
/// an archive (`.zip`, `.tar`); with the feature `parquet` also a Parquet file, or a folder of
/// them.
///
/// # Errors
/// As [`open_folder`], [`open_manifest`] and [`open_archive`]; [`Error::NotASource`] for any other
/// file.
pub fn open_path(path: impl AsRef<Path>, purpose: FolderUse) -> Result<Dataset> {
    let path = path.as_ref();
    if let Some(format) = FORMATS.iter().find(|format| (format.is)(path)) {
        return (format.open)(path, purpose);
    }
    match open_folder(path, purpose) {
        Err(Error::NotAFolder { path }) => Err(Error::NotASource { path }),
        other => other,
    }
}
