use std::{
    fs, io,
    path::{Path, PathBuf},
};

use taper_core::OutOfRange;

use crate::{Error, Result};

/// The new folder that a command writes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutFolder {
    /// This one. It must not exist.
    At(PathBuf),
    /// The first of `PREFIX1`, `PREFIX2`, … that does not exist when the folder is made: several
    /// processes that ask at the same time get successive numbers.
    Next(PathBuf),
}

impl From<&Path> for OutFolder {
    fn from(path: &Path) -> Self {
        Self::At(path.into())
    }
}

impl From<&PathBuf> for OutFolder {
    fn from(path: &PathBuf) -> Self {
        Self::At(path.clone())
    }
}

impl From<PathBuf> for OutFolder {
    fn from(path: PathBuf) -> Self {
        Self::At(path)
    }
}

/// How many runs can have the same name.
const MOST: u32 = 100_000;

impl OutFolder {
    /// Finds out before any long work whether the folder can be made.
    ///
    /// # Errors
    /// [`Error::FolderExists`] if it exists, [`Error::NoPlace`] if nothing can be written there.
    pub fn check(&self) -> Result<()> {
        if let Self::At(path) = self
            && path.symlink_metadata().is_ok()
        {
            return Err(Error::FolderExists { path: path.clone() });
        }
        let parent = parent(self.path());
        let there = parent.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
        let there = if there == Path::new("") { Path::new(".") } else { there };
        let path = self.path().to_path_buf();
        probe(there).map_err(|source| Error::NoPlace { path, source })
    }

    /// Makes the folder with everything that `fill` writes into it: whole or not at all. Missing
    /// parents are made too, and removed again if that fails.
    ///
    /// # Errors
    /// [`Error::FolderExists`] if it exists, [`Error::Io`], and any error of `fill`.
    pub fn make<T, E: From<Error>>(
        &self,
        fill: impl FnOnce(&Path) -> std::result::Result<T, E>,
    ) -> std::result::Result<(PathBuf, T), E> {
        self.check()?;
        let made = topmost_missing(self.path());
        let folder = self.make_within(fill);
        if folder.is_err() {
            remove_empty_parents(self.path(), &made);
        }
        folder
    }

    fn make_within<T, E: From<Error>>(
        &self,
        fill: impl FnOnce(&Path) -> std::result::Result<T, E>,
    ) -> std::result::Result<(PathBuf, T), E> {
        let fail = || Error::io("make the output folder", self.path());
        let parent = parent(self.path());
        let partial = partial_in(parent).map_err(fail())?;
        let filled = fill(partial.path())?;
        readable_by_all(partial.path()).map_err(fail())?;
        for path in self.candidates() {
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match fs::rename(partial.path(), &path) {
                Ok(()) => {
                    // It has another name now.
                    drop(partial.keep());
                    return Ok((path, filled));
                }
                // Another process was quicker: the temporary folder is still there.
                Err(_) if path.symlink_metadata().is_ok() => {}
                Err(error) => return Err(fail()(error).into()),
            }
        }
        let error: Error = match self {
            Self::At(path) => Error::FolderExists { path: path.clone() },
            Self::Next(prefix) => {
                let remedy = "all numbers up to that are taken: choose a folder with `out`";
                OutOfRange::new("out", format!("{}{MOST}", prefix.display()), remedy).into()
            }
        };
        Err(error.into())
    }

    fn candidates(&self) -> Box<dyn Iterator<Item = PathBuf> + '_> {
        match self {
            Self::At(path) => Box::new(std::iter::once(path.clone())),
            Self::Next(prefix) => Box::new((1..=MOST).map(move |n| {
                let mut name = prefix.clone().into_os_string();
                name.push(n.to_string());
                name.into()
            })),
        }
    }

    /// The topmost folder that [`OutFolder::make`] would make now: what a run that fails later
    /// removes again, if it is empty.
    pub fn to_be_made(&self) -> PathBuf {
        topmost_missing(self.path())
    }

    /// The folder, or what its name begins with.
    fn path(&self) -> &Path {
        match self {
            Self::At(path) | Self::Next(path) => path,
        }
    }
}

pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A temporary folder in `parent`, which is made if it is missing. Another process that fails may
/// remove the empty parent in between.
fn partial_in(parent: &Path) -> io::Result<tempfile::TempDir> {
    let mut attempts = 0;
    loop {
        fs::create_dir_all(parent)?;
        let made = tempfile::Builder::new().prefix(".taper-").suffix(".partial").tempdir_in(parent);
        attempts += 1;
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < 100 => {}
            made => return made,
        }
    }
}

/// Whether files can be made in a folder.
pub(crate) fn probe(folder: &Path) -> io::Result<()> {
    tempfile::Builder::new().prefix(".taper-").suffix(".partial").tempfile_in(folder).map(drop)
}

/// The topmost folder that does not exist yet of those that lead to `path`, or `path` itself.
fn topmost_missing(path: &Path) -> PathBuf {
    let mut made = path.to_path_buf();
    while let Some(parent) = made.parent().filter(|p| *p != Path::new("") && !p.exists()) {
        made = parent.to_path_buf();
    }
    made
}

/// Removes the parents of `path` that were made for it, as far as they are empty.
pub fn remove_empty_parents(path: &Path, made: &Path) {
    let mut parent = path.parent();
    while let Some(folder) = parent.filter(|p| p.starts_with(made)) {
        let _ = fs::remove_dir(folder);
        parent = folder.parent();
    }
}

#[cfg(unix)]
fn readable_by_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn readable_by_all(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn many_at_once_get_successive_numbers() {
        let root = tempfile::tempdir().unwrap();
        let out = OutFolder::Next(root.path().join("runs/photos-"));
        let make = || {
            out.make(|folder| {
                fs::write(folder.join("file"), "").map_err(Error::io("write", folder))
            })
        };
        let names: BTreeSet<PathBuf> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap().0).collect()
        });
        let expected: BTreeSet<PathBuf> =
            (1..=8).map(|n| root.path().join(format!("runs/photos-{n}"))).collect();
        assert_eq!(names, expected);
        // No partial folders are left.
        assert_eq!(fs::read_dir(root.path().join("runs")).unwrap().count(), 8);
    }

    #[test]
    fn what_exists_is_left_alone_and_a_failure_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let out = OutFolder::from(&root.path().join("a/b"));
        let failed =
            out.make(|_| -> Result<()> { Err(Error::io("write", "x")(io::Error::other("full"))) });
        assert!(matches!(failed, Err(Error::Io { .. })));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        out.make(|_| Result::Ok(())).unwrap();
        assert!(matches!(out.make(|_| Result::Ok(())), Err(Error::FolderExists { .. })));
    }
}
