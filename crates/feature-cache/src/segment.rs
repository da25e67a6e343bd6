//! One file of rows: see the crate's documentation for its form.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};

use crate::Key;

const MAGIC: &[u8; 8] = b"TAPERFC1";
const HEAD: usize = MAGIC.len() + 4 + 4;
const CHECKSUM: usize = 4;

/// A file that is open for reading. Stays readable when another process removes it.
#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    width: usize,
    rows: usize,
}

impl Segment {
    /// Opens a file and returns its keys; none if it is truncated, damaged or of another width.
    pub(crate) fn open(path: &Path, width: usize) -> io::Result<Option<(Self, Vec<Key>)>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut head = [0; HEAD];
        if length < HEAD as u64 || file.read_exact(&mut head).is_err() {
            return Ok(None);
        }
        let word = |at: usize| {
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize
        };
        let (found, rows) = (word(MAGIC.len()), word(MAGIC.len() + 4));
        let segment = Self { file, width, rows };
        // The length also bounds what is read below.
        if &head[..MAGIC.len()] != MAGIC || found != width || length != segment.start(rows) {
            return Ok(None);
        }
        let mut keys = vec![0; rows * size_of::<Key>() + CHECKSUM];
        (&segment.file).read_exact(&mut keys)?;
        let (keys, checksum) = keys.split_at(rows * size_of::<Key>());
        let mut hash = crc32fast::Hasher::new();
        hash.update(&head);
        hash.update(keys);
        if hash.finalize().to_le_bytes() != checksum {
            return Ok(None);
        }
        let keys = keys.as_chunks::<32>().0.to_vec();
        Ok(Some((segment, keys)))
    }

    /// Where a row begins.
    fn start(&self, row: usize) -> u64 {
        let keys = HEAD + self.rows * size_of::<Key>() + CHECKSUM;
        keys as u64 + row as u64 * (CHECKSUM + 4 * self.width) as u64
    }

    /// Reads a row; false if it is damaged or cannot be read.
    pub(crate) fn read(&mut self, row: usize, buffer: &mut Vec<u8>, out: &mut [f32]) -> bool {
        buffer.resize(CHECKSUM + 4 * self.width, 0);
        let start = self.start(row);
        if self.file.seek(SeekFrom::Start(start)).is_err() || self.file.read_exact(buffer).is_err()
        {
            return false;
        }
        let (checksum, values) = buffer.split_at(CHECKSUM);
        if crc32fast::hash(values).to_le_bytes() != checksum {
            return false;
        }
        for (out, bytes) in out.iter_mut().zip(values.as_chunks::<4>().0) {
            *out = f32::from_le_bytes(*bytes);
        }
        true
    }

    /// Notes that the file is in use, for eviction.
    pub(crate) fn touch(&self) {
        // Where the time cannot be set, the file may be evicted a little early.
        let _ = self.file.set_modified(std::time::SystemTime::now());
    }
}

/// Writes rows to a file.
pub(crate) fn write(file: &File, width: usize, keys: &[Key], values: &[f32]) -> io::Result<()> {
    let too_many = |_| io::Error::other("too many rows for one segment");
    let mut hash = crc32fast::Hasher::new();
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&u32::try_from(width).map_err(too_many)?.to_le_bytes());
    head.extend_from_slice(&u32::try_from(keys.len()).map_err(too_many)?.to_le_bytes());
    for part in [&head, keys.as_flattened()] {
        hash.update(part);
        out.write_all(part)?;
    }
    out.write_all(&hash.finalize().to_le_bytes())?;
    let mut row = Vec::with_capacity(4 * width);
    for values in values.chunks_exact(width) {
        row.clear();
        values.iter().for_each(|v| row.extend_from_slice(&v.to_le_bytes()));
        out.write_all(&crc32fast::hash(&row).to_le_bytes())?;
        out.write_all(&row)?;
    }
    out.flush()
}
