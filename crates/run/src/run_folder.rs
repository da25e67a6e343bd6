use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::{Error, Recipe, Result};

/// The folder that a run writes into. Removed again, with all that is in it, unless it is
/// [kept](RunFolder::keep): a run that fails before there is anything to resume from leaves nothing
/// behind.
///
/// It exists together with its recipe or not at all, so that a run can be resumed as soon as its
/// folder exists.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    /// The topmost folder that was created for it; parents may have been missing.
    made: PathBuf,
    kept: bool,
    /// Held as long as this process uses the folder.
    _lock: File,
}

const RECIPE: &str = "recipe.toml";
const LOCK: &str = ".lock";

impl RunFolder {
    /// Makes the folder, with the recipe in it.
    pub(crate) fn create(path: &Path, recipe: &Recipe) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::OutputExists { path: path.into() });
        }
        let mut made = path.to_path_buf();
        while let Some(parent) = made.parent().filter(|p| *p != Path::new("") && !p.exists()) {
            made = parent.to_path_buf();
        }
        let fail = || Error::io("make the output folder", path);
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let folder = (|| {
            fs::create_dir_all(parent).map_err(fail())?;
            let partial = tempfile::Builder::new()
                .prefix(".taper-")
                .suffix(".partial")
                .tempdir_in(parent)
                .map_err(fail())?;
            recipe.write(&partial.path().join(RECIPE))?;
            readable_by_all(partial.path()).map_err(fail())?;
            // Another process may have been quicker: then this fails, and the temporary folder is
            // removed.
            fs::rename(partial.path(), path).map_err(fail())?;
            drop(partial.keep());
            let lock = lock(path)?;
            Ok(Self { path: path.into(), made: made.clone(), kept: false, _lock: lock })
        })();
        if folder.is_err() {
            remove_empty_parents(path, &made);
        }
        folder
    }

    /// Opens the folder of a run that was interrupted.
    pub(crate) fn open(path: &Path) -> Result<(Self, Recipe)> {
        let file = path.join(RECIPE);
        if !file.is_file() {
            let problem = if path.exists() {
                "it holds no recipe.toml, so it is not a run folder"
            } else {
                "there is no such folder: give the folder of a run, as printed when it was interrupted"
            };
            return Err(Error::Resume { path: path.into(), problem: problem.into() });
        }
        let lock = lock(path)?;
        let recipe = Recipe::read(&file)?;
        Ok((Self { path: path.into(), made: path.into(), kept: true, _lock: lock }, recipe))
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// There is something to resume from, or to show.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.kept {
            // Failing to remove the folder is no worse than the original error.
            let _ = fs::remove_dir_all(&self.path);
            remove_empty_parents(&self.path, &self.made);
        }
    }
}

fn remove_empty_parents(path: &Path, made: &Path) {
    let mut parent = path.parent();
    while let Some(folder) = parent.filter(|p| p.starts_with(made)) {
        let _ = fs::remove_dir(folder);
        parent = folder.parent();
    }
}

/// Two processes in one folder would overwrite each other's files.
fn lock(path: &Path) -> Result<File> {
    let name = path.join(LOCK);
    let file = File::create(&name).map_err(Error::io("write", &name))?;
    match file.try_lock() {
        // A file system without locks is no reason to refuse.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let problem = "another process is using it".into();
            Err(Error::Resume { path: path.into(), problem })
        }
    }
}

#[cfg(unix)]
fn readable_by_all(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn readable_by_all(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_leaves_nothing_and_a_kept_one_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/run");
        let recipe = Recipe::default();
        {
            let folder = RunFolder::create(&path, &recipe).unwrap();
            fs::write(folder.file("history.csv"), "epoch\n").unwrap();
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        RunFolder::create(&path, &recipe).unwrap().keep();
        assert!(path.is_dir());
        assert!(matches!(RunFolder::create(&path, &recipe), Err(Error::OutputExists { .. })));
        assert!(path.is_dir());
    }

    #[test]
    fn only_one_process_at_a_time_resumes_and_only_a_run() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        let recipe = Recipe { epochs: 7, ..Recipe::default() };
        let mut first = RunFolder::create(&path, &recipe).unwrap();
        let error = RunFolder::open(&path).unwrap_err().to_string();
        assert!(error.contains("another process"), "{error}");
        first.keep();
        drop(first);
        assert_eq!(RunFolder::open(&path).unwrap().1, recipe);
        let error = RunFolder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("no recipe.toml"), "{error}");
        let error = RunFolder::open(&root.path().join("other")).unwrap_err().to_string();
        assert!(error.contains("no such folder"), "{error}");
    }
}
