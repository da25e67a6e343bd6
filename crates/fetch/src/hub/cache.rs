//! The cache of Python's `huggingface_hub`, in its layout.

use std::{
    fs,
    path::{Path, PathBuf},
};

use taper_core::is_sha256;

use super::{HubFile, HubOptions, RepositoryKind, is_commit};

/// The path of a file in the cache, if it is there. Never touches the network.
///
/// Files downloaded by Python count as well, although its `main` may be a later commit than the
/// pinned one, e.g. with another model card: a file with the known digest in any snapshot, or, if
/// no digest is known, the one of `main`.
pub fn cached(file: &HubFile<'_>, options: &HubOptions) -> Option<PathBuf> {
    let repository = options.cache.join(repository_folder(file));
    let snapshots = repository.join("snapshots");
    // Follows the link to the blob: a dangling link does not count as a file.
    let inside = |commit: &Path| Some(commit.join(file.file)).filter(|path| path.is_file());
    let at = |revision: &str| {
        if is_commit(revision) {
            return inside(&snapshots.join(revision));
        }
        let commit = fs::read_to_string(repository.join("refs").join(revision)).ok()?;
        inside(&snapshots.join(commit.trim()))
    };
    let Some(digest) = file.sha256 else {
        return at(file.revision).or_else(|| at("main").filter(|_| is_commit(file.revision)));
    };
    let pinned = at(file.revision);
    pinned.filter(|path| promised_digest(path).is_none_or(|promised| promised == digest)).or_else(
        || {
            let mut commits: Vec<PathBuf> =
                fs::read_dir(&snapshots).ok()?.flatten().map(|entry| entry.path()).collect();
            commits.sort();
            let mut files = commits.iter().filter_map(|commit| inside(commit));
            files.find(|path| promised_digest(path).as_deref() == Some(digest))
        },
    )
}

/// The digest that the name of a cached file's blob promises: the Hub names large files by their
/// SHA-256.
pub fn promised_digest(path: &Path) -> Option<String> {
    let blob = fs::read_link(path).ok()?;
    let name = blob.file_name()?.to_str()?;
    is_sha256(name).then(|| name.to_owned())
}

/// The name of a repository's folder in the cache.
pub(super) fn repository_folder(file: &HubFile<'_>) -> String {
    let kind = match file.kind {
        RepositoryKind::Model => "models",
        RepositoryKind::Dataset => "datasets",
    };
    format!("{kind}--{}", file.repository.replace('/', "--"))
}
