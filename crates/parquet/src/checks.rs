//! What is checked before the underlying reader sees a file.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use bytes::Bytes;
use parquet::{
    errors::ParquetError,
    file::reader::{ChunkReader, Length},
};
use taper_data::Window;

use crate::thrift::Walker;

/// The largest unpacked size of a page in bytes: a picture within the limits, and some more.
const MOST_PAGE: u64 = 320 << 20;

/// A file that several threads read at positions of their own: unlike `File`, whose clones share
/// their position.
pub(crate) struct Chunks(pub(crate) Window);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.length()
    }
}

/// A window whose end is an error: the underlying reader skips as many bytes as a damaged header
/// claims, and at the end of the data would do so for hours. The pages are always followed by the
/// footer, so no valid read reaches the end.
pub(crate) struct Unending(Window);

impl Read for Unending {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Unending>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let mut window = self.0.clone();
        window.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(Unending(window)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        // Before memory is asked for.
        if end.is_none_or(|end| end > self.0.length()) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes from {start} are beyond its end"
            )));
        }
        let mut window = self.0.clone();
        window.seek(SeekFrom::Start(start))?;
        let mut buffer = vec![0; length];
        window.read_exact(&mut buffer)?;
        Ok(buffer.into())
    }
}

fn rest(window: &Window, start: u64) -> BufReader<Unending> {
    let mut window = window.clone();
    // Seeking within a window cannot fail.
    let _ = window.seek(SeekFrom::Start(start));
    BufReader::new(Unending(window))
}

/// The file's metadata lie before its last eight bytes: their length, and the magic.
pub(crate) fn check_footer(window: &Window) -> Result<(), String> {
    let short = || "it is not a Parquet file".to_string();
    let end = window.length().checked_sub(8).ok_or_else(short)?;
    let mut last = [0; 8];
    rest(window, end).read_exact(&mut last).map_err(|_| short())?;
    let [a, b, c, d, magic @ ..] = last;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let start = end.checked_sub(length).filter(|_| magic == *b"PAR1").ok_or_else(short)?;
    Walker::new(rest(window, start), length).numbers().map(drop)
}

/// Checks every page of a column: its header, and its claimed unpacked size.
pub(crate) fn check_pages(window: &Window, start: u64, length: u64) -> Result<(), String> {
    let end = start.checked_add(length).filter(|end| *end <= window.length());
    let end = end.ok_or("a column ends beyond the file")?;
    let mut at = start;
    while at < end {
        let mut walker = Walker::new(rest(window, at), end - at);
        let numbers = walker.numbers()?;
        let field = |id| {
            let value = numbers.iter().find(|(own, _)| *own == id).map(|(_, value)| *value);
            value.and_then(|value| u64::try_from(value).ok()).ok_or("a page has no size")
        };
        // As in `PageHeader` of parquet.thrift.
        let (unpacked, packed) = (field(2)?, field(3)?);
        if unpacked > MOST_PAGE {
            return Err(format!("a page unpacks to {} MiB", unpacked >> 20));
        }
        at = at.saturating_add(walker.len()).saturating_add(packed);
    }
    Ok(())
}
