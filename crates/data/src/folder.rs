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

/// What a folder is opened for. It decides which peculiarities are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderUse {
    /// To train on: there must be training pictures of at least two classes, of every class that occurs in another
    /// split, and in every class folder.
    Train,
    /// To evaluate a trained model on, or to look at: any split will do, and so will a single class.
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
            Defect::new(DefectKind::Io, "is not a picture of this folder".to_string())
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
/// - `train/CLASS/…`, with `val/CLASS/…` (or `valid`, `validation`) and `test/CLASS/…` beside it, in any case of letters;
/// - `CLASS/…` alone: [`Dataset::splits`] then draws the splits.
///
/// Below a class, folders may be nested as one likes; symbolic links are followed, each real folder once per class, so
/// that loops end. Classes are sorted by the bytes of their names: that is the label order. A file counts as a picture
/// if its extension says so (`jpg jpeg jpe jfif png webp gif bmp dib tif tiff`) or, with any other extension, if its
/// first bytes do. Other files, hidden ones and folders such as `__MACOSX` are passed over and
/// [counted](Dataset::ignored); pictures in formats that cannot be decoded, such as HEIC, are
/// [findings](Dataset::findings). Nothing is decoded yet. Bytes of a name that are not UTF-8 are written `\xHH` in ids.
///
/// # Errors
/// Each natural mix-up has its own: [`Error::Missing`], [`Error::NotAFolder`], [`Error::NoPictures`],
/// [`Error::LoosePictures`], [`Error::EmptyClass`], [`Error::NotInTrain`], [`Error::OneClass`], [`Error::NoTrain`],
/// [`Error::SplitTwice`], [`Error::OneDeeper`]; and [`Error::Io`] for a folder that cannot be read.
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
                "the folder '{}' beside the split folders is no split and takes no part",
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
                            format!("is a link that leads nowhere: {error}"),
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
                // To open a pipe would wait for a writer.
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

    /// All pictures below a folder. `seen` holds the real paths of the folders visited for this class.
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
                "the folder '{}' is already part of its class by way of a link and is not visited again",
                folder.display()
            ));
            return Ok(());
        }
        if depth > MAX_DEPTH {
            self.remarks.push(format!(
                "the folder '{}' lies more than {MAX_DEPTH} folders deep and takes no part",
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

    /// Finds out, without split folders, whether the data set lies one folder deeper.
    fn check_depth(&self, purpose: FolderUse) -> Result<()> {
        let folders: Vec<PathBuf> =
            self.classes.values().flatten().map(|c| c.folder.clone()).collect();
        let only = purpose == FolderUse::Train && folders.len() == 1;
        // A scan of its own, as this one's counts already cover these folders.
        let mut probe = Scan { root: self.root.clone(), ..Scan::default() };
        for folder in folders {
            let listing = probe.list(&folder)?;
            let has_train = listing.folders.iter().any(|f| split_of(f) == Some(Split::Train));
            // A single folder that holds nothing but folders is not a class: its folders are.
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
        // An empty folder is no class to evaluate, but worth a word.
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
                    // Only names that are not UTF-8 can clash, with one that spells out the escape.
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
                self.remarks.push(format!("the folder '{name}' has no pictures and is no class"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ValChoice, fixture};
    use tempfile::TempDir;

    fn folder(folders: &[(&str, usize)], classes: &[&str]) -> TempDir {
        let root = TempDir::new().unwrap();
        fixture::write_folder(root.path(), folders, classes).unwrap();
        root
    }

    fn open(root: &TempDir) -> Result<Dataset> {
        open_folder(root.path(), FolderUse::Train)
    }

    fn error(root: &TempDir) -> Error {
        let error = open(root).unwrap_err();
        let path = root.path().display().to_string();
        assert!(error.to_string().contains(&path), "names no path: {error}");
        error
    }

    #[test]
    fn split_folders_are_read_in_canonical_order() {
        let root = folder(&[("Train", 2), ("valid", 1), ("test", 1)], &["b", "a"]);
        let dataset = open(&root).unwrap();
        assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["a", "b"]);
        let ids: Vec<&str> = dataset.samples().iter().map(|s| s.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "Train/a/00.jpg",
                "Train/a/01.jpg",
                "Train/b/00.jpg",
                "Train/b/01.jpg",
                "test/a/03.jpg",
                "test/b/03.jpg",
                "valid/a/02.jpg",
                "valid/b/02.jpg",
            ]
        );
        assert_eq!(dataset.samples()[6].split, Some(Split::Val));
        assert_eq!(dataset.samples()[5].label, 1);
        // The slot leads to the right file although the order is another.
        for (index, sample) in dataset.samples().iter().enumerate() {
            let Ok(Content::Encoded(bytes)) = dataset.fetch(index) else { panic!() };
            assert_eq!(bytes, fs::read(root.path().join(&sample.id)).unwrap());
        }
    }

    #[test]
    fn other_files_are_counted_and_foreign_pictures_reported() {
        let root = folder(&[("", 3)], &["a", "b"]);
        let a = root.path().join("a");
        fs::write(a.join("notes.txt"), "hello").unwrap();
        fs::write(a.join(".DS_Store"), "x").unwrap();
        fs::write(a.join("Thumbs.db"), "x").unwrap();
        fs::create_dir_all(root.path().join("__MACOSX/a")).unwrap();
        fs::write(root.path().join("__MACOSX/a/._00.jpg"), "x").unwrap();
        fs::write(a.join("phone.HEIC"), "x").unwrap();
        fs::create_dir_all(a.join("more/deeper")).unwrap();
        fs::copy(a.join("00.jpg"), a.join("more/deeper/x.JPEG")).unwrap();
        fs::copy(a.join("01.jpg"), a.join("no-extension")).unwrap();
        let dataset = open(&root).unwrap();
        assert_eq!(dataset.ignored().count, 4, "{:?}", dataset.ignored());
        assert_eq!(dataset.len(), 8);
        assert!(dataset.samples().iter().any(|s| s.id == "a/more/deeper/x.JPEG"));
        assert!(dataset.samples().iter().any(|s| s.id == "a/no-extension"));
        let findings = dataset.findings();
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].path.as_str(), findings[0].kind),
            ("a/phone.HEIC", DefectKind::Unsupported)
        );
        assert!(matches!(dataset.refuse_findings(), Err(Error::Refused { .. })));
    }

    #[test]
    fn mix_ups_have_errors_of_their_own() {
        let missing = open_folder("/no/such/folder", FolderUse::Train).unwrap_err();
        assert!(matches!(missing, Error::Missing { .. }));

        let root = folder(&[("train", 2)], &["a", "b"]);
        let file = root.path().join("train/a/00.jpg");
        let error_of_file = open_folder(file, FolderUse::Train).unwrap_err();
        assert!(matches!(error_of_file, Error::NotAFolder { .. }));

        let root = TempDir::new().unwrap();
        assert!(matches!(error(&root), Error::NoPictures { .. }));
        fs::create_dir_all(root.path().join("a")).unwrap();
        fs::write(root.path().join("a/notes.txt"), "hello").unwrap();
        assert!(matches!(error(&root), Error::NoPictures { .. }));

        let root = folder(&[("train", 2), ("test", 1)], &["a", "b"]);
        fs::create_dir_all(root.path().join("train/c")).unwrap();
        let empty = error(&root);
        assert!(matches!(&empty, Error::EmptyClass { class, .. } if class == "c"), "{empty}");

        for split in ["test", "val"] {
            let root = folder(&[("train", 2), (split, 1)], &["rock", "paper"]);
            let strange = root.path().join(split).join("rocks");
            fs::rename(root.path().join(split).join("rock"), strange).unwrap();
            let only = error(&root);
            assert!(
                matches!(&only, Error::NotInTrain { class, nearest, .. } if class == "rocks" && nearest == &["rock"]),
                "{only}"
            );
            assert!(only.to_string().contains(split));
        }

        let root = folder(&[("train", 2)], &["a"]);
        assert!(matches!(error(&root), Error::OneClass { .. }));
        let root = folder(&[("", 2)], &["a"]);
        assert!(matches!(error(&root), Error::OneClass { .. }));

        for inside in ["", "train", "test"] {
            let root = folder(&[("train", 2), ("test", 1)], &["a", "b"]);
            fs::copy(root.path().join("train/a/00.jpg"), root.path().join(inside).join("x.jpg"))
                .unwrap();
            assert!(matches!(error(&root), Error::LoosePictures { count: 1, .. }), "{inside}");
        }
        let root = TempDir::new().unwrap();
        fs::write(root.path().join("x.jpg"), "").unwrap();
        assert!(matches!(error(&root), Error::LoosePictures { .. }));

        let root = folder(&[("test", 1)], &["a", "b"]);
        assert!(matches!(error(&root), Error::NoTrain { .. }));
        let evaluated = open_folder(root.path(), FolderUse::Evaluate).unwrap();
        assert_eq!(evaluated.indices(Some(Split::Test)).len(), 2);

        let root = folder(&[("train", 1), ("val", 1), ("validation", 1)], &["a", "b"]);
        assert!(matches!(error(&root), Error::SplitTwice { .. }));

        for inner in ["data/train", "data"] {
            let root = folder(&[(inner, 2)], &["a", "b"]);
            let deeper = error(&root);
            assert!(
                matches!(&deeper, Error::OneDeeper { inner, .. } if inner.ends_with("data")),
                "{deeper}"
            );
        }
    }

    #[test]
    fn gaps_and_strange_folders_are_remarked() {
        let root = folder(&[("train", 2), ("test", 1)], &["a", "b"]);
        fs::remove_dir_all(root.path().join("test/b")).unwrap();
        fs::create_dir_all(root.path().join("extra")).unwrap();
        let dataset = open(&root).unwrap();
        let remarks = dataset.remarks().join("\n");
        assert!(remarks.contains("test has no pictures of: b"), "{remarks}");
        assert!(remarks.contains("'extra'"), "{remarks}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_loops_end() {
        use std::os::unix::fs::symlink;
        let root = folder(&[("", 3)], &["a", "b"]);
        symlink(root.path(), root.path().join("a/loop")).unwrap();
        symlink("..", root.path().join("b/up")).unwrap();
        symlink("nowhere", root.path().join("b/dangling.jpg")).unwrap();
        symlink(root.path().join("a/00.jpg"), root.path().join("b/linked.jpg")).unwrap();
        let dataset = open(&root).unwrap();
        assert!(dataset.samples().iter().any(|s| s.id == "b/linked.jpg"));
        assert!(dataset.findings().iter().any(|f| f.path == "b/dangling.jpg"));
        assert!(dataset.remarks().iter().any(|r| r.contains("link")));
        assert!(dataset.len() < 30, "{}", dataset.len());
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_are_escaped_and_readable() {
        use std::os::unix::ffi::OsStrExt;
        let root = folder(&[("", 3)], &["a", "b"]);
        let name = OsStr::from_bytes(b"caf\xe9.jpg");
        if fs::copy(root.path().join("a/00.jpg"), root.path().join("a").join(name)).is_err() {
            return; // This file system wants UTF-8.
        }
        let dataset = open(&root).unwrap();
        let index = dataset.samples().iter().position(|s| s.id == "a/caf\\xe9.jpg").unwrap();
        assert!(dataset.read(index).is_ok());
    }

    #[test]
    fn classes_can_be_matched_to_a_models() {
        let root = folder(&[("test", 1)], &["b", "c"]);
        let dataset = open_folder(root.path(), FolderUse::Evaluate).unwrap();
        let names =
            |n: &[&str]| ClassNames::new(n.iter().map(|s| s.to_string()).collect()).unwrap();
        let matched = dataset.clone().with_classes(&names(&["c", "a", "b"])).unwrap();
        assert_eq!(matched.samples().iter().map(|s| s.label).collect::<Vec<_>>(), [2, 0]);
        assert!(matches!(
            dataset.with_classes(&names(&["a", "b"])),
            Err(Error::UnknownClass { .. })
        ));
    }

    #[test]
    fn the_fingerprint_follows_names_and_sizes_and_the_digest_content() {
        let root = folder(&[("train", 3)], &["a", "b"]);
        // Both are taken anew each time, from what lies in the folder at that moment.
        let fingerprint = || open(&root).unwrap().fingerprint();
        let digest = || open(&root).unwrap().content_digest();
        let (first, first_digest) = (fingerprint(), digest());
        assert_eq!((fingerprint(), digest()), (first.clone(), first_digest.clone()));
        assert_eq!(first.len(), 64);
        let path = root.path().join("train/a/00.jpg");
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(fingerprint(), first);
        assert_ne!(digest(), first_digest);
        bytes.push(0);
        fs::write(&path, &bytes).unwrap();
        let longer = fingerprint();
        assert_ne!(longer, first);
        fs::rename(&path, root.path().join("train/b/09.jpg")).unwrap();
        assert_ne!(fingerprint(), longer);
        assert_ne!(fingerprint(), first);
    }

    #[test]
    fn unusable_pictures_are_found_by_verify() {
        let root = folder(&[("train", 3)], &["a", "b"]);
        fixture::write_unusable(root.path().join("train/a")).unwrap();
        fs::rename(root.path().join("train/b/00.jpg"), root.path().join("train/b/00.png")).unwrap();
        let mut dataset = open(&root).unwrap();
        let findings = dataset.verify();
        let found: Vec<(&str, DefectKind)> =
            findings.iter().map(|f| (f.path.as_str(), f.kind)).collect();
        assert_eq!(
            found,
            [
                ("train/a/corrupt.jpg", DefectKind::Corrupt),
                ("train/a/empty.jpg", DefectKind::Empty),
                ("train/a/text.jpg", DefectKind::NotAPicture),
                ("train/a/truncated.jpg", DefectKind::Truncated),
                ("train/b/00.png", DefectKind::Misnamed),
            ]
        );
        dataset.exclude(findings.clone());
        dataset.exclude(findings);
        assert_eq!(dataset.findings().len(), 5);
        assert_eq!(dataset.unreadable().count(), 4);
        assert_eq!(dataset.indices(None).len(), 6);
        let splits = dataset.splits(ValChoice::Auto, 0).unwrap();
        assert_eq!(splits.train.len() + splits.val.len(), 6);
        let refused = dataset.refuse_findings().unwrap_err().to_string();
        assert!(refused.contains("train/a/corrupt.jpg") && refused.contains("4 more"), "{refused}");
    }
}
