use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use taper_core::{
    OutOfRange,
    file::{create_atomically_with, write_atomically_with},
};

use crate::{
    Error, Result,
    out_folder::{parent, probe},
};

/// The file that a command writes, checked before any long work.
#[derive(Debug, Clone)]
pub struct OutFile {
    path: PathBuf,
    overwrite: bool,
}

impl OutFile {
    /// Finds out whether the file can be written: it must not exist, unless it may be overwritten,
    /// and its folder must.
    ///
    /// # Errors
    /// [`Error::FileExists`], [`Error::Setting`] for the setting `field`, or [`Error::Io`].
    pub fn check(field: &'static str, path: &Path, overwrite: bool) -> Result<Self> {
        let wrong = |remedy: String| Err(OutOfRange::new(field, path.display(), remedy).into());
        if path.is_dir() {
            return wrong("this is a folder: give the name of a file".into());
        }
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(Error::FileExists { path: path.into() });
        }
        let folder = parent(path);
        if !folder.is_dir() {
            return wrong(format!("there is no folder {}: make it first", folder.display()));
        }
        probe(folder).map_err(Error::io("write", path))?;
        Ok(Self { path: path.into(), overwrite })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file: whole or not at all.
    ///
    /// # Errors
    /// [`Error::FileExists`] if another process has made it since it was checked, [`Error::Io`].
    pub fn write(&self, content: &[u8]) -> Result<()> {
        self.write_with(|file| file.write_all(content))
    }

    /// As [`write`](Self::write), for content that is produced piece by piece.
    ///
    /// # Errors
    /// As [`write`](Self::write), and any error of `write`.
    pub fn write_with(&self, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        let path = &self.path;
        let written = if self.overwrite {
            write_atomically_with(path, write)
        } else {
            create_atomically_with(path, write)
        };
        written.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::FileExists { path: path.clone() },
            _ => Error::io("write", path)(source),
        })
    }
}

/// The extension of a file that is to be written, in small letters, if it is one of `known`, which
/// may include the empty one.
///
/// # Errors
/// [`Error::Setting`] for the setting `field` with any other one, or without one.
pub fn check_extension(field: &'static str, path: &Path, known: &[&str]) -> Result<String> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if known.contains(&extension.as_str()) {
        return Ok(extension);
    }
    let known = known.iter().filter(|own| !own.is_empty());
    let known: Vec<String> = known.map(|own| format!(".{own}")).collect();
    let remedy = format!("the name decides what is written: let it end in {}", known.join(" or "));
    Err(OutOfRange::new(field, path.display(), remedy).into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_checked_before_they_are_written() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.csv");
        let out = OutFile::check("out", &file, false).unwrap();
        fs::write(&file, "").unwrap();
        let error = OutFile::check("out", &file, false).unwrap_err();
        assert!(matches!(error, Error::FileExists { .. }), "{error}");
        // Made by another process in the meantime.
        let error = out.write(b"x").unwrap_err();
        assert!(matches!(error, Error::FileExists { .. }), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"");
        OutFile::check("out", &file, true).unwrap().write(b"x").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"x");
        assert!(OutFile::check("out", root.path(), true).is_err());
        assert!(OutFile::check("out", &root.path().join("none/a.csv"), true).is_err());
        assert_eq!(check_extension("out", Path::new("a.CSV"), &["csv", "jsonl"]).unwrap(), "csv");
        let error = check_extension("out", Path::new("a.png"), &["csv", "jsonl"]).unwrap_err();
        assert!(error.to_string().contains(".csv or .jsonl"), "{error}");
    }
}
