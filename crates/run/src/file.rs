use std::{fs::File, io::Write, path::Path};

use crate::{Error, Result};

/// Writes a file that is either whole or absent: to a temporary name beside it, synced, then renamed.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let fail = || Error::io("write", path);
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".taper-")
        .suffix(".partial")
        .tempfile_in(folder)
        .map_err(fail())?;
    file.write_all(content).map_err(fail())?;
    file.as_file().sync_all().map_err(fail())?;
    let kept = file.persist(path).map_err(|e| fail()(e.error))?;
    readable_by_all(&kept).map_err(fail())?;
    // The name itself must reach the disk too; not every file system can sync a folder, which is no reason to fail.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Temporary files are private; what a user asked for is readable like any other file.
#[cfg(unix)]
fn readable_by_all(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &File) -> std::io::Result<()> {
    Ok(())
}
