use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Error, Problem, Result};

/// A file on a server, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// The address: `https://…`.
    pub url: String,
    /// The file's name in the folder.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// What surrounds a download.
pub struct Watching<'a> {
    /// Called now and then with the number of bytes that have arrived.
    pub progress: &'a (dyn Fn(u64) + 'a),
    /// Called now and then to ask whether to stop. What has arrived is kept for the next attempt.
    pub stop: &'a (dyn Fn() -> bool + 'a),
    /// How long to wait when nothing arrives. Default 30 s.
    pub patience: Duration,
}

impl std::fmt::Debug for Watching<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Default for Watching<'_> {
    fn default() -> Self {
        Self { progress: &|_| {}, stop: &|| false, patience: Duration::from_secs(30) }
    }
}

/// The address in `TAPER_DATASETS_URL`: a mirror of the named data sets.
pub fn datasets_mirror() -> Option<String> {
    crate::folders::variable("TAPER_DATASETS_URL")
}

/// The path of the file in a folder; downloads it first if it is not there.
///
/// The download is written to `NAME.partial`, continues where it broke off, in this call or a later
/// one, and is renamed only when size and SHA-256 are right: a file with the final name is whole
/// and verified. Two processes never download the same file at the same time.
///
/// # Errors
/// [`Error::Download`] with a [`Problem`] that says what to do; [`Error::Io`] if the folder cannot
/// be written.
pub fn download(file: &RemoteFile, folder: &Path, watching: &Watching<'_>) -> Result<PathBuf> {
    let path = folder.join(&file.name);
    if is_there(file, &path) {
        return Ok(path);
    }
    locked_download(file, folder, watching).map(|()| path)
}

/// A file gets its final name only once it is verified; the size reveals files truncated
/// afterwards.
fn is_there(file: &RemoteFile, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == file.bytes)
}

fn fail(file: &RemoteFile, problem: Problem) -> Error {
    Error::Download { url: file.url.clone(), problem }
}

#[cfg(not(feature = "network"))]
fn locked_download(file: &RemoteFile, _: &Path, _: &Watching<'_>) -> Result<()> {
    Err(fail(file, Problem::NotBuilt))
}

#[cfg(feature = "network")]
fn locked_download(file: &RemoteFile, folder: &Path, watching: &Watching<'_>) -> Result<()> {
    use crate::{
        lock,
        transfer::{Client, Failed, Wanted, receive},
    };

    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(at(folder))?;
    let path = folder.join(&file.name);
    let lock = folder.join(format!(".{}.lock", file.name));
    let Some(_lock) = lock::wait(&lock, watching.stop).map_err(at(&lock))? else {
        return Err(fail(file, Problem::Stopped));
    };
    if is_there(file, &path) {
        return Ok(());
    }
    let partial = folder.join(format!("{}.partial", file.name));
    let client = Client::new(watching.patience);
    let wanted =
        Wanted { bytes: Some(file.bytes), sha256: Some(&file.sha256), url: &file.url, token: None };
    receive(&client, &wanted, &partial, watching).map_err(|failed| match failed {
        Failed::Io(source) => Error::Io { path: partial.clone(), source },
        Failed::Problem(problem) => fail(file, problem),
    })?;
    fs::rename(&partial, &path).map_err(at(&path))
}
