//! Files from the Hugging Face Hub, offline first.
//!
//! The cache is that of Python's `huggingface_hub`, in its layout: what one of them has fetched, the other finds.
//! A cached file is used without touching the network. A download goes to a folder of its own first, is checked
//! against the digest that the Hub states, and only then appears in the cache: a file there is whole or absent.

#[cfg(feature = "hub")]
mod resume;
#[cfg(feature = "hub")]
mod transfer;

use std::{
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Error, HubFile, RepositoryKind, Result};

/// Where and how files are fetched.
#[derive(Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// The folder of the cache. Default: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// The Hub's address, or that of a mirror. Default: `HF_ENDPOINT`, else the Hub itself.
    pub endpoint: Option<String>,
    /// Who asks. Default: none given here, so that `HF_TOKEN` or the file `HF_HOME/token` counts.
    pub token: Option<String>,
    /// Whether the network is never touched. Default: `HF_HUB_OFFLINE` is 1, true, yes or on.
    pub offline: bool,
    /// How long nothing may arrive before a download counts as failed. Default: 30 s.
    pub patience: Duration,
}

impl HubOptions {
    /// What the environment says, as Python's `huggingface_hub` reads it.
    pub fn from_env() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let folder = |name: &str| set(name).map(|value| expand_home(&value));
        let home = || {
            let cache = folder("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
            folder("HF_HOME")
                .unwrap_or_else(|| cache.unwrap_or_else(env::temp_dir).join("huggingface"))
        };
        let offline = set("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_lowercase();
        Self {
            cache: folder("HF_HUB_CACHE")
                .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| home().join("hub")),
            endpoint: set("HF_ENDPOINT"),
            token: None,
            offline: matches!(offline.as_str(), "1" | "true" | "yes" | "on"),
            patience: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            // A token is a secret.
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .field("patience", &self.patience)
            .finish()
    }
}

fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), env::home_dir()) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => path.into(),
    }
}

/// Why a file could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubProblem {
    /// The file is not cached, and the network is switched off.
    Offline,
    /// This build cannot fetch at all: it was made without the feature `hub`.
    NotBuilt,
    /// No connection.
    Unreachable,
    /// Nothing arrived for as many seconds.
    Stalled(u64),
    /// 401: a token is needed, or the repository does not exist.
    Unauthorized,
    /// 403: the token does not suffice.
    Forbidden,
    /// 404: no such repository, revision or file.
    NotFound,
    /// 429: too many requests; the Hub may say how many seconds to wait.
    RateLimited(Option<u64>),
    /// The connection broke in the middle, several times.
    Interrupted,
    /// What arrived is not what the Hub, or the list of networks, promises: promised and found SHA-256.
    Digest(String, String),
    /// `HF_ENDPOINT` is no address of a server.
    Endpoint(String),
    /// The cache cannot be read or written.
    Cache,
    /// Anything else.
    Other,
}

impl fmt::Display for HubProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline => {
                f.write_str("it is not in the cache, and HF_HUB_OFFLINE forbids the network")
            }
            Self::NotBuilt => f.write_str(
                "it is not in the cache, and this build has no Hub support (feature 'hub')",
            ),
            Self::Unreachable => f.write_str("the Hub cannot be reached"),
            Self::Stalled(seconds) => write!(f, "nothing arrived for {seconds} seconds"),
            Self::Unauthorized => {
                f.write_str("the Hub asks who you are (401), or there is no such repository")
            }
            Self::Forbidden => f.write_str("your token does not give access (403)"),
            Self::NotFound => f.write_str("there is no such repository, revision or file (404)"),
            Self::RateLimited(None) => f.write_str("too many requests (429)"),
            Self::RateLimited(Some(seconds)) => {
                write!(f, "too many requests (429); the Hub asks to wait for {seconds} seconds")
            }
            Self::Interrupted => f.write_str("the connection broke before the end"),
            Self::Digest(promised, found) => {
                write!(
                    f,
                    "what arrived is damaged or another file: its SHA-256 is {found} instead of {promised}"
                )
            }
            Self::Endpoint(endpoint) => {
                write!(f, "HF_ENDPOINT is '{endpoint}', which is no address of a server")
            }
            Self::Cache => f.write_str("the cache cannot be written"),
            Self::Other => f.write_str("the download failed"),
        }
    }
}

impl HubProblem {
    /// What the user can do about it.
    pub(crate) fn remedy(&self, kind: RepositoryKind) -> String {
        let by_hand = match kind {
            RepositoryKind::Model => "give the weights with --weights FILE",
            RepositoryKind::Dataset => "fetch the files by hand and give their folder with --data",
        };
        let first = match self {
            Self::Offline => "unset HF_HUB_OFFLINE",
            Self::Unreachable | Self::NotBuilt => match kind {
                RepositoryKind::Model => {
                    return format!(
                        "{by_hand}, set HF_ENDPOINT to a mirror, \
                         or use --model efficientnet-lite0, whose weights are built in"
                    );
                }
                RepositoryKind::Dataset => "set HF_ENDPOINT to a mirror",
            },
            Self::Unauthorized => "set HF_TOKEN to a token of your account",
            Self::Forbidden => "ask for access on the repository's page, check HF_TOKEN",
            Self::NotFound => "check HF_ENDPOINT (does the mirror hold it?)",
            Self::Endpoint(_) => "let it begin with https:// or unset it",
            Self::RateLimited(_) => "wait a little, set HF_TOKEN",
            Self::Interrupted => "try again (it goes on where it ended)",
            Self::Stalled(_) => {
                "try again (it goes on where it ended), set HF_ENDPOINT to a mirror"
            }
            Self::Digest(..) | Self::Other => "try again",
            Self::Cache => {
                return "free space or set HF_HUB_CACHE to a folder that can be written".into();
            }
        };
        format!("{first}, or {by_hand}")
    }
}

/// A boxed cause of any kind.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

fn failure(file: &HubFile<'_>, problem: HubProblem, source: Option<Cause>) -> Error {
    Error::Hub {
        kind: file.kind,
        repository: file.repository.into(),
        file: file.file.into(),
        problem,
        source,
    }
}

/// The path of a file in the cache, if it is there. Never touches the network.
///
/// What Python has fetched counts as well, although its `main` may be a later commit than the pinned one, with another model
/// card: a file of the known digest in any snapshot, or, where no digest is known, that of `main`.
pub fn cached(file: &HubFile<'_>, options: &HubOptions) -> Option<PathBuf> {
    let repository = options.cache.join(repository_folder(file));
    let snapshots = repository.join("snapshots");
    // Follows the link to the blob: a dangling one is no file.
    let inside = |commit: &Path| Some(commit.join(file.file)).filter(|path| path.is_file());
    let at = |revision: &str| {
        if is_commit(revision) {
            return inside(&snapshots.join(revision));
        }
        let commit = std::fs::read_to_string(repository.join("refs").join(revision)).ok()?;
        inside(&snapshots.join(commit.trim()))
    };
    let Some(digest) = file.sha256 else {
        return at(file.revision).or_else(|| at("main").filter(|_| is_commit(file.revision)));
    };
    let pinned = at(file.revision);
    pinned.filter(|path| promised_digest(path).is_none_or(|promised| promised == digest)).or_else(
        || {
            let mut commits: Vec<PathBuf> =
                std::fs::read_dir(&snapshots).ok()?.flatten().map(|entry| entry.path()).collect();
            commits.sort();
            let mut files = commits.iter().filter_map(|commit| inside(commit));
            files.find(|path| promised_digest(path).as_deref() == Some(digest))
        },
    )
}

/// The digest that the name of a cached file's blob promises: the Hub names large files by their SHA-256.
pub(crate) fn promised_digest(path: &Path) -> Option<String> {
    let blob = std::fs::read_link(path).ok()?;
    let name = blob.file_name()?.to_str()?;
    is_sha256(name).then(|| name.to_owned())
}

/// The path of a file in the cache; fetches it first if it is not there.
///
/// # Errors
/// [`Error::Hub`] with a [`HubProblem`] that says what to do. Nothing hangs: a connection on which nothing arrives for
/// [`HubOptions::patience`] is given up.
pub fn fetch(file: &HubFile<'_>, options: &HubOptions) -> Result<PathBuf> {
    if let Some(path) = cached(file, options) {
        return Ok(path);
    }
    if options.offline {
        return Err(failure(file, HubProblem::Offline, None));
    }
    let web = |endpoint: &&String| ["http://", "https://"].iter().any(|s| endpoint.starts_with(s));
    if let Some(endpoint) = options.endpoint.as_ref().filter(|endpoint| !web(endpoint)) {
        return Err(failure(file, HubProblem::Endpoint(endpoint.clone()), None));
    }
    #[cfg(feature = "hub")]
    return transfer::fetch(file, options);
    #[cfg(not(feature = "hub"))]
    return Err(failure(file, HubProblem::NotBuilt, None));
}

/// The name of a repository's folder in the cache, as Python's `huggingface_hub` and hf-hub name it.
fn repository_folder(file: &HubFile<'_>) -> String {
    let kind = match file.kind {
        RepositoryKind::Model => "models",
        RepositoryKind::Dataset => "datasets",
    };
    format!("{kind}--{}", file.repository.replace('/', "--"))
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
