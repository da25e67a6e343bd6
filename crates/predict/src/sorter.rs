use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use taper_core::{ClassNames, OutOfRange};
use taper_data::Content;

use taper_run::{Error, Result};
use taper_sources::FOLDER_MARK;

use crate::Inputs;

/// The folder for pictures whose class is not certain enough.
pub const UNSURE: &str = "_unsure";

/// What the file says that marks the folder as output.
const MARK_TEXT: &str = "Pictures that Taper sorted by class. Where this folder lies among a data set's class folders,\n\
     it is passed over; to train on it, give it as the data set.\n";

/// Sorts pictures into a folder for each class. A file that exists is never replaced: a picture
/// whose name is taken gets a number behind it. A copy that an earlier run has made is not made
/// again.
#[derive(Debug)]
pub struct Sorter {
    folder: PathBuf,
    moves: bool,
    dry: bool,
    /// Whether the folder is the command's own, of this run or an earlier one: it is marked as a
    /// whole. In a folder of the user's, each folder that is made is marked.
    own: bool,
    /// The folders of classes whose names alone are not enough.
    folders: HashMap<String, String>,
    /// Names that were taken in this run, or would have been.
    taken: HashSet<PathBuf>,
}

impl Sorter {
    /// Copies the pictures into the folders below `folder`, or moves them; a dry run changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Setting`] if `folder` is a file, or pictures in an archive are to be moved.
    pub fn new(folder: &Path, moves: bool, dry: bool, inputs: &Inputs) -> Result<Self> {
        let field = if moves { "move_to" } else { "copy_to" };
        if folder.exists() && !folder.is_dir() {
            let remedy = "this is a file: give a folder";
            return Err(OutOfRange::new(field, folder.display(), remedy).into());
        }
        if let Some(member) = inputs.first_member().filter(|_| moves) {
            let remedy = format!("'{member}' is in an archive: use `copy_to`");
            return Err(OutOfRange::new(field, folder.display(), remedy).into());
        }
        let own = folder.symlink_metadata().is_err() || folder.join(FOLDER_MARK).exists();
        Ok(Self {
            folder: folder.into(),
            moves,
            dry,
            own,
            folders: HashMap::new(),
            taken: HashSet::new(),
        })
    }

    /// Gives every class a folder of its own, also where two names differ only in characters that
    /// a folder's name cannot have.
    #[must_use]
    pub fn with_classes(mut self, classes: &ClassNames) -> Self {
        let mut used = HashSet::from([UNSURE.to_owned()]);
        for class in classes.iter() {
            let name = folder_name(class);
            let free = (1..).map(|number| match number {
                1 => name.clone(),
                number => format!("{name}-{number}"),
            });
            if let Some(own) = free.into_iter().find(|own| !used.contains(own)) {
                used.insert(own.clone());
                self.folders.insert(class.to_owned(), own);
            }
        }
        self
    }

    /// Puts a picture into the folder of a class; returns where it is now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&mut self, inputs: &Inputs, index: usize, class: &str) -> Result<PathBuf> {
        let own = self.folders.get(class).filter(|_| class != UNSURE);
        let folder = self.folder.join(own.cloned().unwrap_or_else(|| folder_name(class)));
        let name = Path::new(inputs.name(index)).file_name().unwrap_or_default().to_owned();
        if !self.dry {
            let made = !folder.exists();
            fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
            // A folder that was there is the user's own, perhaps one of a data set.
            if made {
                let mark = if self.own { &self.folder } else { &folder }.join(FOLDER_MARK);
                fs::write(&mark, MARK_TEXT).map_err(Error::io("write", &mark))?;
            }
        }
        let name = Path::new(&name);
        for number in 1u64.. {
            let target = folder.join(numbered(name, number));
            if inputs.file(index).is_some_and(|file| same(file, &target)) {
                return Ok(target);
            }
            if !self.moves && !self.taken.contains(&target) && is_copy(inputs, index, &target) {
                self.taken.insert(target.clone());
                return Ok(target);
            }
            if self.dry {
                if target.symlink_metadata().is_err() && self.taken.insert(target.clone()) {
                    return Ok(target);
                }
                continue;
            }
            match self.carry(inputs, index, &target) {
                Ok(()) => {
                    self.taken.insert(target.clone());
                    return Ok(target);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("write", &target)(error)),
            }
        }
        Ok(folder)
    }

    /// Copies or moves a picture to a name that must not be taken.
    fn carry(&self, inputs: &Inputs, index: usize, target: &Path) -> io::Result<()> {
        if target.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let Some(file) = inputs.file(index) else {
            let content =
                inputs.content(index).map_err(|defect| io::Error::other(defect.reason))?;
            return match content {
                Content::Encoded(bytes) => write_new(target, &mut bytes.as_slice()),
                _ => Err(io::Error::other("it is not a file")),
            };
        };
        let link = file.symlink_metadata()?.is_symlink();
        if self.moves && !link {
            // Unlike a rename, a link never replaces a file.
            match fs::hard_link(file, target) {
                Ok(()) => return fs::remove_file(file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
                // Another file system, or one without links.
                Err(_) => {}
            }
        }
        write_new(target, &mut fs::File::open(file)?)?;
        if self.moves { fs::remove_file(file) } else { Ok(()) }
    }
}

/// Writes a file that did not exist, whole or not at all.
fn write_new(target: &Path, content: &mut dyn io::Read) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(target)?;
    let written = io::copy(content, &mut file).and_then(|_| file.sync_all());
    written.inspect_err(|_| {
        // The first error is the one to report.
        let _ = fs::remove_file(target);
    })
}

/// Whether a target exists that has the content of a picture.
fn is_copy(inputs: &Inputs, index: usize, target: &Path) -> bool {
    let Ok(metadata) = fs::metadata(target) else { return false };
    let size = inputs.file(index).and_then(|file| fs::metadata(file).ok()).map(|data| data.len());
    if size.is_some_and(|size| size != metadata.len()) {
        return false;
    }
    match inputs.content(index) {
        Ok(Content::Encoded(bytes)) => fs::read(target).is_ok_and(|own| own == bytes),
        _ => false,
    }
}

fn same(file: &Path, target: &Path) -> bool {
    matches!((fs::canonicalize(file), fs::canonicalize(target)), (Ok(a), Ok(b)) if a == b)
}

/// `a.jpg`, `a-2.jpg`, `a-3.jpg`.
fn numbered(name: &Path, number: u64) -> PathBuf {
    if number == 1 {
        return name.into();
    }
    let mut numbered = name.file_stem().unwrap_or_default().to_owned();
    numbered.push(format!("-{number}"));
    let mut path = PathBuf::from(numbered);
    if let Some(extension) = name.extension() {
        path.as_mut_os_string().push(".");
        path.as_mut_os_string().push(extension);
    }
    path
}

/// A class's name as that of a folder.
fn folder_name(class: &str) -> String {
    let safe = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
    let name: String = class.chars().map(safe).collect();
    if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_folder() {
        for (class, name) in
            [("cat", "cat"), ("a/b", "a_b"), ("..", "_.."), ("", "_"), ("貓", "貓"), ("C:x", "C_x")]
        {
            assert_eq!(folder_name(class), name);
        }
        let names = ["a.jpg", "a-2.jpg", "a-3.jpg"];
        for (number, name) in (1..).zip(names) {
            assert_eq!(numbered(Path::new("a.jpg"), number), Path::new(name));
        }
        assert_eq!(numbered(Path::new("a.b.jpg"), 2), Path::new("a.b-2.jpg"));
        assert_eq!(numbered(Path::new("a"), 2), Path::new("a-2"));
    }

    #[test]
    fn every_class_has_a_folder_of_its_own() {
        let classes = ["_unsure", "a/b", "a:b", "a_b"].map(String::from);
        let sorter = Sorter {
            folder: "x".into(),
            moves: false,
            dry: true,
            own: true,
            folders: HashMap::new(),
            taken: HashSet::new(),
        };
        let sorter = sorter.with_classes(&ClassNames::new(classes.to_vec()).unwrap());
        let mut folders: Vec<&String> = sorter.folders.values().collect();
        folders.sort();
        assert_eq!(folders, ["_unsure-2", "a_b", "a_b-2", "a_b-3"]);
    }
}
