use std::path::Path;

use crate::{
    Dataset, Error, FolderUse, Result, is_archive, is_manifest, open_archive, open_folder,
    open_manifest,
};

/// Opens whatever lies at a path: a folder of pictures, a manifest (`.csv`, `.jsonl`, `.ndjson`) or an archive (`.zip`,
/// `.tar`); with the feature `parquet` also a Parquet file, or a folder of them.
///
/// # Errors
/// As [`open_folder`], [`open_manifest`] and [`open_archive`]; [`Error::NotASource`] for any other file.
pub fn open_path(path: impl AsRef<Path>, purpose: FolderUse) -> Result<Dataset> {
    let path = path.as_ref();
    #[cfg(feature = "parquet")]
    if crate::is_parquet(path) {
        return crate::open_parquet(path, purpose);
    }
    #[cfg(not(feature = "parquet"))]
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) && !path.is_dir() {
        let problem = "this build cannot read Parquet (feature 'parquet')".into();
        return Err(Error::Table { path: path.into(), problem });
    }
    // A folder may be called like a file.
    if !path.is_dir() {
        if is_manifest(path) {
            return open_manifest(path, purpose);
        }
        if is_archive(path) {
            return open_archive(path, purpose);
        }
    }
    match open_folder(path, purpose) {
        Err(Error::NotAFolder { path }) => Err(Error::NotASource { path }),
        other => other,
    }
}
