use std::path::Path;

use taper_core::{OutOfRange, file::write_atomically};
use taper_run::{Error, Result};

/// Checks, before the long work begins, that a report can get this name.
///
/// # Errors
/// [`OutOfRange`] if there is something of this name, or no folder that it could be in.
pub fn check_report(path: &Path) -> Result<()> {
    let refuse = |remedy: &'static str| {
        let shown = format!("'{}'", path.display());
        Err(OutOfRange::new("report", shown, remedy).into())
    };
    if path.symlink_metadata().is_ok() {
        return refuse("there is something of this name: choose another");
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.is_none_or(Path::is_dir) {
        true => Ok(()),
        false => refuse("there is no such folder: make it, or choose another"),
    }
}

/// Writes a report, whole or not at all.
///
/// # Errors
/// [`Error::Io`].
pub fn write_report(path: &Path, html: &str) -> Result<()> {
    write_atomically(path, html.as_bytes()).map_err(Error::io("write", path))
}
