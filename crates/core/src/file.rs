//! Files that are either whole or absent.

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What the name of an unfinished file begins with.
pub const UNFINISHED: &str = ".taper-";

/// What the first 256 bytes of every picture and drawing that Taper writes contain, so that they
/// are not taken for pictures of a data set.
pub const FIGURE_MARK: &[u8] = b"Taper figure";

/// Writes a file that is either whole or absent: to a temporary name beside it, synced, then
/// renamed. A file that was there is replaced in one step.
///
/// # Errors
/// Any I/O error; nothing is left behind.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    write_atomically_with(path, |file| file.write_all(content))
}

/// As [`write_atomically`], for content that is produced piece by piece.
///
/// # Errors
/// Any I/O error, or the error of `write`; nothing is left behind.
pub fn write_atomically_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    place(path, write, |unfinished| {
        fs::rename(&unfinished.path, path)?;
        unfinished.kept = true;
        Ok(())
    })
}

/// As [`write_atomically_with`], for a file that must not exist: of several processes that write
/// the same one at the same time, one succeeds.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it exists by the time its content is complete; otherwise as
/// [`write_atomically_with`].
pub fn create_atomically_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    place(path, write, |unfinished| match fs::hard_link(&unfinished.path, path) {
        // The other name is removed when this returns.
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without links.
        Err(_) if path.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => {
            fs::rename(&unfinished.path, path)?;
            unfinished.kept = true;
            Ok(())
        }
    })
}

/// Writes a file under a temporary name, and lets `name` give it its own.
fn place(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    name: impl FnOnce(&mut Unfinished) -> io::Result<()>,
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let (mut file, mut unfinished) = create(folder)?;
    write(&mut file)?;
    file.sync_all()?;
    drop(file);
    name(&mut unfinished)?;
    // The name itself must reach the disk too. Not every file system can sync a folder, which is
    // no reason to fail.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// A file that is removed again unless it was kept.
struct Unfinished {
    path: PathBuf,
    kept: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            // A failure to remove it is not the error to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A new file with a unique name.
fn create(folder: &Path) -> io::Result<(File, Unfinished)> {
    loop {
        // Keyed at random, differently each time.
        let random = RandomState::new().build_hasher().finish();
        let path = folder.join(format!("{UNFINISHED}{random:016x}.partial"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, Unfinished { path, kept: false })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("taper-core-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = folder("atomic");
        let path = folder.join("a.txt");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let failed = write_atomically_with(&path, |file| {
            file.write_all(b"thr")?;
            Err(io::Error::other("full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "full");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(write_atomically(&folder.join("none/a.txt"), b"").is_err());
        // Something stands in the way.
        assert!(write_atomically(&folder, b"").is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_of_many_creates_a_file() {
        let folder = folder("create");
        let path = folder.join("a.txt");
        let create = |n: u32| {
            let path = &path;
            move || create_atomically_with(path, |file| write!(file, "{n}")).map(|()| n)
        };
        let created: Vec<io::Result<u32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(create(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let made: Vec<u32> = created.iter().filter_map(|n| n.as_ref().ok()).copied().collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), made[0].to_string());
        assert_eq!(made.len(), 1);
        let refused = created.iter().filter_map(|n| n.as_ref().err());
        assert!(refused.into_iter().all(|e| e.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
