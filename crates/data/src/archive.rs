//! Archives as sources: zip and tar are read in place; nothing is unpacked to disk.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use flate2::{
    Crc,
    read::{DeflateDecoder, MultiGzDecoder},
};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

use crate::{
    Content, Dataset, Error, FolderUse, PictureSource, Result, Sample,
    layout::{self, Beside},
};
use taper_picture::{Defect, DefectKind};

/// An archive with more entries than this is unlikely to be a data set, and the list may not fit
/// into memory.
const MOST_ENTRIES: usize = 20_000_000;

/// By what factor a gzipped tar may grow when unpacked: pictures hardly compress, bombs compress a
/// thousandfold.
const MOST_GROWTH: u64 = 20;
/// An additional allowance, so that small archives of blank pictures do not count as bombs.
const ROOM: u64 = if cfg!(test) { 16 << 20 } else { 1 << 30 };

/// Whether a file's name is that of an archive: `.zip`, `.tar`, `.tar.gz` or `.tgz`.
pub fn is_archive(path: &Path) -> bool {
    kind(path).is_some()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zip,
    Tar,
    TarGz,
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    if name.ends_with(".zip") {
        Some(Kind::Zip)
    } else if name.ends_with(".tar") {
        Some(Kind::Tar)
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        Some(Kind::TarGz)
    } else {
        None
    }
}

/// Opens a zip or tar archive of pictures, in the layouts of [`open_folder`](crate::open_folder),
/// under any number of common parent folders. Its pictures are read in place.
///
/// Nothing is ever written, so paths that lead outside could do no harm; those that would (absolute
/// ones, `..`) are refused anyway, as such an archive is not what it claims to be. Links and other
/// special entries are ignored and counted. A picture that unpacks to more than the decoding limit
/// is a [finding](taper_picture::Finding), and is not unpacked further. A gzipped tar has no index
/// and cannot be read from the middle: it is unpacked once, as a whole, into an unnamed temporary
/// file (in `TMPDIR`), which is removed with the data set. It may grow to 20 times its size and 1
/// GiB.
///
/// # Errors
/// [`Error::Archive`] if it is damaged, encrypted, or has paths that lead out of it; otherwise as
/// [`open_folder`](crate::open_folder).
pub fn open_archive(path: impl AsRef<Path>, purpose: FolderUse) -> Result<Dataset> {
    open_archives(&[(path.as_ref(), None)], purpose)
}

/// Opens several archives as one data set, each with the split that all of its pictures belong to,
/// if it has one.
///
/// # Errors
/// As [`open_archive`].
pub fn open_archives(
    archives: &[(&Path, Option<taper_core::Split>)],
    purpose: FolderUse,
) -> Result<Dataset> {
    let places: Vec<String> = archives.iter().map(|(path, _)| path.display().to_string()).collect();
    open_parts(&places.join(" + "), archives, purpose)
}

/// Several archives under one name. If an archive has a split, its ids are `SPLIT/CLASS/…`, without
/// the parent folders.
pub(crate) fn open_parts(
    name: &str,
    archives: &[(&Path, Option<taper_core::Split>)],
    purpose: FolderUse,
) -> Result<Dataset> {
    let mut source = Archives::default();
    let mut beside = Beside::default();
    let mut rows = Vec::new();
    for (path, split) in archives {
        let place = path.display().to_string();
        let entries = source.add(path, &mut beside)?;
        let mut own = layout::arrange(&place, entries, &mut beside)?;
        if let Some(split) = split {
            for row in &mut own {
                row.split = Some(*split);
                row.id = format!("{split}/{}", &row.id[row.packaging..]);
            }
        }
        rows.extend(own);
    }
    source.place = name.into();
    layout::dataset(name, rows, None, Arc::new(source), beside, purpose)
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
    /// Lists an archive: names and slots of its files.
    fn add(&mut self, path: &Path, beside: &mut Beside) -> Result<Vec<(String, usize)>> {
        let fail = |problem: String| Error::Archive { path: path.into(), problem };
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { path: path.into() },
            _ => Error::Io { path: path.into(), source },
        })?;
        let window = Window::new(file).map_err(|source| Error::Io { path: path.into(), source })?;
        match kind(path) {
            Some(Kind::Zip) => self.add_zip(window, beside).map_err(fail),
            Some(Kind::Tar) => self.add_tar(window, beside).map_err(fail),
            Some(Kind::TarGz) => {
                let unpacked = gunzip(window).map_err(fail)?;
                self.add_tar(unpacked, beside).map_err(fail)
            }
            None => Err(fail("this is not a zip or tar archive".into())),
        }
    }

    fn add_zip(
        &mut self,
        window: Window,
        beside: &mut Beside,
    ) -> std::result::Result<Vec<(String, usize)>, String> {
        let damaged =
            |e: ZipError| format!("the zip archive is damaged ({e}): fetch or copy it again");
        let mut archive = ZipArchive::new(window).map_err(damaged)?;
        let number = self.files.len() as u32;
        let mut names = Vec::new();
        for at in 0..archive.len() {
            let entry = archive.by_index_raw(at).map_err(damaged)?;
            let name = name_of(entry.name_raw());
            if entry.is_dir() {
                continue;
            }
            if entry.is_symlink() || !entry.is_file() {
                beside.ignore(&name);
                continue;
            }
            check_name(&name)?;
            if entry.encrypted() {
                return Err(format!(
                    "'{name}' is encrypted: unpack the archive into a folder, and give that"
                ));
            }
            names.push((name, self.entries.len()));
            self.entries.push(Entry { file: number, at: at as u64, size: entry.size() });
        }
        self.files.push(Opened::Zip(archive));
        Ok(names)
    }

    fn add_tar(
        &mut self,
        window: Window,
        beside: &mut Beside,
    ) -> std::result::Result<Vec<(String, usize)>, String> {
        let damaged =
            |e: io::Error| format!("the tar archive is damaged ({e}): fetch or copy it again");
        let number = self.files.len() as u32;
        let length = window.length;
        let mut archive = tar::Archive::new(BufReader::new(window.clone()));
        let mut names = Vec::new();
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let name = name_of(&entry.path_bytes());
            match entry.header().entry_type() {
                tar::EntryType::Directory => continue,
                tar::EntryType::Regular | tar::EntryType::Continuous => {}
                _ => {
                    beside.ignore(&name);
                    continue;
                }
            }
            check_name(&name)?;
            let (at, size) = (entry.raw_file_position(), entry.size());
            if at.checked_add(size).is_none_or(|end| end > length) {
                return Err(format!(
                    "the tar archive ends within '{name}': fetch or copy it again"
                ));
            }
            if self.entries.len() >= MOST_ENTRIES {
                return Err(format!("it has more than {MOST_ENTRIES} files: split it"));
            }
            names.push((name, self.entries.len()));
            self.entries.push(Entry { file: number, at, size });
        }
        self.files.push(Opened::Tar(window));
        Ok(names)
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

/// Unpacks into a file that no other process can see.
fn gunzip(window: Window) -> std::result::Result<Window, String> {
    let most = window.length.saturating_mul(MOST_GROWTH).saturating_add(ROOM);
    let place = || std::env::temp_dir().display().to_string();
    let room = |e: io::Error| {
        format!("it cannot be unpacked into {} ({e}): gunzip it elsewhere, or set TMPDIR", place())
    };
    let mut out = tempfile::tempfile().map_err(room)?;
    let mut unpacked = MultiGzDecoder::new(BufReader::new(window));
    let (mut buffer, mut total) = (vec![0; 1 << 18], 0);
    loop {
        let n = unpacked
            .read(&mut buffer)
            .map_err(|e| format!("the gzipped archive is damaged ({e}): fetch or copy it again"))?;
        if n == 0 {
            return Window::new(out).map_err(room);
        }
        total += n as u64;
        if total > most {
            return Err(format!(
                "it unpacks to more than {} MiB, which no pictures do: it is malicious, or contains something else",
                most >> 20
            ));
        }
        io::Write::write_all(&mut out, &buffer[..n]).map_err(room)?;
    }
}

fn too_large(limit: u64) -> Defect {
    Defect::new(
        DefectKind::TooLarge,
        format!("unpacks to more than the limit of {} MiB: save it smaller", limit >> 20),
    )
}

/// A name as text: bytes that are not UTF-8 as `\xHH`; forward slashes.
fn name_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Refuses names that would lead out of the archive.
fn check_name(name: &str) -> std::result::Result<(), String> {
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.starts_with(['/', '\\'])
        || drive
        || name.split(['/', '\\']).any(|part| part == "..")
        || name.contains('\0')
    {
        let name: String = name.chars().take(120).collect();
        return Err(format!(
            "it contains '{}', a path that leads out of the archive: such archives are malicious, and this one is refused",
            name.escape_debug()
        ));
    }
    Ok(())
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

/// A file that several threads read at positions of their own.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    file: Arc<File>,
    at: u64,
    length: u64,
}

impl Window {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), at: 0, length })
    }

    #[cfg(feature = "parquet")]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

impl Read for Window {
    #[cfg(unix)]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }

    #[cfg(windows)]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::windows::fs::FileExt;
        let n = self.file.seek_read(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::{io::Write, path::PathBuf};
    use zip::{ZipWriter, write::SimpleFileOptions};

    fn pack_zip(path: &Path, files: &[(&str, Vec<u8>)], method: CompressionMethod) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in files {
            let options = SimpleFileOptions::default().compression_method(method);
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    fn pack_tar(path: &Path, files: &[(&str, Vec<u8>)]) {
        let mut tar = tar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            // Names that `set_path` would refuse are written as they are.
            let old = header.as_old_mut();
            old.name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, bytes.as_slice()).unwrap();
        }
        tar.finish().unwrap();
    }

    fn pictures() -> Vec<(&'static str, Vec<u8>)> {
        let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
        vec![
            ("set/train/a/1.jpg", jpeg(0, 0)),
            ("set/train/b/2.jpg", jpeg(1, 1)),
            ("set/train/b/notes.txt", b"hello".into()),
            ("set/test/a/3.jpg", jpeg(0, 2)),
            ("set/test/b/4.jpg", jpeg(1, 3)),
        ]
    }

    fn temporary(name: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        (root, path)
    }

    #[test]
    fn archives_are_read_where_they_lie() {
        let (_root, zip) = temporary("x.zip");
        pack_zip(&zip, &pictures(), CompressionMethod::Deflated);
        let (_root2, stored) = temporary("x.zip");
        pack_zip(&stored, &pictures(), CompressionMethod::Stored);
        let (_root3, tar) = temporary("x.tar");
        pack_tar(&tar, &pictures());
        for path in [zip, stored, tar] {
            let dataset = open_archive(&path, FolderUse::Train).unwrap();
            let ids: Vec<&str> = dataset.samples().iter().map(|s| s.id.as_str()).collect();
            assert_eq!(
                ids,
                ["set/test/a/3.jpg", "set/test/b/4.jpg", "set/train/a/1.jpg", "set/train/b/2.jpg"]
            );
            assert!(dataset.verify().is_empty());
            assert_eq!(dataset.ignored().count, 1);
            let pictures = pictures();
            for (index, sample) in dataset.samples().iter().enumerate() {
                let Ok(Content::Encoded(bytes)) = dataset.fetch(index) else { panic!() };
                let original = pictures.iter().find(|(name, _)| *name == sample.id).unwrap();
                assert_eq!(bytes, original.1);
                assert_eq!(dataset.bytes(index), Some(original.1.len() as u64));
            }
            assert!(dataset.file(0).is_none());
        }
    }

    fn gzip(from: &Path, to: &Path) {
        let mut gz = flate2::write::GzEncoder::new(File::create(to).unwrap(), Default::default());
        io::copy(&mut File::open(from).unwrap(), &mut gz).unwrap();
        gz.finish().unwrap();
    }

    #[test]
    fn a_gzipped_tar_is_that_tar_and_a_bomb_is_not_unpacked() {
        let (root, tar) = temporary("x.tar");
        pack_tar(&tar, &pictures());
        let plain = open_archive(&tar, FolderUse::Train).unwrap();
        let gz = root.path().join("x.TAR.gz");
        gzip(&tar, &gz);
        let packed = open_archive(&gz, FolderUse::Train).unwrap();
        assert_eq!(packed.samples(), plain.samples());
        assert_eq!(packed.content_digest(), plain.content_digest());
        let bytes = std::fs::read(&gz).unwrap();
        std::fs::write(&gz, &bytes[..bytes.len() / 2]).unwrap();
        let error = open_archive(&gz, FolderUse::Train).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("again"), "{error}");

        // 32 MiB of zeros.
        let mut bomb = flate2::write::GzEncoder::new(
            File::create(root.path().join("bomb.tgz")).unwrap(),
            flate2::Compression::fast(),
        );
        let zeros = vec![0; 1 << 20];
        for _ in 0..32 {
            bomb.write_all(&zeros).unwrap();
        }
        bomb.finish().unwrap();
        let error = open_archive(root.path().join("bomb.tgz"), FolderUse::Train).unwrap_err();
        assert!(error.to_string().contains("malicious"), "{error}");
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in
            ["../evil/a/1.jpg", "a/../../1.jpg", "/etc/a/1.jpg", "C:/a/1.jpg", "a\\..\\b/1.jpg"]
        {
            let files = [(name, fixture::jpeg(&fixture::picture(0, 0, 8, 8)).unwrap())];
            let (_root, tar) = temporary("x.tar");
            pack_tar(&tar, &files);
            let error = open_archive(&tar, FolderUse::Evaluate).unwrap_err().to_string();
            assert!(error.contains("leads out"), "{name}: {error}");
            let (_root, zip) = temporary("x.zip");
            pack_zip(&zip, &files, CompressionMethod::Stored);
            match open_archive(&zip, FolderUse::Evaluate) {
                Err(error) => assert!(error.to_string().contains("leads out"), "{error}"),
                // The writer may have made it harmless.
                Ok(dataset) => assert!(!dataset.samples()[0].id.contains("..")),
            }
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let (_root, zip) = temporary("bomb.zip");
        let files = [("a/1.jpg", vec![0u8; 64 << 20]), ("b/2.jpg", pictures()[0].1.clone())];
        pack_zip(&zip, &files, CompressionMethod::Deflated);
        assert!(std::fs::metadata(&zip).unwrap().len() < 200_000);
        let options = taper_picture::DecodeOptions { max_bytes: 1 << 20, ..Default::default() };
        let dataset = open_archive(&zip, FolderUse::Train).unwrap().with_decode_options(options);
        assert_eq!(dataset.fetch(0).unwrap_err().kind, DefectKind::TooLarge);
        assert!(dataset.read(1).is_ok());
    }

    #[test]
    fn damage_links_and_gzip_have_clear_answers() {
        let (_root, zip) = temporary("x.zip");
        pack_zip(&zip, &pictures(), CompressionMethod::Deflated);
        let bytes = std::fs::read(&zip).unwrap();
        std::fs::write(&zip, &bytes[..bytes.len() / 2]).unwrap();
        let error = open_archive(&zip, FolderUse::Train).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("again"), "{error}");

        let (_root, tar) = temporary("x.tar");
        pack_tar(&tar, &pictures());
        let bytes = std::fs::read(&tar).unwrap();
        std::fs::write(&tar, &bytes[..700]).unwrap();
        let error = open_archive(&tar, FolderUse::Train).unwrap_err().to_string();
        assert!(error.contains("again"), "{error}");

        let (_root, gz) = temporary("x.tar.gz");
        std::fs::write(&gz, b"x").unwrap();
        let error = open_archive(&gz, FolderUse::Train).unwrap_err().to_string();
        assert!(error.contains("gzipped archive is damaged"), "{error}");

        let (_root, tar) = temporary("x.tar");
        let mut builder = tar::Builder::new(File::create(&tar).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "a/link.jpg", "/etc/passwd").unwrap();
        let jpeg = pictures()[0].1.clone();
        for name in ["a/1.jpg", "b/2.jpg"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(jpeg.len() as u64);
            builder.append_data(&mut header, name, jpeg.as_slice()).unwrap();
        }
        builder.finish().unwrap();
        drop(builder);
        let dataset = open_archive(&tar, FolderUse::Train).unwrap();
        assert_eq!((dataset.len(), dataset.ignored().count), (2, 1));
    }
}
