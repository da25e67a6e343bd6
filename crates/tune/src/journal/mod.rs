//! Optuna's journal: `JournalStorage` on a `JournalFileBackend`, lines of JSON that are only ever
//! appended.

mod lock;
mod operation;
mod replay;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

pub use lock::LockKind;
pub(crate) use lock::unique;
use lock::{FileLock, GRACE};
pub(crate) use operation::Operation;
pub(crate) use replay::Replay;

use crate::{Error, Result, python};

/// A journal, and what its lines amount to as far as they have been read.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    lock: FileLock,
    worker: String,
    replay: Replay,
    /// How many bytes, and lines, have been read and applied.
    read: u64,
    lines: usize,
    /// Whether something follows that is no line: its process was killed while it wrote.
    torn: bool,
}

impl Journal {
    /// Opens a journal, and creates it if `create`.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Journal`] if a line is damaged and is not the last one.
    pub(crate) fn open(path: &Path, kind: LockKind, create: bool) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        if create {
            OpenOptions::new().append(true).create(true).open(path).map_err(io)?;
        }
        let mut journal = Self {
            path: path.to_owned(),
            lock: FileLock::new(path, kind, GRACE),
            worker: format!("{}-0", unique()),
            replay: Replay::default(),
            read: 0,
            lines: 0,
            torn: false,
        };
        journal.sync()?;
        Ok(journal)
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What its lines amounted to when they were last read.
    pub(crate) fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Reads what others have appended.
    ///
    /// # Errors
    /// Those of [`Journal::open`].
    pub(crate) fn sync(&mut self) -> Result<()> {
        let mut text = Vec::new();
        self.io(|path, read| {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(read))?;
            file.read_to_end(&mut text)
        })?;
        self.torn = false;
        let mut rest = &text[..];
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, next) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            let parsed = match (end, std::str::from_utf8(line)) {
                (None, _) => Err("has no end".to_owned()),
                (_, Err(_)) => Err("is not UTF-8".to_owned()),
                (_, Ok(line)) => python::from_json(line).map_err(|e| format!("is no JSON: {e}")),
            };
            match parsed {
                Ok(line) => self.replay.apply(&line).map_err(|problem| self.damaged(problem))?,
                // As in Optuna, the last line may be damaged: another process writes it just now,
                // or was killed while it did.
                Err(_) if next.is_empty() => {
                    self.torn = true;
                    break;
                }
                Err(problem) => return Err(self.damaged(problem)),
            }
            self.read += line.len() as u64;
            self.lines += 1;
            rest = next;
        }
        Ok(())
    }

    /// Decides with all lines known and the journal locked what to append: no other process can
    /// append anything in between. It is on the disk when this returns.
    ///
    /// # Errors
    /// Those of `decide`, after which nothing is appended, and of [`Journal::open`].
    pub(crate) fn transact<T>(
        &mut self,
        decide: impl FnOnce(&Replay) -> Result<(Vec<Operation>, T)>,
    ) -> Result<T> {
        let lock = self.lock.clone();
        let _held =
            lock.acquire().map_err(|source| Error::Io { path: lock.path().to_owned(), source })?;
        self.sync()?;
        let (operations, answer) = decide(&self.replay)?;
        if operations.is_empty() {
            return Ok(answer);
        }
        let lines: String = operations.iter().map(|o| o.line(&self.worker)).collect();
        let torn = self.torn;
        self.io(|path, read| {
            let mut file = OpenOptions::new().append(true).open(path)?;
            if torn {
                // With the lock held, nobody is writing it: it would make the next line unreadable,
                // for Optuna, too.
                file.set_len(read)?;
            }
            file.write_all(lines.as_bytes())?;
            file.sync_all()
        })?;
        self.sync()?;
        Ok(answer)
    }

    fn io<T>(&self, act: impl FnOnce(&Path, u64) -> io::Result<T>) -> Result<T> {
        act(&self.path, self.read).map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    fn damaged(&self, problem: String) -> Error {
        Error::Journal { path: self.path.clone(), line: self.lines + 1, problem }
    }
}

/// Whether there is a journal.
pub(crate) fn exists(path: &Path) -> bool {
    fs::metadata(path).is_ok()
}
