use std::path::Path;

use crate::{Error, Result};

/// [`taper_core::file::write_atomically`], whose error names the file.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    taper_core::file::write_atomically(path, content).map_err(Error::io("write", path))
}
