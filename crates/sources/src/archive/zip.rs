//! Zip archives.

use zip::{ZipArchive, result::ZipError};

use taper_data::Window;

use super::{
    Archives, Entry, Opened,
    names::{self, check_name},
};
use crate::rows::Beside;

impl Archives {
    /// Lists a zip archive: names and slots of its files.
    pub(super) fn add_zip(
        &mut self,
        window: Window,
        beside: &mut Beside,
    ) -> Result<Vec<(String, usize)>, String> {
        let damaged =
            |e: ZipError| format!("the zip archive is damaged ({e}): fetch or copy it again");
        let mut archive = ZipArchive::new(window).map_err(damaged)?;
        let number = self.files.len() as u32;
        let mut raw = Vec::new();
        for at in 0..archive.len() {
            let entry = archive.by_index_raw(at).map_err(damaged)?;
            if entry.name_raw().iter().any(|byte| *byte >= 0x80) {
                raw.push(entry.name_raw().to_vec());
            }
        }
        let japanese = names::are_shift_jis(&raw);
        let (mut listed, mut backslashes) = (Vec::new(), false);
        for at in 0..archive.len() {
            let entry = archive.by_index_raw(at).map_err(damaged)?;
            let name = names::of_zip(&entry, japanese).map_err(damaged)?;
            backslashes |= name.contains('\\');
            let name = name.replace('\\', "/");
            if entry.is_dir() || name.ends_with('/') {
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
            listed.push((name, self.entries.len()));
            self.entries.push(Entry { file: number, at: at as u64, size: entry.size() });
        }
        if backslashes {
            beside.remarks.push(
                "the zip archive has backslashes in its paths, which are read as separators".into(),
            );
        }
        self.files.push(Opened::Zip(archive));
        Ok(listed)
    }
}
