//! Named data sets on the network, in archives with known digests.

use std::path::{Path, PathBuf};

use taper_core::Split;
use taper_fetch::{RemoteFile, Watching, download};

use taper_data::Dataset;

use crate::{FolderUse, Result, archive::open_parts};

/// An archive of a [`KnownSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownArchive {
    /// Its name, on the server and on disk.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The split that all of its pictures belong to.
    pub split: Split,
}

/// A data set in archives on the network.
///
/// Archives are read in place: nothing is unpacked. A picture's file name never decides its split
/// or class; only the archive and the folder do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSet {
    /// The name.
    pub name: String,
    /// The base URL for the archives' names; ends with a slash.
    pub base: String,
    /// The archives.
    pub archives: Vec<KnownArchive>,
}

impl KnownSet {
    /// Laurence Moroney's *Rock, Paper, Scissors Dataset* (2019, CC BY 2.0): 840 training and 124
    /// test pictures of each class, 300 × 300, rendered hands on white. Sizes and digests as
    /// TensorFlow Datasets records them.
    pub fn rock_paper_scissors() -> Self {
        let archive = |file: &str, bytes, sha256: &str, split| KnownArchive {
            file: file.into(),
            bytes,
            sha256: sha256.into(),
            split,
        };
        Self {
            name: "rock-paper-scissors".into(),
            base: "https://storage.googleapis.com/download.tensorflow.org/data/".into(),
            archives: vec![
                archive(
                    "rps.zip",
                    200_682_221,
                    "c2403444395842ad04c53612bad54b574443eae17a0723117a2ff87b9d72194f",
                    Split::Train,
                ),
                archive(
                    "rps-test-set.zip",
                    29_516_758,
                    "c27ab9fa43ce40b2e453de711365b477f4424586edf0388116674fd320f07503",
                    Split::Test,
                ),
            ],
        }
    }

    /// The same archives at another address, such as a mirror's.
    #[must_use]
    pub fn at(mut self, base: &str) -> Self {
        self.base = format!("{}/", base.trim_end_matches('/'));
        self
    }

    /// The total size of the archives in bytes.
    pub fn bytes(&self) -> u64 {
        self.archives.iter().map(|a| a.bytes).sum()
    }

    /// Opens the set from archives in `folder/NAME`; those that are not there are downloaded first.
    /// Pictures are named `SPLIT/CLASS/FILE`, as in a folder of that layout.
    ///
    /// # Errors
    /// As [`taper_fetch::download`] and [`open_archive`](crate::open_archive).
    pub fn open(
        &self,
        folder: &Path,
        purpose: FolderUse,
        watching: &Watching<'_>,
    ) -> Result<Dataset> {
        let folder = folder.join(&self.name);
        let mut before = 0;
        let mut paths = Vec::new();
        for archive in &self.archives {
            let file = RemoteFile {
                url: format!("{}{}", self.base, archive.file),
                name: archive.file.clone(),
                bytes: archive.bytes,
                sha256: archive.sha256.clone(),
            };
            let progress = |bytes| (watching.progress)(before + bytes);
            let own = Watching { progress: &progress, ..*watching };
            paths.push(download(&file, &folder, &own)?);
            before += archive.bytes;
            (watching.progress)(before);
        }
        self.open_archives(&paths, purpose)
    }

    /// Whether all archives are in `folder/NAME`, as far as their sizes tell.
    pub fn is_in(&self, folder: &Path) -> bool {
        let folder = folder.join(&self.name);
        self.archives.iter().all(|archive| {
            std::fs::metadata(folder.join(&archive.file)).is_ok_and(|m| m.len() == archive.bytes)
        })
    }

    /// Opens archives that are there already, in the order of [`KnownSet::archives`].
    ///
    /// # Errors
    /// As [`open_archive`](crate::open_archive).
    pub fn open_archives(&self, paths: &[PathBuf], purpose: FolderUse) -> Result<Dataset> {
        let parts: Vec<(&Path, Option<Split>)> = paths
            .iter()
            .zip(&self.archives)
            .map(|(path, archive)| (path.as_path(), Some(archive.split)))
            .collect();
        open_parts(&self.name, &parts, &purpose.into())
    }
}
