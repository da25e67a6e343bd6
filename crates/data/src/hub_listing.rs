//! What a data set repository on the Hugging Face Hub consists of.

use std::time::Duration;

use reqwest::blocking::Client;
use serde::{Deserialize, Serialize};

use crate::{DownloadProblem, Error, Result};

/// The files of a repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubListing {
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The files, by path.
    pub files: Vec<ListedFile>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFile {
    /// Its path in the repository.
    pub path: String,
    /// Its size in bytes, if the Hub says it.
    pub bytes: Option<u64>,
    /// The SHA-256 of its content, 64 lower-case hexadecimal digits: of large files only.
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

/// Longer lists are those of repositories with single pictures, which nobody fetches one by one.
const LONGEST: u64 = 64 << 20;

/// Asks for the files of the data set repository `owner/name` at a commit, tag or branch:
/// `GET /api/datasets/OWNER/NAME/revision/REVISION?blobs=true`, as Python's `HfApi.dataset_info(files_metadata=True)`.
///
/// Paths that lead out of a repository are refused.
///
/// # Errors
/// [`Error::Download`] with a [`DownloadProblem`] that says what to do.
pub fn hub_listing(
    endpoint: &str,
    repository: &str,
    revision: &str,
    token: Option<&str>,
    patience: Duration,
) -> Result<HubListing> {
    let endpoint = endpoint.trim_end_matches('/');
    let revision_part = revision.replace('/', "%2F");
    let url = format!("{endpoint}/api/datasets/{repository}/revision/{revision_part}?blobs=true");
    let fail = |problem| Error::Download { url: url.clone(), problem };
    let other = |e: String| fail(DownloadProblem::Other(e));
    let client = Client::builder()
        .timeout(patience)
        .user_agent(concat!("taper/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| other(e.to_string()))?;
    let mut request = client.get(&url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().map_err(|e| {
        fail(match e.is_timeout() {
            true => DownloadProblem::Stalled(patience.as_secs()),
            false => DownloadProblem::Unreachable(e.to_string()),
        })
    })?;
    match response.status().as_u16() {
        200 => {}
        401 | 404 => return Err(fail(DownloadProblem::NoRepository)),
        status => return Err(fail(DownloadProblem::Status(status))),
    }
    let mut text = Vec::new();
    let read =
        std::io::Read::read_to_end(&mut std::io::Read::take(response, LONGEST + 1), &mut text);
    read.map_err(|_| fail(DownloadProblem::Broken))?;
    if text.len() as u64 > LONGEST {
        return Err(other("the list of files is longer than 64 MiB".into()));
    }
    let answer: Answer = serde_json::from_slice(&text).map_err(|e| other(e.to_string()))?;
    if answer.sha.len() != 40 || !answer.sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(other(format!("'{:.60}' is no commit", answer.sha)));
    }
    let mut files = Vec::new();
    for Sibling { rfilename: path, size: bytes, lfs } in answer.siblings {
        let leads_out = path.split(['/', '\\']).any(|part| matches!(part, "" | "." | ".."));
        if leads_out || path.contains([':', '\0']) {
            return Err(other(format!("'{}' leads out of the repository", path.escape_debug())));
        }
        files.push(ListedFile { path, bytes, sha256: lfs.and_then(|lfs| lfs.sha256) });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(HubListing { commit: answer.sha, files })
}
