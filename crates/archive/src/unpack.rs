//! Compressed tar archives.

use std::io::{self, BufReader, Read, Write};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use taper_data::Window;

/// By what factor a compressed tar may grow when unpacked: pictures hardly compress, bombs compress
/// a thousandfold.
const MOST_GROWTH: u64 = 20;
/// An additional allowance, so that small archives of blank pictures do not count as bombs.
const ROOM: u64 = if cfg!(test) { 16 << 20 } else { 1 << 30 };
/// How much memory a decoder may take for its dictionary, in KiB: what the strongest settings of
/// `xz` need, and twice as much.
const MOST_MEMORY: u32 = 128 << 10;

/// How a tar archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Bzip2,
    Zstd,
}

impl Packing {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
        }
    }

    fn reader(self, window: Window) -> io::Result<Box<dyn Read>> {
        let window = BufReader::new(window);
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(window)),
            Self::Xz => Box::new(XzReader::new_mem_limit(window, true, MOST_MEMORY)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(window)),
            #[cfg(feature = "zstd")]
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(window)?),
            #[cfg(not(feature = "zstd"))]
            Self::Zstd => {
                let problem = "this build cannot read zstd (feature 'zstd')";
                return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
            }
        })
    }

    /// Unpacks into a file that no other process can see.
    pub(crate) fn unpack(self, window: Window) -> Result<Window, String> {
        let most = window.length().saturating_mul(MOST_GROWTH).saturating_add(ROOM);
        let name = self.name();
        let place = || std::env::temp_dir().display().to_string();
        let room = |e: io::Error| {
            format!(
                "it cannot be unpacked into {} ({e}): unpack it elsewhere, or set TMPDIR",
                place()
            )
        };
        let damaged = |e: io::Error| match e.kind() {
            io::ErrorKind::Unsupported => e.to_string(),
            _ => {
                format!("the archive, packed with {name}, is damaged ({e}): fetch or copy it again")
            }
        };
        let mut out = tempfile::tempfile().map_err(room)?;
        let mut unpacked = self.reader(window).map_err(damaged)?;
        let (mut buffer, mut total) = (vec![0; 1 << 18], 0);
        loop {
            let n = unpacked.read(&mut buffer).map_err(damaged)?;
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
            out.write_all(&buffer[..n]).map_err(room)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use crate::Archives;

    #[test]
    fn a_bomb_is_not_unpacked() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("bomb.tgz");
        let fast = flate2::Compression::fast();
        let mut bomb = flate2::write::GzEncoder::new(File::create(&path).unwrap(), fast);
        let zeros = vec![0; 1 << 20];
        for _ in 0..32 {
            bomb.write_all(&zeros).unwrap();
        }
        bomb.finish().unwrap();
        let error = Archives::default().add(&path).unwrap_err().to_string();
        assert!(error.contains("malicious"), "{error}");
    }
}
