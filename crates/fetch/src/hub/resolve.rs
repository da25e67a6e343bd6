//! A file's metadata from the Hub, its transfer, and its place in the cache.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hf_hub::{Cache, Repo, RepoType};
use taper_core::{file::write_atomically, is_sha256};
use ureq::{
    Body,
    http::{HeaderMap, Response, header},
};

use super::{HubFile, HubOptions, RepositoryKind, cache::repository_folder, cached, is_commit};
use crate::{
    Problem, Watching, lock,
    transfer::{Broken, Client, Failed, Wanted, persist, receive},
};

/// A renamed repository redirects to its later name, which may itself have been renamed.
const RENAMINGS: usize = 5;

impl From<RepositoryKind> for RepoType {
    fn from(kind: RepositoryKind) -> Self {
        match kind {
            RepositoryKind::Model => RepoType::Model,
            RepositoryKind::Dataset => RepoType::Dataset,
        }
    }
}

pub(super) fn fetch(file: &HubFile<'_>, options: &HubOptions) -> Result<PathBuf, Problem> {
    locked_fetch(file, options).map_err(|failed| match failed {
        Failed::Io(error) => Problem::Cache(error.to_string()),
        Failed::Problem(problem) => of_the_hub(problem),
    })
}

/// What a status means at the Hub.
pub(super) fn of_the_hub(problem: Problem) -> Problem {
    match problem {
        Problem::Status(401) => Problem::Unauthorized,
        Problem::Status(403) => Problem::Forbidden,
        Problem::Status(404) => Problem::NotFound,
        other => other,
    }
}

fn locked_fetch(file: &HubFile<'_>, options: &HubOptions) -> Result<PathBuf, Failed> {
    let base = options.base()?;
    // On the file system of the cache, so that a rename moves the file; Python lists no caches in
    // ".locks".
    let staging = options.cache.join(".locks/taper").join(repository_folder(file));
    let staging = staging.join(file.file.replace('/', "--"));
    fs::create_dir_all(&staging)?;
    let there = || cached(file, options);
    let Some(_lock) = lock::wait(&staging.join(".lock"), || there().is_some())? else {
        return there().ok_or_else(|| Problem::Cache("the file has disappeared".into()).into());
    };
    if let Some(path) = there() {
        return Ok(path);
    }
    tracing::info!(repository = file.repository, file = file.file, "fetching from the Hub");
    let watching = Watching { patience: options.patience, ..Watching::default() };
    let client = Client::new(options.patience);
    let token = options.token();
    let repository = repository(file);
    let (name, revision) = (repository.url(), repository.url_revision());
    let url = format!("{base}/{name}/resolve/{revision}/{}", escaped(file.file));
    let described = persist(&watching, || describe(&client, &url, token.as_deref()))?;
    let stated = Some(described.etag.as_str()).filter(|etag| is_sha256(etag));
    if let (Some(promised), Some(found)) = (file.sha256, stated)
        && promised != found
    {
        let (promised, found) = (promised.into(), found.into());
        return Err(Problem::Digest { promised, found }.into());
    }
    // Named by its content, so that a partial download of another version is never continued.
    let partial = staging.join(format!("{}.incomplete", described.etag));
    clean(&staging, Some(&partial))?;
    let wanted = Wanted {
        url: &described.url,
        token: token.as_deref(),
        bytes: described.bytes,
        sha256: stated.or(file.sha256),
    };
    receive(&client, &wanted, &partial, &watching)?;
    let path = place(&repository, file, options, &described, &partial)?;
    clean(&staging, None)?;
    Ok(path)
}

/// Removes what earlier attempts have left, except for one file and the lock.
fn clean(staging: &Path, except: Option<&Path>) -> io::Result<()> {
    for entry in fs::read_dir(staging)?.flatten() {
        let path = entry.path();
        let kept = Some(path.as_path()) == except || entry.file_name() == ".lock";
        if !kept {
            // A failure to remove it is no reason to fail.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
    Ok(())
}

fn repository(file: &HubFile<'_>) -> Repo {
    Repo::with_revision(file.repository.into(), file.kind.into(), file.revision.into())
}

/// A path, percent-encoded for a URL.
fn escaped(path: &str) -> String {
    path.bytes().fold(String::with_capacity(path.len()), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            other => text += &format!("%{other:02X}"),
        }
        text
    })
}

/// What the Hub says about a file.
struct Described {
    /// Where the Hub has it.
    url: String,
    commit: String,
    /// Names the content: its SHA-256 for large files, else git's digest.
    etag: String,
    bytes: Option<u64>,
}

/// Asks for a file's metadata, as `get_hf_file_metadata` in Python's `file_download.py` does:
/// redirects within the Hub are followed, those to content servers are not.
fn describe(client: &Client, url: &str, token: Option<&str>) -> Result<Described, Broken> {
    let mut url = url.to_owned();
    for _ in 0..RENAMINGS {
        let response = client.head(&url, token)?;
        let headers = response.headers();
        if let Some(path) = elsewhere(&response) {
            let host = url.find("://").and_then(|at| Some(at + 3 + url[at + 3..].find('/')?));
            url = format!("{}{path}", &url[..host.unwrap_or(url.len())]);
            continue;
        }
        let other = |problem: String| Broken::from(Problem::Other(problem));
        let commit = text(headers, "x-repo-commit").unwrap_or_default();
        if !is_commit(commit) {
            return Err(other(format!("the Hub sent '{commit:.60}' instead of a commit")));
        }
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
        let etag = etag.unwrap_or_default().trim_start_matches("W/").trim_matches('"');
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if etag.is_empty() || etag.len() > 128 || !etag.bytes().all(safe) {
            return Err(other(format!("the Hub sent an unusable ETag, '{etag:.60}'")));
        }
        // The content length of a redirect is not that of the file.
        let own = Some(header::CONTENT_LENGTH).filter(|_| !response.status().is_redirection());
        let bytes = text(headers, "x-linked-size")
            .or_else(|| headers.get(own?)?.to_str().ok())
            .and_then(|length| length.parse().ok());
        let (commit, etag) = (commit.to_owned(), etag.to_owned());
        return Ok(Described { commit, etag, bytes, url });
    }
    Err(Problem::Other("there are too many redirects".into()).into())
}

/// The path of a redirect within the Hub.
fn elsewhere(response: &Response<Body>) -> Option<&str> {
    let location = text(response.headers(), "location")?;
    (response.status().is_redirection() && location.starts_with('/') && !location.starts_with("//"))
        .then_some(location)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Puts a verified file into the cache: blob, snapshot and reference, each by a rename.
fn place(
    repository: &Repo,
    file: &HubFile<'_>,
    options: &HubOptions,
    described: &Described,
    arrived: &Path,
) -> io::Result<PathBuf> {
    let folders = Cache::new(options.cache.clone()).repo(repository.clone());
    let blob = folders.blob_path(&described.etag);
    let snapshot = folders.pointer_path(&described.commit).join(file.file);
    for path in [&blob, &snapshot] {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
    }
    fs::rename(arrived, &blob)?;

    let folder = snapshot.parent().unwrap_or(&snapshot);
    let temporary = folder.join(format!(".taper-{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    // As Python writes it: relative, so that the cache can be moved.
    let up = "../".repeat(2 + Path::new(file.file).components().count() - 1);
    link(&format!("{up}blobs/{}", described.etag), &blob, &temporary)?;
    fs::rename(&temporary, &snapshot)?;

    if !is_commit(file.revision) {
        let root = options.cache.join(repository.folder_name());
        let reference = root.join("refs").join(file.revision);
        fs::create_dir_all(reference.parent().unwrap_or(&root))?;
        write_atomically(&reference, described.commit.as_bytes())?;
    }
    Ok(snapshot)
}

#[cfg(unix)]
fn link(target: &str, _blob: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

/// Where links need special rights (Windows), the file itself is put there.
#[cfg(not(unix))]
fn link(_target: &str, blob: &Path, at: &Path) -> io::Result<()> {
    fs::hard_link(blob, at).or_else(|_| fs::copy(blob, at).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_as_hf_hub_names_them() {
        for kind in [RepositoryKind::Model, RepositoryKind::Dataset] {
            let file =
                HubFile { kind, repository: "timm/a.b", revision: "main", ..HubFile::default() };
            assert_eq!(repository_folder(&file), repository(&file).folder_name());
        }
    }

    #[test]
    fn paths_are_escaped_but_for_their_slashes() {
        assert_eq!(escaped("data/train-0.parquet"), "data/train-0.parquet");
        assert_eq!(escaped("a b/ü?#.zip"), "a%20b/%C3%BC%3F%23.zip");
    }
}
