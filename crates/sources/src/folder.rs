//! The image-folder source: one folder per class, within split folders or alone.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use taper_core::Split;
use taper_data::{Content, Dataset, PictureSource, Sample};
use taper_picture::{Defect, DefectKind, FileKind, Finding, read_file, unsupported};

use crate::{
    Error, Reading, Result,
    layout::{Paths, arrange},
    options::Kind,
    own_files::{Output, has_own_name, is_own_file, output_folder},
    rows::{self, Beside, Row},
};

/// How deep folders are followed. Far beyond any real data set.
const MAX_DEPTH: usize = 32;

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    /// By slot: path relative to the root.
    files: Vec<PathBuf>,
}

impl PictureSource for Folder {
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect> {
        let file = self.files.get(sample.slot).ok_or_else(|| {
            Defect::new(DefectKind::Io, "is not a picture in this folder".to_string())
        })?;
        read_file(&self.root.join(file), limit).map(Content::Encoded)
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn file(&self, sample: &Sample) -> Option<PathBuf> {
        Some(self.root.join(self.files.get(sample.slot)?))
    }

    fn bytes(&self, sample: &Sample) -> Option<u64> {
        fs::metadata(self.file(sample)?).ok().map(|m| m.len())
    }
}

/// Opens a folder of pictures.
///
/// `SPLIT/CLASS/…` and `CLASS/…` are told apart by names and by structure, as `docs/data.md`
/// describes; [`SourceOptions::layout`](crate::SourceOptions::layout) settles it otherwise. Where
/// there are no splits, [`Dataset::splits`] draws them.
///
/// Below a class, folders may be nested to any depth; symbolic links are followed, each real folder
/// once per class, so that loops end. Classes are sorted by the bytes of their names: that is the
/// label order. A file counts as a picture if its extension says so or, with any other extension,
/// if its first bytes do. Other files, hidden ones and folders such as `__MACOSX` are ignored and
/// [counted](Dataset::ignored), and so is whatever Taper itself has written, such as run folders;
/// pictures in formats that cannot be decoded, such as HEIC, are [findings](Dataset::findings).
/// Nothing is decoded yet. Bytes of a name that are not UTF-8 are written `\xHH` in ids.
///
/// # Errors
/// Each likely mistake has its own error: [`Error::Missing`], [`Error::NotAFolder`],
/// [`Error::LoosePictures`], [`Error::EmptyClass`], [`Error::SplitTwice`], [`Error::Ambiguous`],
/// [`Error::OneDeeper`]; [`Error::Io`] for a folder that cannot be read; and those of
/// [`taper_data::Error`].
pub fn open_folder(root: impl AsRef<Path>, reading: impl Into<Reading>) -> Result<Dataset> {
    let (root, reading) = (root.as_ref(), reading.into());
    match fs::metadata(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing { path: root.into() });
        }
        Err(source) => return Err(Error::Io { path: root.into(), source }),
        Ok(metadata) if !metadata.is_dir() => return Err(Error::NotAFolder { path: root.into() }),
        Ok(_) => {}
    }
    let place = root.display().to_string();
    reading.options.check(Kind::Folders, &place)?;
    let mut scan = Scan { root: root.into(), ..Scan::default() };
    scan.walk(PathBuf::new(), &mut Vec::new())?;
    let Scan { files, folder_of, real, linked, pictures, empty, mut beside, .. } = scan;
    if let Some(found) = beside.instead().filter(|_| pictures.is_empty()) {
        return Err(beside.passed.with(Error::Mixed { path: root.into(), found }));
    }
    if pictures.is_empty() && beside.findings.is_empty() {
        let error = taper_data::Error::NoPictures { path: root.into() };
        return Err(beside.passed.with(error.into()));
    }
    let paths = Paths { pictures, empty };
    let arranged = arrange(root, paths, &reading, &mut beside);
    let mut rows = arranged.map_err(|error| beside.passed.with(error))?;
    if linked {
        drop_twice(&mut rows, &folder_of, &real, &mut beside);
    }
    let source = Arc::new(Folder { root: root.into(), files });
    rows::dataset(&place, rows, None, source, beside, &reading)
}

/// Drops the pictures of folders that a class has twice, through links.
fn drop_twice(rows: &mut Vec<Row>, folder_of: &[u32], real: &[PathBuf], beside: &mut Beside) {
    let mut first: HashMap<(Option<Split>, String, &Path), u32> = HashMap::new();
    let mut dropped: BTreeSet<String> = BTreeSet::new();
    rows.retain(|row| {
        let folder = folder_of[row.slot];
        let path = real[folder as usize].as_path();
        let keeps = *first.entry((row.split, row.class.clone(), path)).or_insert(folder);
        if keeps != folder {
            dropped.insert(row.id.rsplit_once('/').map_or("", |(folder, _)| folder).into());
        }
        keeps == folder
    });
    for folder in dropped {
        beside.remarks.push(format!(
            "the folder '{folder}' is already part of its class through a link and is left out"
        ));
    }
}

#[derive(Debug, Default)]
struct Scan {
    root: PathBuf,
    /// By slot.
    files: Vec<PathBuf>,
    /// By slot: the number of the folder.
    folder_of: Vec<u32>,
    /// By number: the real path of a folder.
    real: Vec<PathBuf>,
    /// Whether there was a link to a folder.
    linked: bool,
    pictures: Vec<(String, usize)>,
    ids: HashSet<String>,
    empty: Vec<String>,
    beside: Beside,
}

/// What a folder has, at whatever depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Pictures,
    /// Nothing but what Taper wrote.
    Own,
    Nothing,
}

impl Scan {
    /// Goes through a folder and those in it. `above` holds the real paths of the folders that it
    /// lies in.
    fn walk(&mut self, folder: PathBuf, above: &mut Vec<PathBuf>) -> Result<Has> {
        let path = self.root.join(&folder);
        let io = |source| Error::Io { path: path.clone(), source };
        let real = fs::canonicalize(&path).map_err(io)?;
        if above.contains(&real) {
            self.beside.remarks.push(format!(
                "the folder '{}' leads back to a folder that it lies in, through a link, and is left out",
                folder.display()
            ));
            return Ok(Has::Nothing);
        }
        if above.len() > MAX_DEPTH {
            self.beside.remarks.push(format!(
                "the folder '{}' is more than {MAX_DEPTH} folders deep and is left out",
                folder.display()
            ));
            return Ok(Has::Nothing);
        }
        let mut names: Vec<(OsString, fs::FileType)> = Vec::new();
        for entry in fs::read_dir(&path).map_err(io)? {
            let entry = entry.map_err(io)?;
            names.push((entry.file_name(), entry.file_type().map_err(io)?));
        }
        // The operating system lists in any order.
        names.sort_unstable_by(|a, b| a.0.as_encoded_bytes().cmp(b.0.as_encoded_bytes()));
        let number = self.real.len() as u32;
        let output = output_folder(names.iter().map(|(name, _)| name.as_os_str()));
        if let Some(output) = output.filter(|_| number > 0) {
            self.beside.passed.add(output, format!("{}/", id_of(&folder)));
            return Ok(Has::Own);
        }
        self.real.push(real.clone());
        above.push(real);
        let mut has = Has::Nothing;
        for (name, kind) in names {
            let found = self.entry(&folder, &name, kind, number, above)?;
            has = match (has, found) {
                (Has::Pictures, _) | (_, Has::Pictures) => Has::Pictures,
                (Has::Own, _) | (_, Has::Own) => Has::Own,
                _ => Has::Nothing,
            };
        }
        above.pop();
        if has == Has::Nothing && number > 0 {
            self.empty.push(id_of(&folder));
        }
        Ok(has)
    }

    fn entry(
        &mut self,
        folder: &Path,
        name: &OsStr,
        kind: fs::FileType,
        number: u32,
        above: &mut Vec<PathBuf>,
    ) -> Result<Has> {
        let relative = folder.join(name);
        if is_hidden(name) {
            self.beside.ignore(&id_of(&relative));
            return Ok(Has::Nothing);
        }
        let path = self.root.join(&relative);
        let target = match kind.is_symlink().then(|| fs::metadata(&path)) {
            None => kind,
            Some(Ok(target)) => target.file_type(),
            Some(Err(error)) => {
                self.report(&relative, DefectKind::Io, format!("is a broken link: {error}"));
                return Ok(Has::Nothing);
            }
        };
        if target.is_dir() {
            self.linked |= kind.is_symlink();
            return self.walk(relative, above);
        }
        if !target.is_file() {
            // Opening a pipe would wait for a writer.
            self.beside.ignore(&id_of(&relative));
            return Ok(Has::Nothing);
        }
        if (number == 0 || has_own_name(name)) && is_own_file(&path) {
            self.beside.passed.add(Output::Taper, id_of(&relative));
            return Ok(Has::Nothing);
        }
        match FileKind::of_file(&path) {
            FileKind::Picture => {
                let mut id = id_of(&relative);
                // Only names that are not UTF-8 can clash, namely with one that spells out the
                // escape.
                while !self.ids.insert(id.clone()) {
                    id.push('~');
                }
                self.pictures.push((id, self.files.len()));
                self.files.push(relative);
                self.folder_of.push(number);
                return Ok(Has::Pictures);
            }
            FileKind::Foreign(format) => {
                let Defect { kind, reason } = unsupported(format);
                self.report(&relative, kind, reason);
            }
            FileKind::Other => self.beside.other_file(&id_of(&relative)),
        }
        Ok(Has::Nothing)
    }

    fn report(&mut self, relative: &Path, kind: DefectKind, reason: String) {
        let path = id_of(relative);
        self.beside.findings.push(Finding { path, kind, reason, sample: None });
    }
}

/// Whether a file or folder has the name of one that systems and tools leave behind.
pub fn is_hidden(name: &OsStr) -> bool {
    const NAMES: [&[u8]; 13] = [
        b"__MACOSX",
        b"@eaDir",
        b"$RECYCLE.BIN",
        b"RECYCLER",
        b"#recycle",
        b"@Recycle",
        b"#snapshot",
        b"FOUND.000",
        b"Network Trash Folder",
        b"System Volume Information",
        b"lost+found",
        b"thumbs.db",
        b"desktop.ini",
    ];
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b".") || NAMES.iter().any(|own| bytes.eq_ignore_ascii_case(own))
}

/// A relative path as an id: forward slashes; bytes that are not UTF-8 as `\xHH`.
pub(crate) fn id_of(path: &Path) -> String {
    let text = |name: &OsStr| taper_archive::with_escapes(name.as_encoded_bytes());
    path.iter().map(text).collect::<Vec<_>>().join("/")
}
