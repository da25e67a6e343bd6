//! Several archives as one numbered list of members.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use ::zip::{CompressionMethod, ZipArchive};
use flate2::{Crc, read::DeflateDecoder};
use taper_data::Window;
use taper_picture::{Defect, DefectKind};

use crate::{
    ARCHIVES, Error, Result,
    kind::{Kind, content_of, kind},
};

/// An archive with more entries than this is unlikely to be a data set, and the list may not fit
/// into memory.
pub(crate) const MOST_ENTRIES: usize = 20_000_000;

/// What an archive has in it.
#[derive(Debug, Default)]
pub struct Listing {
    /// Its files: the path, with forward slashes and in one spelling (`a/x.png` for `./a//x.png`),
    /// and the number for [`Archives::read`].
    pub files: Vec<(String, usize)>,
    /// Symbolic links and other special entries, which are never read.
    pub special: Vec<String>,
    /// What was guessed about it, one sentence each.
    pub remarks: Vec<String>,
}

impl Listing {
    /// Keeps the last of several files with the same path, as unpacking does: newer versions of a
    /// file are appended to archives.
    pub(crate) fn keep_last(&mut self) {
        let mut last: HashMap<&str, usize> = HashMap::with_capacity(self.files.len());
        for (name, number) in &self.files {
            last.insert(name, *number);
        }
        if last.len() == self.files.len() {
            return;
        }
        let kept: Vec<bool> =
            self.files.iter().map(|(name, number)| last[name.as_str()] == *number).collect();
        let again = kept.iter().filter(|kept| !**kept).count();
        let example = kept.iter().position(|kept| !kept).map_or("", |at| &self.files[at].0);
        let remark = format!(
            "{again} file(s), such as '{example}', are in the archive more than once, and the last one counts, as when it is unpacked"
        );
        let mut kept = kept.into_iter();
        self.files.retain(|_| kept.next().unwrap_or(true));
        self.remarks.push(remark);
    }
}

/// Archives, with all of their files in one list.
#[derive(Debug, Default)]
pub struct Archives {
    pub(crate) files: Vec<Opened>,
    /// By number.
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(crate) enum Opened {
    Zip(ZipArchive<Window>),
    Tar(Window),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Which archive.
    pub(crate) file: u32,
    /// Zip: the entry's number. Tar: the offset of its content.
    pub(crate) at: u64,
    /// The unpacked size in bytes, as claimed by the archive.
    pub(crate) size: u64,
}

impl Archives {
    /// Lists an archive, by its name's ending, behind those before it.
    ///
    /// # Errors
    /// [`Error::Archive`] if it is damaged, encrypted, or has paths that lead out of it;
    /// [`Error::Missing`] and [`Error::Io`] for the file.
    pub fn add(&mut self, path: &Path) -> Result<Listing> {
        let fail = |problem: String| Error::Archive { path: path.into(), problem };
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { path: path.into() },
            _ => Error::Io { path: path.into(), source },
        };
        let window = Window::new(File::open(path).map_err(io)?).map_err(io)?;
        let mut head = Vec::new();
        window.clone().take(512).read_to_end(&mut head).map_err(io)?;
        if let Some(problem) = lfs_pointer(&head) {
            return Err(fail(problem.into()));
        }
        let own = kind(path);
        if let Some((what, endings)) = content_of(&head).filter(|_| own.is_some()) {
            let name = path.to_string_lossy().to_lowercase();
            if !endings.iter().any(|ending| name.ends_with(ending)) {
                let problem =
                    format!("this is {what}: rename it, so that it ends in {}", endings[0]);
                return Err(fail(problem));
            }
        }
        match own {
            Some(Kind::Zip) => self.add_zip(window).map_err(fail),
            Some(Kind::Tar) => self.add_tar(window).map_err(fail),
            Some(Kind::Packed(packing)) => {
                let unpacked = packing.unpack(window).map_err(fail)?;
                self.add_tar(unpacked).map_err(fail)
            }
            None => Err(fail(format!("this is not an archive ({ARCHIVES})"))),
        }
    }

    /// The unpacked size of a file in bytes, as its archive claims.
    pub fn size(&self, number: usize) -> Option<u64> {
        self.entries.get(number).map(|entry| entry.size)
    }

    /// The content of a file, of at most `limit` bytes, checked against its checksum.
    ///
    /// # Errors
    /// A [`Defect`] if it is larger, damaged, or packed in a way that is not supported.
    pub fn read(&self, number: usize, limit: u64) -> std::result::Result<Vec<u8>, Defect> {
        let entry = self.entry(number)?;
        if entry.size > limit {
            return Err(too_large(limit));
        }
        let mut bytes = Vec::with_capacity(entry.size as usize);
        // The archive may claim less than it contains.
        let promised = self.unpack(entry, limit + 1, &mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(too_large(limit));
        }
        let mut sum = Crc::new();
        sum.update(&bytes);
        if promised.is_some_and(|promised| sum.sum() != promised) {
            return Err(damaged("its checksum does not match"));
        }
        Ok(bytes)
    }

    /// The first bytes of a file, `most` or fewer.
    ///
    /// # Errors
    /// As [`Archives::read`].
    pub fn head(&self, number: usize, most: usize) -> std::result::Result<Vec<u8>, Defect> {
        let entry = self.entry(number)?;
        let mut bytes = Vec::with_capacity(most);
        self.unpack(entry, most as u64, &mut bytes)?;
        Ok(bytes)
    }

    fn entry(&self, number: usize) -> std::result::Result<Entry, Defect> {
        let known = self.entries.get(number).copied();
        known.ok_or_else(|| Defect::new(DefectKind::Io, "is not in this archive".to_string()))
    }

    /// Unpacks at most so many bytes; returns the checksum of all, if the archive knows it.
    fn unpack(
        &self,
        entry: Entry,
        most: u64,
        bytes: &mut Vec<u8>,
    ) -> std::result::Result<Option<u32>, Defect> {
        let io = |e: String| Defect::new(DefectKind::Io, format!("cannot be read: {e}"));
        match self.files.get(entry.file as usize) {
            Some(Opened::Zip(archive)) => {
                // Cheap: the list of entries is shared.
                let mut archive = archive.clone();
                let file =
                    archive.by_index_raw(entry.at as usize).map_err(|e| io(e.to_string()))?;
                let (method, promised) = (file.compression(), file.crc32());
                let read = match method {
                    CompressionMethod::Stored => file.take(most).read_to_end(bytes),
                    CompressionMethod::DEFLATE => {
                        DeflateDecoder::new(file).take(most).read_to_end(bytes)
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
                Ok(Some(promised))
            }
            Some(Opened::Tar(window)) => {
                let mut window = window.clone();
                window.seek(SeekFrom::Start(entry.at)).map_err(|e| io(e.to_string()))?;
                let most = most.min(entry.size);
                window.take(most).read_to_end(bytes).map_err(|e| io(e.to_string()))?;
                Ok(None)
            }
            None => Err(io("there is no such archive".into())),
        }
    }
}

/// What is wrong with a file, of any kind, that Git LFS has not fetched: it begins like this.
pub fn lfs_pointer(head: &[u8]) -> Option<&'static str> {
    head.starts_with(b"version https://git-lfs").then_some(
        "it is a pointer of Git LFS to the file, not the file: fetch the files with git lfs pull",
    )
}

fn damaged(what: &str) -> Defect {
    Defect::new(DefectKind::Corrupt, format!("is damaged within the archive: {what}"))
}

fn too_large(limit: u64) -> Defect {
    Defect::new(
        DefectKind::TooLarge,
        format!("unpacks to more than the limit of {} MiB: save it smaller", limit >> 20),
    )
}
