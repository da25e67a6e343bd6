use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// The folder that a run writes into. Removed again, with all that is in it, unless it is [kept](RunFolder::keep): a
/// failed run leaves nothing behind.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    /// The topmost folder that was made for it; parents may have been missing.
    made: PathBuf,
    kept: bool,
}

impl RunFolder {
    /// Makes the folder.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::OutputExists { path: path.into() });
        }
        let mut made = path.to_path_buf();
        while let Some(parent) = made.parent().filter(|p| *p != Path::new("") && !p.exists()) {
            made = parent.to_path_buf();
        }
        fs::create_dir_all(path).map_err(Error::io("make the output folder", path))?;
        Ok(Self { path: path.into(), made, kept: false })
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The run has something to show for itself.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.kept {
            // A folder that cannot be removed is no worse than what went wrong before.
            let _ = fs::remove_dir_all(&self.path);
            let mut parent = self.path.parent();
            while let Some(folder) = parent.filter(|p| p.starts_with(&self.made)) {
                let _ = fs::remove_dir(folder);
                parent = folder.parent();
            }
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
        {
            let folder = RunFolder::create(&path).unwrap();
            fs::write(folder.file("history.csv"), "epoch\n").unwrap();
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        RunFolder::create(&path).unwrap().keep();
        assert!(path.is_dir());
        assert!(matches!(RunFolder::create(&path), Err(Error::OutputExists { .. })));
        assert!(path.is_dir());
    }
}
