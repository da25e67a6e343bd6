use std::{fs::File, io, io::Read, path::Path};

use sha2::{Digest, Sha256};
use taper_core::hex;

/// The SHA-256 of a file's content in lower-case hexadecimal, read piece by piece.
///
/// # Errors
/// Any I/O error.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    absorb(&mut File::open(path)?, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

/// Reads to the end; returns the number of bytes.
pub(crate) fn absorb(file: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}
