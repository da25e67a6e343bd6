//! The pictures that are to be classified: files, folders, lists, archives, patterns.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::BufRead,
    path::{Path, PathBuf},
    sync::Arc,
};

use taper_core::OutOfRange;
use taper_data::{Content, Dataset, PictureSource, Sample};
use taper_picture::{DecodeOptions, Defect, FileKind, read_file, unsupported};
use taper_sources::{FolderUse, is_archive, is_hidden, is_own_file};

use taper_run::{Error, Result, Session, open_data_with};

use crate::path_list;

/// The largest file that is read whole, in bytes.
const LIMIT: u64 = 1 << 30;

/// Pictures to classify, in the order in which they were given; those of a folder by their names.
/// A picture that is given twice is there once.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    entries: Arc<Vec<Entry>>,
    /// Remarks about what was passed over, one sentence each.
    remarks: Vec<String>,
    limits: DecodeOptions,
}

#[derive(Debug, Clone)]
struct Entry {
    /// The path as given, or as found in a folder that was given.
    shown: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Member(Arc<Dataset>, usize),
    /// A picture that is known not to be usable.
    Unusable(Defect),
}

impl Inputs {
    /// Finds the pictures: files; folders, with everything below them; patterns such as
    /// `photos/*.jpg` that the shell did not expand; archives and Parquet files; lists of paths in
    /// a CSV or JSONL file, relative to it; and `-` for paths that `stdin` has, one a line.
    ///
    /// A file that does not exist is among them if others do: it is reported when its turn comes.
    ///
    /// # Errors
    /// [`Error::NoInput`] if there is no picture in one of them, [`Error::Setting`] if none of the
    /// arguments exists, if all are files of another kind, and for a list without a column of
    /// paths; any error of an archive.
    pub fn find(arguments: &[PathBuf], stdin: &mut dyn BufRead, session: &Session) -> Result<Self> {
        let mut found = Finder::new(session);
        let missing = |argument: &PathBuf| {
            let special = argument == Path::new("-") || is_pattern(&argument.to_string_lossy());
            !special && !argument.exists()
        };
        if let Some(first) = arguments.first().filter(|_| arguments.iter().all(missing)) {
            let value = format!("'{}'", first.display());
            let remedy = "there is no such file or folder: check the spelling";
            return Err(OutOfRange::new("input", value, remedy).into());
        }
        if let Some(first) =
            arguments.first().filter(|_| arguments.iter().all(|path| is_another_kind(path)))
        {
            let value = format!("'{}'", first.display());
            let remedy = "this is no picture, and no archive, Parquet file or list of paths: give pictures, or a folder of them";
            return Err(OutOfRange::new("input", value, remedy).into());
        }
        for argument in arguments {
            if argument == Path::new("-") {
                let lines: std::io::Result<Vec<String>> = stdin.lines().collect();
                let lines = lines.map_err(Error::io("read", "standard input"))?;
                for line in lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
                    found.add(Path::new(line))?;
                }
            } else {
                found.add(argument)?;
            }
        }
        if found.entries.is_empty() {
            return Err(Error::NoInput { place: "the list of paths".into() });
        }
        let limits = DecodeOptions::default();
        Ok(Self { entries: Arc::new(found.entries), remarks: found.remarks, limits })
    }

    /// The same pictures; those with more pixels than this count as unreadable.
    #[must_use]
    pub fn with_max_pixels(mut self, max_pixels: u64) -> Self {
        self.limits.max_pixels = max_pixels;
        self
    }

    /// How many pictures there are.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What was passed over.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The name of a picture, as given or as found.
    pub fn name(&self, index: usize) -> &str {
        self.entries.get(index).map_or("", |entry| entry.shown.as_str())
    }

    /// The file that a picture is; none for a member of an archive.
    pub fn file(&self, index: usize) -> Option<&Path> {
        match &self.entries.get(index)?.place {
            Place::File(path) => Some(path),
            Place::Member(..) | Place::Unusable(_) => None,
        }
    }

    /// The first picture that is not a file of its own.
    pub fn first_member(&self) -> Option<&str> {
        let member = self.entries.iter().find(|entry| matches!(entry.place, Place::Member(..)));
        member.map(|entry| entry.shown.as_str())
    }

    /// The undecoded content of a picture.
    ///
    /// # Errors
    /// A [`Defect`] if it cannot be read.
    pub fn content(&self, index: usize) -> std::result::Result<Content, Defect> {
        Pictures(Arc::clone(&self.entries)).content(index, LIMIT)
    }

    /// The pixels of a picture.
    pub(crate) fn picture(&self, index: usize) -> std::result::Result<image::RgbImage, Defect> {
        match self.content(index)? {
            Content::Encoded(bytes) => Ok(taper_picture::decode(&bytes, &self.limits)?.pixels),
            Content::Pixels(pixels) => Ok(pixels),
            _ => Err(Defect::new(taper_picture::DefectKind::Io, "has no pixels")),
        }
    }

    /// The pictures as a data set without known labels: all are of the first class.
    pub(crate) fn dataset(&self, classes: &taper_core::ClassNames) -> Result<Dataset> {
        // Numbered, so that the canonical order is the given one; the name's ending stays.
        let sample = |(index, entry): (usize, &Entry)| {
            Sample::new(format!("{index:09}/{}", entry.shown), None, 0, index)
        };
        let samples = self.entries.iter().enumerate().map(sample).collect();
        let source = Arc::new(Pictures(Arc::clone(&self.entries)));
        let dataset = Dataset::new(classes.clone(), samples, source)?;
        Ok(dataset.with_decode_options(self.limits))
    }
}

/// The pictures as a source.
#[derive(Debug)]
struct Pictures(Arc<Vec<Entry>>);

impl Pictures {
    fn content(&self, index: usize, limit: u64) -> std::result::Result<Content, Defect> {
        match self.0.get(index).map(|entry| &entry.place) {
            Some(Place::File(path)) => read_file(path, limit).map(Content::Encoded),
            Some(Place::Member(dataset, index)) => {
                dataset.fetch(*index).map_err(|finding| Defect::new(finding.kind, finding.reason))
            }
            Some(Place::Unusable(defect)) => Err(defect.clone()),
            None => Err(Defect::new(taper_picture::DefectKind::Io, "is not among the pictures")),
        }
    }
}

impl PictureSource for Pictures {
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect> {
        self.content(sample.slot, limit)
    }

    fn place(&self) -> String {
        "the pictures".into()
    }
}

struct Finder<'a> {
    session: &'a Session,
    entries: Vec<Entry>,
    remarks: Vec<String>,
    seen: HashSet<PathBuf>,
}

impl<'a> Finder<'a> {
    fn new(session: &'a Session) -> Self {
        Self { session, entries: Vec::new(), remarks: Vec::new(), seen: HashSet::new() }
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        if self.session.interrupted() {
            return Err(Error::Interrupted);
        }
        let extension = extension(path);
        if path.is_dir() {
            return self.folder(path);
        }
        if !path.exists() {
            let shown = path.to_string_lossy();
            // A picture that is missing is reported as one that cannot be read.
            return if is_pattern(&shown) { self.pattern(&shown) } else { self.file(path) };
        }
        if path_list::is_list(&extension) {
            for listed in path_list::read(path, &mut self.remarks)? {
                self.file(&listed)?;
            }
            return Ok(());
        }
        if extension == "parquet" || is_archive(path) {
            return self.archive(path);
        }
        self.file(path)
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        if self.seen.insert(path.to_path_buf()) {
            let shown = path.display().to_string();
            self.entries.push(Entry { shown, place: Place::File(path.into()) });
        }
        Ok(())
    }

    /// A picture in a format that cannot be read: it is named in its turn.
    fn unusable(&mut self, shown: String, defect: Defect) {
        if self.seen.insert(shown.clone().into()) {
            self.entries.push(Entry { shown, place: Place::Unusable(defect) });
        }
    }

    fn folder(&mut self, root: &Path) -> Result<()> {
        let mut found = false;
        let mut passed = Passed::default();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let fail = || Error::io("read the folder", &folder);
            let mut paths = Vec::new();
            for entry in fs::read_dir(&folder).map_err(fail())? {
                paths.push(entry.map_err(fail())?.path());
            }
            paths.sort();
            let mut below = Vec::new();
            for path in paths {
                let name = path.file_name().unwrap_or_default();
                if is_hidden(name) {
                    continue;
                }
                // Links to folders may lead in a circle.
                let link = path.symlink_metadata().is_ok_and(|data| data.is_symlink());
                if path.is_dir() {
                    if !link {
                        below.push(path);
                    }
                } else if !path.is_file() || is_own_file(&path) {
                    passed.add(&name.to_string_lossy());
                } else {
                    match FileKind::of_file(&path) {
                        FileKind::Picture => {
                            found = true;
                            self.file(&path)?;
                        }
                        FileKind::Foreign(format) => {
                            found = true;
                            self.unusable(path.display().to_string(), unsupported(format));
                        }
                        FileKind::Other => passed.add(&name.to_string_lossy()),
                    }
                }
            }
            folders.extend(below.into_iter().rev());
        }
        if !found {
            return Err(Error::NoInput { place: root.display().to_string() });
        }
        self.remarks.extend(passed.remark(root));
        Ok(())
    }

    fn pattern(&mut self, pattern: &str) -> Result<()> {
        let wrong = |remedy: String| OutOfRange::new("input", format!("'{pattern}'"), remedy);
        let paths = glob::glob(pattern)
            .map_err(|error| wrong(format!("this is no valid pattern ({})", error.msg)))?;
        let mut paths: Vec<PathBuf> = paths.flatten().collect();
        if paths.is_empty() {
            return Err(wrong("nothing has a name like this: check the spelling".into()).into());
        }
        paths.sort();
        paths.iter().try_for_each(|path| self.add(path))
    }

    fn archive(&mut self, path: &Path) -> Result<()> {
        let place = path.display().to_string();
        let dataset = Arc::new(open_data_with(&place, FolderUse::Classify, self.session)?);
        for (index, sample) in dataset.samples().iter().enumerate() {
            let shown = format!("{place}/{}", sample.id);
            if self.seen.insert(shown.clone().into()) {
                let place = match dataset.file(index) {
                    Some(file) => Place::File(file),
                    None => Place::Member(Arc::clone(&dataset), index),
                };
                self.entries.push(Entry { shown, place });
            }
        }
        for finding in dataset.findings().iter().filter(|finding| !finding.usable()) {
            let defect = Defect::new(finding.kind, finding.reason.clone());
            self.unusable(format!("{place}/{}", finding.path), defect);
        }
        self.remarks.extend(dataset.remarks().iter().map(|remark| format!("{place}: {remark}")));
        let ignored = dataset.ignored();
        let first = ignored.examples.first().cloned().unwrap_or_default();
        self.remarks.extend(Passed { count: ignored.count, first }.remark(path));
        Ok(())
    }
}

/// Files in a folder that are not pictures that can be read.
#[derive(Default)]
struct Passed {
    count: usize,
    first: String,
}

impl Passed {
    fn add(&mut self, name: &str) {
        if self.count == 0 {
            self.first = name.to_owned();
        }
        self.count += 1;
    }

    fn remark(&self, root: &Path) -> Option<String> {
        (self.count > 0).then(|| {
            format!(
                "{}: {} file(s) that are not pictures are passed over, such as {}",
                root.display(),
                self.count,
                self.first
            )
        })
    }
}

/// Whether a file is there, and is neither a picture nor anything that may hold or list some.
fn is_another_kind(path: &Path) -> bool {
    let extension = extension(path);
    path.is_file()
        && !path_list::is_list(&extension)
        && extension != "parquet"
        && !is_archive(path)
        && FileKind::of_file(path) == FileKind::Other
}

/// Whether a name is a pattern that the shell did not expand.
fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

fn extension(path: &Path) -> String {
    path.extension().map(OsStr::to_string_lossy).unwrap_or_default().to_lowercase()
}
