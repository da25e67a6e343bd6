//! Zip archives.

use zip::{ZipArchive, result::ZipError};

use taper_data::Window;

use crate::{
    Archives, Listing,
    archives::{Entry, Opened},
    names::{Encoding, check_name, tidied},
};

impl Archives {
    /// Lists a zip archive.
    pub(crate) fn add_zip(&mut self, window: Window) -> Result<Listing, String> {
        let damaged =
            |e: ZipError| format!("the zip archive is damaged ({e}): fetch or copy it again");
        let mut archive = ZipArchive::new(window).map_err(damaged)?;
        let number = self.files.len() as u32;
        let mut raw = Vec::new();
        for at in 0..archive.len() {
            let entry = archive.by_index_raw(at).map_err(damaged)?;
            if !entry.name_raw().is_ascii() {
                raw.push(entry.name_raw().to_vec());
            }
        }
        let encoding = Encoding::of(&raw);
        let (mut listing, mut backslashes) = (Listing::default(), false);
        for at in 0..archive.len() {
            let entry = archive.by_index_raw(at).map_err(damaged)?;
            let name = encoding.decode(entry.name_raw(), || Ok(entry.name()?.into_owned()));
            let name = name.map_err(damaged)?;
            backslashes |= name.contains('\\');
            let name = name.replace('\\', "/");
            if entry.is_dir() || name.ends_with('/') {
                continue;
            }
            if entry.is_symlink() || !entry.is_file() {
                listing.special.push(name);
                continue;
            }
            check_name(&name)?;
            if entry.encrypted() {
                return Err(format!(
                    "'{name}' is encrypted: unpack the archive into a folder, and give that"
                ));
            }
            listing.files.push((tidied(&name), self.entries.len()));
            self.entries.push(Entry { file: number, at: at as u64, size: entry.size() });
        }
        listing.keep_last();
        listing.remarks.extend(encoding.remark());
        if backslashes {
            listing.remarks.push(
                "the zip archive has backslashes in its paths, which are read as separators".into(),
            );
        }
        self.files.push(Opened::Zip(archive));
        Ok(listing)
    }
}
