use std::{io::Write, path::Path};

use crate::{Error, Result};

/// Writes a file that is either whole or absent.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".taper-").tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        let kept = file.persist(path).map_err(|e| e.error)?;
        readable_by_all(&kept)
    };
    write().map_err(Error::write(path))
}

/// Temporary files are private; what a user asked for is readable like any other file.
#[cfg(unix)]
fn readable_by_all(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

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
