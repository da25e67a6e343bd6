//! The image-folder source: one folder per class, within split folders or alone.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use taper_core::{ClassNames, Split, nearest};

use crate::{Content, Dataset, Error, Ignored, PictureSource, Result, Sample};
use taper_picture::{
    Defect, DefectKind, Finding, format_of_extension, looks_like_picture, read_file,
};

/// How deep folders below a class are followed. Far beyond any real data set.
const MAX_DEPTH: usize = 32;
/// How many ignored files are named.
const EXAMPLES: usize = 5;

/// Picture formats by extension that exist but cannot be decoded here.
const FOREIGN: [(&str, &str); 14] = [
    ("heic", "HEIC"),
    ("heif", "HEIC"),
    ("avif", "AVIF"),
    ("jp2", "JPEG 2000"),
    ("jxl", "JPEG XL"),
    ("psd", "Photoshop"),
    ("svg", "SVG"),
    ("ico", "icon"),
    ("tga", "TGA"),
    ("dng", "raw camera"),
    ("cr2", "raw camera"),
    ("nef", "raw camera"),
    ("arw", "raw camera"),
    ("exr", "OpenEXR"),
];

/// What a folder is opened for. This decides which irregularities are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderUse {
    /// To train on: there must be training pictures of at least two classes, of every class that
    /// occurs in another split, and in every class folder.
    Train,
    /// To evaluate a trained model on, or to inspect: any split will do, and so will a single
    /// class.
    Evaluate,
}

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
/// Two layouts are known:
/// - `train/CLASS/…`, with `val/CLASS/…` (or `valid`, `validation`) and `test/CLASS/…` beside it,
///   in any case of letters;
/// - `CLASS/…` alone: [`Dataset::splits`] then draws the splits.
///
/// Below a class, folders may be nested to any depth; symbolic links are followed, each real folder
/// once per class, so that loops end. Classes are sorted by the bytes of their names: that is the
/// label order. A file counts as a picture if its extension says so
/// (`jpg jpeg jpe jfif png webp gif bmp dib tif tiff`) or, with any other extension, if its first
/// bytes do. Other files, hidden ones and folders such as `__MACOSX` are ignored and
/// [counted](Dataset::ignored); pictures in formats that cannot be decoded, such as HEIC, are
/// [findings](Dataset::findings). Nothing is decoded yet. Bytes of a name that are not UTF-8 are
/// written `\xHH` in ids.
///
/// # Errors
/// Each likely mistake has its own error: [`Error::Missing`], [`Error::NotAFolder`],
/// [`Error::NoPictures`], [`Error::LoosePictures`], [`Error::EmptyClass`], [`Error::NotInTrain`],
/// [`Error::OneClass`], [`Error::NoTrain`], [`Error::SplitTwice`], [`Error::OneDeeper`]; and
/// [`Error::Io`] for a folder that cannot be read.
pub fn open_folder(root: impl AsRef<Path>, purpose: FolderUse) -> Result<Dataset> {
    let root = root.as_ref();
    match fs::metadata(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing { path: root.into() });
        }
        Err(source) => return Err(Error::Io { path: root.into(), source }),
        Ok(metadata) if !metadata.is_dir() => return Err(Error::NotAFolder { path: root.into() }),
        Ok(_) => {}
    }
    let mut scan = Scan { root: root.into(), ..Scan::default() };
    let top = scan.list(Path::new(""))?;
    let mut splits: BTreeMap<Split, PathBuf> = BTreeMap::new();
    for folder in &top.folders {
        let Some(split) = split_of(folder) else { continue };
        if let Some(first) = splits.insert(split, folder.clone()) {
            return Err(Error::SplitTwice {
                path: root.into(),
                split,
                first: first.display().to_string(),
                second: folder.display().to_string(),
            });
        }
    }

    if splits.is_empty() {
        scan.classes(top, None)?;
        scan.check_depth(purpose)?;
    } else {
        scan.refuse_loose(Path::new(""), &top)?;
        for folder in top.folders.iter().filter(|f| split_of(f).is_none()) {
            scan.remarks.push(format!(
                "the folder '{}' beside the split folders is not a split and is left out",
                folder.display()
            ));
        }
        for (split, folder) in &splits {
            let listed = scan.list(folder)?;
            scan.classes(listed, Some(*split))?;
        }
        if purpose == FolderUse::Train
            && !splits.contains_key(&Split::Train)
            && let Some(found) = splits.values().next()
        {
            let found = found.display().to_string();
            return Err(Error::NoTrain { path: root.into(), found });
        }
    }
    scan.finish(purpose)
}

/// The split that a folder's name means.
fn split_of(folder: &Path) -> Option<Split> {
    folder.file_name()?.to_str()?.to_lowercase().parse().ok()
}

/// The entries of one folder, as paths relative to the root, each list sorted by bytes.
#[derive(Debug, Default)]
struct Listing {
    folders: Vec<PathBuf>,
    pictures: Vec<PathBuf>,
}

#[derive(Debug)]
struct Class {
    split: Option<Split>,
    folder: PathBuf,
    pictures: Vec<PathBuf>,
}

#[derive(Debug, Default)]
struct Scan {
    root: PathBuf,
    classes: BTreeMap<String, Vec<Class>>,
    findings: Vec<Finding>,
    remarks: Vec<String>,
    ignored: Ignored,
}

impl Scan {
    fn list(&mut self, folder: &Path) -> Result<Listing> {
        let path = self.root.join(folder);
        let io = |source| Error::Io { path: path.clone(), source };
        let mut names: Vec<(OsString, fs::FileType)> = Vec::new();
        for entry in fs::read_dir(&path).map_err(io)? {
            let entry = entry.map_err(io)?;
            names.push((entry.file_name(), entry.file_type().map_err(io)?));
        }
        // The operating system lists in any order.
        names.sort_unstable_by(|a, b| a.0.as_encoded_bytes().cmp(b.0.as_encoded_bytes()));
        let mut listing = Listing::default();
        for (name, kind) in names {
            let relative = folder.join(&name);
            if is_hidden(&name) {
                self.ignore(&relative);
                continue;
            }
            let kind = if kind.is_symlink() {
                match fs::metadata(self.root.join(&relative)) {
                    Ok(target) => target.file_type(),
                    Err(error) => {
                        self.report(
                            &relative,
                            DefectKind::Io,
                            format!("is a broken link: {error}"),
                        );
                        continue;
                    }
                }
            } else {
                kind
            };
            if kind.is_dir() {
                listing.folders.push(relative);
                continue;
            }
            if !kind.is_file() {
                // Opening a pipe would wait for a writer.
                self.ignore(&relative);
                continue;
            }
            match kind_of(&self.root.join(&relative), &name) {
                FileKind::Picture => listing.pictures.push(relative),
                FileKind::Foreign(format) => self.report(
                    &relative,
                    DefectKind::Unsupported,
                    format!(
                        "is a {format} file, which is not supported: convert it to JPEG or PNG"
                    ),
                ),
                FileKind::Other => self.ignore(&relative),
            }
        }
        Ok(listing)
    }

    fn ignore(&mut self, relative: &Path) {
        self.ignored.count += 1;
        if self.ignored.examples.len() < EXAMPLES {
            self.ignored.examples.push(id_of(relative));
        }
    }

    fn report(&mut self, relative: &Path, kind: DefectKind, reason: String) {
        self.findings.push(Finding { path: id_of(relative), kind, reason, sample: None });
    }

    fn refuse_loose(&self, folder: &Path, listing: &Listing) -> Result<()> {
        match listing.pictures.first() {
            None => Ok(()),
            Some(first) => Err(Error::LoosePictures {
                path: self.root.join(folder),
                count: listing.pictures.len(),
                example: id_of(Path::new(first.file_name().unwrap_or_default())),
            }),
        }
    }

    /// Takes every folder of a listing as a class.
    fn classes(&mut self, listing: Listing, split: Option<Split>) -> Result<()> {
        let parent = listing.pictures.first().and_then(|p| p.parent()).unwrap_or(Path::new(""));
        self.refuse_loose(parent, &listing)?;
        for folder in listing.folders {
            let name = id_of(Path::new(folder.file_name().unwrap_or_default()));
            let mut pictures = Vec::new();
            self.collect(&folder, &mut pictures, &mut HashSet::new(), 0)?;
            self.classes.entry(name).or_default().push(Class { split, folder, pictures });
        }
        Ok(())
    }

    /// All pictures below a folder. `seen` holds the real paths of the folders visited for this
    /// class.
    fn collect(
        &mut self,
        folder: &Path,
        pictures: &mut Vec<PathBuf>,
        seen: &mut HashSet<PathBuf>,
        depth: usize,
    ) -> Result<()> {
        let path = self.root.join(folder);
        let real = fs::canonicalize(&path).map_err(|source| Error::Io { path, source })?;
        if !seen.insert(real) {
            self.remarks.push(format!(
                "the folder '{}' is already part of its class through a link and is not visited again",
                folder.display()
            ));
            return Ok(());
        }
        if depth > MAX_DEPTH {
            self.remarks.push(format!(
                "the folder '{}' is more than {MAX_DEPTH} folders deep and is left out",
                folder.display()
            ));
            return Ok(());
        }
        let listing = self.list(folder)?;
        pictures.extend(listing.pictures);
        for inner in listing.folders {
            self.collect(&inner, pictures, seen, depth + 1)?;
        }
        Ok(())
    }

    /// Without split folders, finds out whether the data set is one folder deeper.
    fn check_depth(&self, purpose: FolderUse) -> Result<()> {
        let folders: Vec<PathBuf> =
            self.classes.values().flatten().map(|c| c.folder.clone()).collect();
        let only = purpose == FolderUse::Train && folders.len() == 1;
        // A scan of its own, as this one's counts already cover these folders.
        let mut probe = Scan { root: self.root.clone(), ..Scan::default() };
        for folder in folders {
            let listing = probe.list(&folder)?;
            let has_train = listing.folders.iter().any(|f| split_of(f) == Some(Split::Train));
            // A single folder that contains only folders is not a class: its folders are.
            let has_classes = only && listing.pictures.is_empty() && listing.folders.len() > 1;
            if has_train || has_classes {
                return Err(Error::OneDeeper {
                    path: self.root.clone(),
                    inner: self.root.join(folder),
                });
            }
        }
        Ok(())
    }

    fn finish(mut self, purpose: FolderUse) -> Result<Dataset> {
        let root = self.root.clone();
        let total: usize = self.classes.values().flatten().map(|c| c.pictures.len()).sum();
        if total == 0 {
            return Err(Error::NoPictures { path: root });
        }
        if purpose == FolderUse::Train {
            self.check_training()?;
        }
        // An empty folder is not a class to evaluate, but worth a remark.
        self.remark_gaps();
        self.classes.retain(|_, folders| folders.iter().any(|c| !c.pictures.is_empty()));

        let names = ClassNames::new(self.classes.keys().cloned().collect())
            .map_err(|source| Error::Classes { place: root.display().to_string(), source })?;
        let mut files = Vec::with_capacity(total);
        let mut samples = Vec::with_capacity(total);
        let mut ids = HashSet::with_capacity(total);
        for (label, folders) in self.classes.into_values().enumerate() {
            for class in folders {
                for file in class.pictures {
                    let mut id = id_of(&file);
                    // Only names that are not UTF-8 can clash, namely with one that spells out the
                    // escape.
                    while !ids.insert(id.clone()) {
                        id.push('~');
                    }
                    samples.push(Sample::new(id, class.split, label as u32, files.len()));
                    files.push(file);
                }
            }
        }
        self.findings.sort_by(|a, b| a.path.cmp(&b.path));
        self.findings.dedup();
        Ok(Dataset::new(names, samples, Arc::new(Folder { root, files }))?.with_index_report(
            self.findings,
            self.remarks,
            self.ignored,
        ))
    }

    fn check_training(&self) -> Result<()> {
        let trains = |c: &&Class| matches!(c.split, None | Some(Split::Train));
        let known: Vec<&str> = self
            .classes
            .iter()
            .filter(|(_, folders)| folders.iter().any(|c| trains(&c)))
            .map(|(name, _)| name.as_str())
            .collect();
        for (name, folders) in &self.classes {
            match folders.iter().find(trains) {
                Some(class) if class.pictures.is_empty() => {
                    return Err(Error::EmptyClass {
                        path: self.root.join(&class.folder),
                        class: name.clone(),
                    });
                }
                Some(_) => {}
                None => {
                    let Some(class) = folders.first() else { continue };
                    return Err(Error::NotInTrain {
                        path: self.root.join(&class.folder),
                        class: name.clone(),
                        split: class.split.unwrap_or(Split::Test),
                        nearest: nearest(name, known.iter().copied(), 1)
                            .into_iter()
                            .map(String::from)
                            .collect(),
                    });
                }
            }
        }
        match known.as_slice() {
            [class] => Err(Error::OneClass { path: self.root.clone(), class: class.to_string() }),
            _ => Ok(()),
        }
    }

    /// Says which classes are missing from which split.
    fn remark_gaps(&mut self) {
        for split in Split::ALL {
            let of_split = |c: &&Class| c.split == Some(split) && !c.pictures.is_empty();
            let (have, lack): (Vec<_>, Vec<_>) =
                self.classes.iter().partition(|(_, folders)| folders.iter().any(|c| of_split(&c)));
            if !have.is_empty() && !lack.is_empty() {
                let names: Vec<&str> = lack.iter().map(|(name, _)| name.as_str()).collect();
                self.remarks.push(format!("{split} has no pictures of: {}", names.join(", ")));
            }
        }
        for (name, folders) in &self.classes {
            if folders.iter().all(|c| c.split.is_none() && c.pictures.is_empty()) {
                self.remarks
                    .push(format!("the folder '{name}' has no pictures and is not a class"));
            }
        }
    }
}

/// Files and folders that systems and tools leave behind.
fn is_hidden(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b".")
        || bytes == b"__MACOSX"
        || bytes.eq_ignore_ascii_case(b"thumbs.db")
        || bytes.eq_ignore_ascii_case(b"desktop.ini")
}

enum FileKind {
    Picture,
    Foreign(&'static str),
    Other,
}

fn kind_of(path: &Path, name: &OsStr) -> FileKind {
    let extension = Path::new(name).extension().and_then(OsStr::to_str).map(str::to_lowercase);
    if let Some(extension) = extension.as_deref() {
        if format_of_extension(extension).is_some() {
            return FileKind::Picture;
        }
        if let Some((_, format)) = FOREIGN.iter().find(|(e, _)| *e == extension) {
            return FileKind::Foreign(format);
        }
    }
    // The name says nothing, so the first bytes must.
    let mut head = [0; 16];
    let read = fs::File::open(path).and_then(|mut file| {
        use io::Read;
        file.read(&mut head)
    });
    match read {
        Ok(n) if looks_like_picture(&head[..n]) => FileKind::Picture,
        _ => FileKind::Other,
    }
}

/// A relative path as an id: forward slashes; bytes that are not UTF-8 as `\xHH`.
fn id_of(path: &Path) -> String {
    path.iter().map(text_of).collect::<Vec<_>>().join("/")
}

fn text_of(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
