//! Archives as sources: zip and tar are read in place; nothing is unpacked to disk, except
//! compressed tar archives.

mod names;
mod tar;
mod unpack;
mod webdataset;
mod zip;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use ::zip::{CompressionMethod, ZipArchive};
use flate2::{Crc, read::DeflateDecoder};
use taper_core::Split;
use taper_data::{Content, Dataset, PictureSource, Sample, Window};
use taper_picture::{Defect, DefectKind, Finding, foreign_format, format_of_extension};

use crate::{
    Error, FolderUse, Reading, Result,
    layout::{Paths, arrange},
    options::Kind as SourceKind,
    rows::{self, Beside, Row},
    split_words::split_named,
};
use unpack::Packing;

/// The extensions of archives, for messages.
pub const ARCHIVES: &str = if cfg!(feature = "zstd") {
    ".zip, .tar, .tar.gz, .tar.xz, .tar.bz2, .tar.zst"
} else {
    ".zip, .tar, .tar.gz, .tar.xz, .tar.bz2"
};

/// An archive with more entries than this is unlikely to be a data set, and the list may not fit
/// into memory.
const MOST_ENTRIES: usize = 20_000_000;

/// Whether a file's name is that of an archive: `.zip`, `.tar`, or `.tar` packed with gzip, xz,
/// bzip2 or zstd (`.tar.gz`, `.tgz`, `.tar.xz`, `.txz`, `.tar.bz2`, `.tbz2`, `.tbz`, `.tar.zst`,
/// `.tzst`).
pub fn is_archive(path: &Path) -> bool {
    kind(path).is_some()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zip,
    Tar,
    Packed(Packing),
}

const ENDINGS: [(&str, Kind); 11] = [
    (".zip", Kind::Zip),
    (".tar", Kind::Tar),
    (".tar.gz", Kind::Packed(Packing::Gzip)),
    (".tgz", Kind::Packed(Packing::Gzip)),
    (".tar.xz", Kind::Packed(Packing::Xz)),
    (".txz", Kind::Packed(Packing::Xz)),
    (".tar.bz2", Kind::Packed(Packing::Bzip2)),
    (".tbz2", Kind::Packed(Packing::Bzip2)),
    (".tbz", Kind::Packed(Packing::Bzip2)),
    (".tar.zst", Kind::Packed(Packing::Zstd)),
    (".tzst", Kind::Packed(Packing::Zstd)),
];

fn kind(path: &Path) -> Option<Kind> {
    ending(path).map(|(_, kind)| kind)
}

fn ending(path: &Path) -> Option<(&'static str, Kind)> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    ENDINGS.into_iter().find(|(ending, _)| name.ends_with(ending))
}

/// An archive's name without its ending.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let length = ending(path).map_or(0, |(ending, _)| ending.len());
    name[..name.len().saturating_sub(length)].to_owned()
}

/// Opens an archive of pictures, in the layouts of [`open_folder`](crate::open_folder), under any
/// number of common parent folders; or a WebDataset shard, in which files of one sample share a
/// name: `0001.jpg` and its label `0001.cls`, or `0001.json` with a field `label`, `class` or
/// `cls`.
///
/// Nothing is written, so paths that lead outside could do no harm; those that would (absolute
/// ones, `..`) are refused anyway, as such an archive is not what it claims to be. Links and other
/// special entries are ignored and counted. A picture that unpacks to more than the decoding limit
/// is a [finding](taper_picture::Finding), and is not unpacked further. Names in zip archives that
/// are not UTF-8 are Shift-JIS if all of them are Japanese in it, else CP437, as in `unzip`;
/// backslashes separate folders. A compressed tar has no index and cannot be read from the middle:
/// it is unpacked once, as a whole, into an unnamed temporary file (in `TMPDIR`), which is removed
/// with the data set. It may grow to 20 times its size and 1 GiB.
///
/// # Errors
/// [`Error::Archive`] if it is damaged, encrypted, or has paths that lead out of it; otherwise as
/// [`open_folder`](crate::open_folder).
pub fn open_archive(path: impl AsRef<Path>, reading: impl Into<Reading>) -> Result<Dataset> {
    open_archives(&[(path.as_ref(), None)], reading)
}

/// Opens several archives as one data set, each with the split that all of its pictures belong to,
/// if it has one; otherwise its name may say so, as in `train.zip` and `my-test-set.tar`.
///
/// # Errors
/// As [`open_archive`].
pub fn open_archives(
    archives: &[(&Path, Option<Split>)],
    reading: impl Into<Reading>,
) -> Result<Dataset> {
    let places: Vec<String> = archives.iter().map(|(path, _)| path.display().to_string()).collect();
    open_parts(&places.join(" + "), archives, &reading.into())
}

/// Several archives under one name. If an archive has a split, its ids are `SPLIT/CLASS/…`, without
/// the parent folders.
pub(crate) fn open_parts(
    name: &str,
    archives: &[(&Path, Option<Split>)],
    reading: &Reading,
) -> Result<Dataset> {
    reading.options.check(SourceKind::Folders, name)?;
    let mut source = Archives::default();
    let mut beside = Beside::default();
    let mut rows = Vec::new();
    for (path, split) in archives {
        let labelled = reading.purpose != FolderUse::Classify;
        let mut own = match source.add(path, labelled, &mut beside)? {
            Contents::Paths(paths) => arrange(path, paths, reading, &mut beside)?,
            Contents::Labelled(rows) => rows,
        };
        let unsplit = labelled && own.iter().all(|row| row.split.is_none());
        if let Some(split) = split {
            for row in &mut own {
                row.split = Some(*split);
                row.id = format!("{split}/{}", &row.id[row.packaging..]);
            }
        } else if archives.len() > 1 {
            let split = split_named(&stem(path)).filter(|_| unsplit);
            for row in &mut own {
                row.split = split.or(row.split);
                // Different archives may have the same names in them.
                row.id = format!("{}/{}", stem(path), row.id);
            }
        } else if let Some(split) = split_named(&stem(path)).filter(|_| unsplit) {
            if split == Split::Train || reading.purpose == FolderUse::Evaluate {
                own.iter_mut().for_each(|row| row.split = Some(split));
            } else {
                beside.remarks.push(format!(
                    "'{}' is the only archive, so that its pictures are used for training although its name says {split}",
                    path.display()
                ));
            }
        }
        rows.extend(own);
    }
    source.place = name.into();
    rows::dataset(name, rows, None, Arc::new(source), beside, reading)
}

/// What an archive has in it.
enum Contents {
    /// Files whose paths say what they are.
    Paths(Paths),
    /// Samples with labels.
    Labelled(Vec<Row>),
}

#[derive(Debug, Default)]
struct Archives {
    place: String,
    files: Vec<Opened>,
    /// By slot.
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Opened {
    Zip(ZipArchive<Window>),
    Tar(Window),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Which archive.
    file: u32,
    /// Zip: the entry's number. Tar: the offset of its content.
    at: u64,
    /// The unpacked size in bytes, as claimed by the archive.
    size: u64,
}

impl Archives {
    /// Lists an archive.
    fn add(&mut self, path: &Path, labelled: bool, beside: &mut Beside) -> Result<Contents> {
        let fail = |problem: String| Error::Archive { path: path.into(), problem };
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { path: path.into() },
            _ => Error::Io { path: path.into(), source },
        })?;
        let window = Window::new(file).map_err(|source| Error::Io { path: path.into(), source })?;
        let names = match kind(path) {
            Some(Kind::Zip) => self.add_zip(window, beside).map_err(fail)?,
            Some(Kind::Tar) => self.add_tar(window, beside).map_err(fail)?,
            Some(Kind::Packed(packing)) => {
                let unpacked = packing.unpack(window).map_err(fail)?;
                self.add_tar(unpacked, beside).map_err(fail)?
            }
            None => return Err(fail(format!("this is not an archive ({ARCHIVES})"))),
        };
        if labelled && webdataset::is_shard(&names) {
            let rows = webdataset::rows(self, &names, beside).map_err(fail)?;
            return Ok(Contents::Labelled(rows));
        }
        let mut paths = Paths::default();
        for (name, slot) in names {
            match file_kind(&name) {
                FileKind::Picture => paths.pictures.push((tidied(&name), slot)),
                FileKind::Foreign(format) => beside.findings.push(Finding {
                    path: name,
                    kind: DefectKind::Unsupported,
                    reason: format!(
                        "is a {format} file, which is not supported: convert it to JPEG or PNG"
                    ),
                    sample: None,
                }),
                FileKind::Other => beside.ignore(&name),
            }
        }
        Ok(Contents::Paths(paths))
    }

    fn read(&self, entry: Entry, limit: u64) -> std::result::Result<Vec<u8>, Defect> {
        let io = |e: String| Defect::new(DefectKind::Io, format!("cannot be read: {e}"));
        if entry.size > limit {
            return Err(too_large(limit));
        }
        let mut bytes = Vec::with_capacity(entry.size as usize);
        match self.files.get(entry.file as usize) {
            Some(Opened::Zip(archive)) => {
                // Cheap: the list of entries is shared.
                let mut archive = archive.clone();
                let file =
                    archive.by_index_raw(entry.at as usize).map_err(|e| io(e.to_string()))?;
                let (method, promised) = (file.compression(), file.crc32());
                let damaged = |what: &str| {
                    Defect::new(
                        DefectKind::Corrupt,
                        format!("is damaged within the archive: {what}"),
                    )
                };
                // The archive may claim less than it contains.
                let read = match method {
                    CompressionMethod::Stored => file.take(limit + 1).read_to_end(&mut bytes),
                    CompressionMethod::DEFLATE => {
                        DeflateDecoder::new(file).take(limit + 1).read_to_end(&mut bytes)
                    }
                    other => {
                        return Err(Defect::new(
                            DefectKind::Unsupported,
                            format!(
                                "is compressed in a way that is not supported ({other}): use deflate, or no compression"
                            ),
                        ));
                    }
                };
                read.map_err(|e| damaged(&e.to_string()))?;
                let mut sum = Crc::new();
                sum.update(&bytes);
                if bytes.len() as u64 <= limit && sum.sum() != promised {
                    return Err(damaged("its checksum does not match"));
                }
            }
            Some(Opened::Tar(window)) => {
                let mut window = window.clone();
                window.seek(SeekFrom::Start(entry.at)).map_err(|e| io(e.to_string()))?;
                window.take(entry.size).read_to_end(&mut bytes).map_err(|e| io(e.to_string()))?;
            }
            None => return Err(io("there is no such archive".into())),
        }
        if bytes.len() as u64 > limit {
            return Err(too_large(limit));
        }
        Ok(bytes)
    }
}

fn too_large(limit: u64) -> Defect {
    Defect::new(
        DefectKind::TooLarge,
        format!("unpacks to more than the limit of {} MiB: save it smaller", limit >> 20),
    )
}

/// What a name in an archive says about the file.
enum FileKind {
    Picture,
    Foreign(&'static str),
    Other,
}

fn file_kind(name: &str) -> FileKind {
    if name.split('/').any(|part| part.starts_with('.') && part != "." || part == "__MACOSX") {
        return FileKind::Other;
    }
    let Some((_, extension)) = name.rsplit_once('.') else { return FileKind::Other };
    let extension = extension.to_lowercase();
    if format_of_extension(&extension).is_some() {
        return FileKind::Picture;
    }
    foreign_format(&extension).map_or(FileKind::Other, FileKind::Foreign)
}

/// A path without empty parts and dots.
fn tidied(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    parts.join("/")
}

impl PictureSource for Archives {
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect> {
        let entry = self.entries.get(sample.slot).ok_or_else(|| {
            Defect::new(DefectKind::Io, "is not a picture in this archive".to_string())
        })?;
        self.read(*entry, limit).map(Content::Encoded)
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn bytes(&self, sample: &Sample) -> Option<u64> {
        self.entries.get(sample.slot).map(|entry| entry.size)
    }
}

#[cfg(test)]
mod tests;
