//! Tar archives.

use std::{
    collections::HashMap,
    io::{self, BufReader},
};

use taper_data::Window;

use crate::{
    Archives, Listing,
    archives::{Entry, MOST_ENTRIES, Opened},
    names::{check_name, tidied, with_escapes},
};

impl Archives {
    /// Lists a tar archive.
    pub(crate) fn add_tar(&mut self, window: Window) -> Result<Listing, String> {
        let damaged =
            |e: io::Error| format!("the tar archive is damaged ({e}): fetch or copy it again");
        let number = self.files.len() as u32;
        let length = window.length();
        let mut archive = ::tar::Archive::new(BufReader::new(window.clone()));
        let mut listing = Listing::default();
        // The numbers of the first `known` files by name, for hard links.
        let (mut numbers, mut known) = (HashMap::new(), 0);
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let name = with_escapes(&entry.path_bytes());
            match entry.header().entry_type() {
                ::tar::EntryType::Directory => continue,
                ::tar::EntryType::Regular | ::tar::EntryType::Continuous => {}
                // A second name of a file that the archive has already: it has its content.
                ::tar::EntryType::Link => {
                    let target = entry.link_name_bytes().map(|target| with_escapes(&target));
                    let target = target.map(|target| tidied(&target));
                    check_name(&name)?;
                    for (own, number) in &listing.files[known..] {
                        numbers.insert(own.clone(), *number);
                    }
                    known = listing.files.len();
                    match target.and_then(|target| numbers.get(&target).copied()) {
                        Some(number) if self.entries.len() < MOST_ENTRIES => {
                            let Entry { file, at, size } = self.entries[number];
                            listing.files.push((tidied(&name), self.entries.len()));
                            self.entries.push(Entry { file, at, size });
                        }
                        _ => listing.special.push(name),
                    }
                    continue;
                }
                _ => {
                    listing.special.push(name);
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
            listing.files.push((tidied(&name), self.entries.len()));
            self.entries.push(Entry { file: number, at, size });
        }
        listing.keep_last();
        self.files.push(Opened::Tar(window));
        Ok(listing)
    }
}
