use std::{
    fs::{self, OpenOptions},
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How the lock file beside a journal is made. Both kinds exclude each other, and Optuna's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// A symbolic link to the journal, as `JournalFileSymlinkLock`, Optuna's default. Works on all
    /// versions of NFS. On systems other than Unix, [`LockKind::Open`] is used.
    Symlink,
    /// A file that must not exist before, as `JournalFileOpenLock`.
    Open,
}

/// After this time without a change, a lock is taken to be left over from a process that ended, as
/// in Optuna.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// The lock file of a journal: `JOURNAL.lock`, as in `optuna/storages/journal/_file.py`.
#[derive(Debug, Clone)]
pub(crate) struct FileLock {
    kind: LockKind,
    /// What the link points to: absolute, since Optuna reads its age through the link.
    target: PathBuf,
    path: PathBuf,
    grace: Duration,
}

/// Removes the lock file at the end.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a FileLock);

impl FileLock {
    pub(crate) fn new(journal: &Path, kind: LockKind, grace: Duration) -> Self {
        let mut path = journal.as_os_str().to_owned();
        path.push(".lock");
        let target = journal.canonicalize().unwrap_or_else(|_| journal.to_owned());
        Self { kind, target, path: path.into(), grace }
    }

    /// The lock file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the lock is free, or has not been changed for the time of grace.
    ///
    /// # Errors
    /// Any I/O error other than that the file exists.
    pub(crate) fn acquire(&self) -> io::Result<Held<'_>> {
        let mut pause = Duration::from_millis(1);
        let mut seen = (None, Instant::now());
        loop {
            match self.create() {
                Ok(()) => return Ok(Held(self)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let changed = self.changed();
            if changed.is_some() && changed != seen.0 {
                seen = (changed, Instant::now());
            }
            if seen.1.elapsed() > self.grace {
                // Another process may be faster: then the next attempt waits again.
                let _ = self.remove();
                pause = Duration::from_millis(1);
                seen = (None, Instant::now());
                continue;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn create(&self) -> io::Result<()> {
        match self.kind {
            #[cfg(unix)]
            LockKind::Symlink => std::os::unix::fs::symlink(&self.target, &self.path),
            _ => OpenOptions::new().write(true).create_new(true).open(&self.path).map(drop),
        }
    }

    /// When the lock, or what a link points to, was changed: its holder writes to the journal.
    fn changed(&self) -> Option<(SystemTime, SystemTime)> {
        let own = fs::symlink_metadata(&self.path).and_then(|m| m.modified()).ok()?;
        let journal = fs::metadata(&self.target).and_then(|m| m.modified()).unwrap_or(own);
        Some((own, journal))
    }

    /// Renamed first, so that only one of several processes removes it.
    fn remove(&self) -> io::Result<()> {
        let mut renamed = self.path.as_os_str().to_owned();
        renamed.push(format!("{}.rename", unique()));
        fs::rename(&self.path, &renamed)?;
        fs::remove_file(renamed)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Somebody took it for left over: there is nothing to remove.
        let _ = self.0.remove();
    }
}

/// A text that no other process, thread or call has, in the form of a UUID.
pub(crate) fn unique() -> String {
    // Keyed at random, differently each time.
    let [a, b] = [0, 1].map(|n: u8| RandomState::new().hash_one(n));
    let (a, b) = (format!("{a:016x}"), format!("{b:016x}"));
    format!("{}-{}-{}-{}-{}", &a[..8], &a[8..12], &a[12..], &b[..4], &b[4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_and_a_stale_one_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("study.journal");
        fs::write(&journal, "").unwrap();
        for (first, second) in
            [(LockKind::Symlink, LockKind::Open), (LockKind::Open, LockKind::Symlink)]
        {
            let grace = Duration::from_millis(200);
            let [first, second] = [first, second].map(|kind| FileLock::new(&journal, kind, grace));
            let held = first.acquire().unwrap();
            assert!(fs::symlink_metadata(first.path()).is_ok());
            let begin = Instant::now();
            thread::scope(|scope| {
                let waiting = scope.spawn(|| second.acquire().map(drop));
                thread::sleep(Duration::from_millis(30));
                drop(held);
                waiting.join().unwrap().unwrap();
            });
            assert!(begin.elapsed() < Duration::from_millis(190));
            // A process that ended without removing its lock.
            first.create().unwrap();
            let begin = Instant::now();
            drop(second.acquire().unwrap());
            assert!(begin.elapsed() > grace);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}
