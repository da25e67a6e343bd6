use serde::{Deserialize, Serialize};

use super::{HubOptions, RepositoryKind, is_commit};
use crate::{Error, Problem, Result};

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
    /// Its size in bytes, if the Hub states it.
    pub bytes: Option<u64>,
    /// The SHA-256 of its content, 64 lower-case hexadecimal digits: for large files only.
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

/// Asks for the files of the repository `owner/name` at a commit, tag or branch, as Python's
/// `HfApi.repo_info(files_metadata=True)`:
/// `GET /api/datasets/OWNER/NAME/revision/REVISION?blobs=true`.
///
/// Paths that lead out of a repository are refused.
///
/// # Errors
/// [`Error::Hub`] with a [`Problem`] that says what to do.
pub fn hub_listing(
    kind: RepositoryKind,
    repository: &str,
    revision: &str,
    options: &HubOptions,
) -> Result<HubListing> {
    let fail = |problem| Error::Hub {
        repository: repository.into(),
        file: "the list of files".into(),
        problem,
    };
    if options.offline {
        return Err(fail(Problem::Offline));
    }
    let text = ask(kind, repository, revision, options).map_err(fail)?;
    listed(&text).map_err(|problem| fail(Problem::Other(problem)))
}

#[cfg(not(feature = "network"))]
fn ask(
    _: RepositoryKind,
    _: &str,
    _: &str,
    _: &HubOptions,
) -> std::result::Result<Vec<u8>, Problem> {
    Err(Problem::NotBuilt)
}

#[cfg(feature = "network")]
fn ask(
    kind: RepositoryKind,
    repository: &str,
    revision: &str,
    options: &HubOptions,
) -> std::result::Result<Vec<u8>, Problem> {
    use crate::{
        Watching,
        transfer::{Client, Failed, persist},
    };

    /// Only repositories of individual pictures have longer lists, and those are not downloaded one
    /// by one.
    const LONGEST: usize = 64 << 20;
    let repository = hf_hub::Repo::with_revision(repository.into(), kind.into(), revision.into());
    let url = format!("{}/api/{}?blobs=true", options.base()?, repository.api_url());
    let client = Client::new(options.patience);
    let token = options.token();
    let answer = persist(&Watching::default(), || {
        client.read_all(client.get(&url, token.as_deref(), 0)?, LONGEST)
    });
    answer.map_err(|failed| match failed {
        Failed::Io(error) => Problem::Other(error.to_string()),
        Failed::Problem(problem) => super::resolve::of_the_hub(problem),
    })
}

fn listed(text: &[u8]) -> std::result::Result<HubListing, String> {
    let answer: Answer = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    if !is_commit(&answer.sha) {
        return Err(format!("'{:.60}' is not a commit", answer.sha));
    }
    let mut files = Vec::new();
    for Sibling { rfilename: path, size: bytes, lfs } in answer.siblings {
        let leads_out = path.split(['/', '\\']).any(|part| matches!(part, "" | "." | ".."));
        if leads_out || path.contains([':', '\0']) {
            return Err(format!("'{}' leads out of the repository", path.escape_debug()));
        }
        files.push(ListedFile { path, bytes, sha256: lfs.and_then(|lfs| lfs.sha256) });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(HubListing { commit: answer.sha, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_of_the_repository_are_refused() {
        let of = |path: &str| {
            let sha = "0".repeat(40);
            listed(format!(r#"{{"sha":"{sha}","siblings":[{{"rfilename":"{path}"}}]}}"#).as_bytes())
        };
        assert_eq!(of("data/a.parquet").unwrap().files[0].path, "data/a.parquet");
        for path in ["../a", "/a", "a//b", "a/./b", "c:a"] {
            assert!(of(path).unwrap_err().contains("leads out"), "{path}");
        }
        assert!(listed(br#"{"sha":"main","siblings":[]}"#).unwrap_err().contains("not a commit"));
    }
}
