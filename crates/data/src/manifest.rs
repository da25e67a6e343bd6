//! A list of pictures: CSV or JSON Lines.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use crate::{
    Content, Dataset, Error, FolderUse, PictureSource, Result, Sample,
    layout::{self, Beside, Row},
};
use taper_picture::{Defect, DefectKind, read_file};

/// The longest line of a JSON Lines manifest, in bytes: far longer than any path, and a guard
/// against files that are not text.
const LONGEST_LINE: u64 = 1 << 20;

#[derive(Debug)]
struct Manifest {
    place: String,
    /// The folder of the manifest, which paths are relative to.
    folder: PathBuf,
    /// By slot.
    paths: Vec<Box<str>>,
}

impl PictureSource for Manifest {
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect> {
        let file = self.file(sample).ok_or_else(|| {
            Defect::new(DefectKind::Io, "is not a picture of this manifest".to_string())
        })?;
        read_file(&file, limit).map(Content::Encoded)
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn file(&self, sample: &Sample) -> Option<PathBuf> {
        Some(self.folder.join(&**self.paths.get(sample.slot)?))
    }

    fn bytes(&self, sample: &Sample) -> Option<u64> {
        fs::metadata(self.file(sample)?).ok().map(|m| m.len())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    label: String,
    #[serde(default)]
    split: Option<String>,
    #[serde(default)]
    group: Option<String>,
}

/// Whether a file's name is that of a manifest: `.csv`, `.jsonl` or `.ndjson`.
pub fn is_manifest(path: &Path) -> bool {
    is_csv(path) || is_json_lines(path)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    extension.is_some_and(|e| extensions.contains(&e.as_str()))
}

fn is_csv(path: &Path) -> bool {
    has_extension(path, &["csv"])
}

fn is_json_lines(path: &Path) -> bool {
    has_extension(path, &["jsonl", "ndjson"])
}

/// Opens a manifest: `path,label[,split][,group]`, as CSV with a header line or as JSON Lines with
/// those fields.
///
/// Paths are relative to the manifest's folder, with forward slashes; absolute ones are used
/// unchanged. `split` is empty or one of the names of [`Split`](taper_core::Split). Pictures of one
/// `group` stay in one split when splits are [drawn](Dataset::splits). Classes are sorted by the
/// bytes of their names. Whether the files exist is found out when they are read.
///
/// # Errors
/// [`Error::Manifest`] names the first line that cannot be understood; otherwise as
/// [`open_folder`](crate::open_folder).
pub fn open_manifest(path: impl AsRef<Path>, purpose: FolderUse) -> Result<Dataset> {
    let path = path.as_ref();
    let file = fs::File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: path.into() },
        _ => Error::Io { path: path.into(), source },
    })?;
    let mut table = Table { manifest: path.into(), ..Table::default() };
    if is_json_lines(path) {
        table.read_json_lines(BufReader::new(file))?;
    } else {
        table.read_csv(file)?;
    }
    let Table { rows, paths, .. } = table;
    let place = path.display().to_string();
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let source = Arc::new(Manifest { place: place.clone(), folder, paths });
    layout::dataset(&place, rows, None, source, Beside::default(), purpose)
}

#[derive(Debug, Default)]
struct Table {
    manifest: PathBuf,
    rows: Vec<Row>,
    paths: Vec<Box<str>>,
    /// The line of each id.
    seen: HashMap<String, u64>,
}

impl Table {
    fn fail(&self, line: u64, problem: impl Into<String>) -> Error {
        Error::Manifest { path: self.manifest.clone(), line, problem: problem.into() }
    }

    fn read_csv(&mut self, file: fs::File) -> Result<()> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let headers = reader.headers().map_err(|e| self.fail(1, e.to_string()))?.clone();
        // Spreadsheets begin a file with a byte-order mark.
        let headers: csv::StringRecord =
            headers.iter().map(|h| h.trim_start_matches('\u{feff}').to_lowercase()).collect();
        for needed in ["path", "label"] {
            if !headers.iter().any(|h| h == needed) {
                let found = headers.iter().take(8).collect::<Vec<_>>().join(",");
                let problem = format!(
                    "there is no column '{needed}': the first line names the columns, path,label and perhaps split,group; found '{found}'"
                );
                return Err(self.fail(1, problem));
            }
        }
        for record in reader.into_records() {
            let record = record.map_err(|e| {
                let line = e.position().map_or(0, csv::Position::line);
                self.fail(line, e.to_string())
            })?;
            let line = record.position().map_or(0, csv::Position::line);
            let entry: Entry =
                record.deserialize(Some(&headers)).map_err(|e| self.fail(line, e.to_string()))?;
            self.push(entry, line)?;
        }
        Ok(())
    }

    fn read_json_lines(&mut self, mut reader: impl BufRead) -> Result<()> {
        use std::io::Read;
        let (mut bytes, mut line) = (Vec::new(), 0);
        loop {
            bytes.clear();
            line += 1;
            let n = reader
                .by_ref()
                .take(LONGEST_LINE + 1)
                .read_until(b'\n', &mut bytes)
                .map_err(|source| Error::Io { path: self.manifest.clone(), source })?;
            if n == 0 {
                return Ok(());
            }
            if n as u64 > LONGEST_LINE {
                return Err(
                    self.fail(line, "the line is longer than 1 MiB: this is not a manifest")
                );
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let entry: Entry =
                serde_json::from_slice(&bytes).map_err(|e| self.fail(line, e.to_string()))?;
            self.push(entry, line)?;
        }
    }

    fn push(&mut self, entry: Entry, line: u64) -> Result<()> {
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        if entry.path.is_empty() {
            return Err(self.fail(line, "the path is empty"));
        }
        if entry.label.trim().is_empty() {
            return Err(self.fail(line, format!("'{}' has no label", entry.path)));
        }
        if entry.path.contains("://") {
            let problem = format!(
                "'{}' is a URL: download the files first, and give their paths",
                entry.path
            );
            return Err(self.fail(line, problem));
        }
        if entry.path.contains('\0') {
            return Err(self.fail(line, "the path contains a zero byte"));
        }
        let split = match given(entry.split) {
            None => None,
            Some(name) => match layout::split_named(&name) {
                Some(split) => Some(split),
                None => {
                    let problem =
                        format!("the split '{name}' is unknown: use train, val, test or nothing");
                    return Err(self.fail(line, problem));
                }
            },
        };
        let id = entry.path.replace('\\', "/");
        let id = id.strip_prefix("./").unwrap_or(&id).to_owned();
        if let Some(first) = self.seen.insert(id.clone(), line) {
            return Err(self.fail(line, format!("'{id}' is already in line {first}: keep one")));
        }
        let (class, group, slot) = (entry.label, given(entry.group), self.paths.len());
        self.paths.push(id.clone().into());
        self.rows.push(Row { id, packaging: 0, class, split, group, slot });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ValChoice, fixture};

    fn write(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        fixture::write_folder(root.path(), &[("", 4)], &["a", "b"]).unwrap();
        let path = root.path().join(name);
        fs::write(&path, text).unwrap();
        (root, path)
    }

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv = "\u{feff}label, path ,split,group\nx,a/00.jpg,train,1\nx,./a/01.jpg,,\ny,b/00.jpg,Train,1\ny,\"b/01.jpg\",val,2\n";
        let (_root, path) = write("list.csv", csv);
        let a = open_manifest(&path, FolderUse::Train).unwrap();
        let lines = "{\"path\":\"a/00.jpg\",\"label\":\"x\",\"split\":\"train\",\"group\":\"1\"}\n\n{\"path\":\"a/01.jpg\",\"label\":\"x\"}\n{\"path\":\"b/00.jpg\",\"label\":\"y\",\"split\":\"train\",\"group\":\"1\"}\n{\"path\":\"b/01.jpg\",\"label\":\"y\",\"split\":\"val\",\"group\":\"2\"}";
        let (_other, path) = write("list.jsonl", lines);
        let b = open_manifest(&path, FolderUse::Train).unwrap();
        assert_eq!(a.samples(), b.samples());
        assert_eq!(a.fingerprint(), b.fingerprint());
        assert_eq!(a.samples()[0].group.as_deref(), Some("1"));
        assert_eq!(a.samples()[1].split, None);
        assert!(a.verify().is_empty());
        assert!(a.file(0).unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_its_line() {
        let cases = [
            ("file,class\nx,y\n", "line 1", "no column 'path'"),
            ("path,label\na/00.jpg,x\n,y\n", "line 3", "empty"),
            ("path,label\na/00.jpg,\n", "line 2", "no label"),
            ("path,label,split\na/00.jpg,x,dev\n", "line 2", "'dev'"),
            ("path,label\na/00.jpg,x\nb/00.jpg,y\n./a/00.jpg,y\n", "line 4", "line 2"),
            ("path,label\na,b,c\n", "line 2", "3 fields"),
            ("path,label\nhttps://example.org/a.jpg,x\n", "line 2", "is a URL"),
        ];
        for (text, line, expected) in cases {
            let (_root, path) = write("list.csv", text);
            let error = open_manifest(&path, FolderUse::Train).unwrap_err().to_string();
            assert!(error.contains(line) && error.contains(expected), "{error}");
        }
        let (_root, path) = write("list.jsonl", "{\"path\":\"a\",\"lable\":\"x\"}\n");
        let error = open_manifest(&path, FolderUse::Train).unwrap_err().to_string();
        assert!(error.contains("lable"), "{error}");
        let (_root, path) = write("empty.csv", "path,label\n");
        let error = open_manifest(&path, FolderUse::Train).unwrap_err();
        assert!(matches!(error, Error::NoPictures { .. }));
        let (_root, path) = write("one.csv", "path,label\na/00.jpg,x\n");
        assert!(matches!(open_manifest(&path, FolderUse::Train), Err(Error::OneClass { .. })));
        assert_eq!(open_manifest(&path, FolderUse::Evaluate).unwrap().len(), 1);
    }

    #[test]
    fn a_missing_file_is_a_finding() {
        let (_root, path) = write("list.csv", "path,label\na/00.jpg,x\nnowhere.jpg,y\n");
        let dataset = open_manifest(&path, FolderUse::Train).unwrap();
        let findings = dataset.verify();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "nowhere.jpg");
    }

    #[test]
    fn ten_thousand_classes_and_a_hundred_thousand_pictures_are_opened_at_once() {
        let mut text = String::from("path,label\n");
        for i in 0..100_000 {
            text += &format!("pictures/{i:06}.jpg,class {}\n", i % 10_000);
        }
        let (_root, path) = write("large.csv", &text);
        let start = std::time::Instant::now();
        let dataset = open_manifest(&path, FolderUse::Train).unwrap();
        let splits = dataset.splits(ValChoice::Auto, 1).unwrap();
        eprintln!("100,000 pictures, 10,000 classes: {:?}", start.elapsed());
        assert_eq!(dataset.classes().len(), 10_000);
        assert_eq!(splits.train.len() + splits.val.len() + splits.test.len(), 100_000);
    }
}
