use std::path::Path;

use serde::Serialize;
use taper_core::file::write_atomically;

use crate::{Error, Result};

/// Writes a value as human-readable JSON, completely or not at all.
///
/// # Errors
/// [`Error::Json`] if it has no form in JSON, [`Error::Io`] if it cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|source| Error::Json { path: path.into(), source })?;
    write_atomically(path, format!("{text}\n").as_bytes()).map_err(Error::io("write", path))
}
