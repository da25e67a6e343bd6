//! A file as several readers at positions of their own.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

/// A file that several threads read at positions of their own.
#[derive(Debug, Clone)]
pub struct Window {
    file: Arc<File>,
    at: u64,
    length: u64,
}

impl Window {
    /// A window at the file's beginning.
    ///
    /// # Errors
    /// If the file's length is not known.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), at: 0, length })
    }

    /// The file's length in bytes when it was opened.
    pub fn length(&self) -> u64 {
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
