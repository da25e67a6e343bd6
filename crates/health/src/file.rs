use std::path::Path;

use taper_core::file::write_atomically;

use crate::{Error, Result};

impl crate::Health {
    /// Writes `health.json`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::Write { path: path.into(), source: e.into() })?;
        write_whole(path, format!("{text}\n").as_bytes())
    }
}

/// [`write_atomically`], whose error names the file.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    write_atomically(path, content).map_err(Error::write(path))
}
