use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use taper_core::file::UNFINISHED;
use taper_outputs::remove_empty_parents;

use taper_data::DataRecord;

use crate::{Error, OutFolder, Recipe, Result, data_record};

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
    /// Makes the folder, with the recipe and the list of pictures in it.
    pub(crate) fn create(
        out: &OutFolder,
        recipe: &Recipe,
        record: Option<&DataRecord>,
    ) -> Result<Self> {
        let made = out.to_be_made();
        let (path, ()) = out.make(|folder| {
            recipe.located().write(&folder.join(RECIPE))?;
            record.map_or(Ok(()), |record| data_record::write(record, folder))
        })?;
        // What is made for the first of several numbers may be the folder itself.
        let made = if path.starts_with(&made) { made } else { path.clone() };
        let lock = lock(&path)?;
        Ok(Self { path, made, kept: false, _lock: lock })
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
        for part in ["", "checkpoints", "fine-tune", "fine-tune/checkpoints"] {
            remove_unfinished(&path.join(part));
        }
        Ok((Self { path: path.into(), made: path.into(), kept: true, _lock: lock }, recipe))
    }

    /// Writes the recipe of a run whose data have moved, or that goes on to more epochs.
    pub(crate) fn write_recipe(&self, recipe: &Recipe) -> Result<()> {
        Ok(recipe.located().write(&self.file(RECIPE))?)
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

    /// Whether there is.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
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

/// Removes files that a process which was killed had not finished. The folder is locked, so that no
/// other process is at them.
fn remove_unfinished(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // What cannot be removed only takes room.
            let _ = fs::remove_file(entry.path());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_leaves_nothing_and_a_kept_one_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/run");
        let recipe = Recipe::default();
        {
            let folder = RunFolder::create(&(&path).into(), &recipe, None).unwrap();
            fs::write(folder.file("history.csv"), "epoch\n").unwrap();
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        RunFolder::create(&(&path).into(), &recipe, None).unwrap().keep();
        assert!(path.is_dir());
        assert!(matches!(RunFolder::create(&(&path).into(), &recipe, None), Err(Error::Output(_))));
        assert!(path.is_dir());
    }

    #[test]
    fn only_one_process_at_a_time_resumes_and_only_a_run() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        let recipe = Recipe { epochs: 7, ..Recipe::default() };
        let mut first = RunFolder::create(&(&path).into(), &recipe, None).unwrap();
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
