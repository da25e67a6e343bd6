//! The record of a run's data in its folder.

use std::{fs, path::Path};

use taper_core::file::write_atomically;
use taper_data::{DataRecord, Dataset};

use crate::{Error, Result};

/// Its file.
pub(crate) const RECORD: &str = "dataset.json";

pub(crate) fn write(record: &DataRecord, folder: &Path) -> Result<()> {
    let path = folder.join(RECORD);
    let text = serde_json::to_string(record)
        .map_err(|source| Error::Json { path: path.clone(), source })?;
    write_atomically(&path, text.as_bytes()).map_err(Error::io("write", &path))
}

/// The record in a run folder; none in runs from before there were any.
pub(crate) fn read(folder: &Path) -> Option<DataRecord> {
    serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
}

/// Adds the contents of the pictures to the record, after all features were computed.
pub(crate) fn note_contents(folder: &Path, dataset: &Dataset) -> Result<()> {
    match read(folder) {
        Some(record) => write(&record.with_contents(dataset), folder),
        None => Ok(()),
    }
}
