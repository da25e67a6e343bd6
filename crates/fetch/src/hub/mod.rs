//! Files from the Hugging Face Hub, offline first.

mod cache;
mod listing;
#[cfg(feature = "network")]
mod resolve;

use std::{fmt, path::PathBuf, time::Duration};

pub use self::{
    cache::{cached, promised_digest},
    listing::{HubListing, ListedFile, hub_listing},
};
use crate::{
    Error, Problem, Result,
    folders::{self, variable},
};

/// The kind of a repository on the Hub: determines its URLs and the name of its folder in the
/// cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RepositoryKind {
    /// A network's weights.
    #[default]
    Model,
    /// A data set.
    Dataset,
}

/// A file of a repository on the Hugging Face Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HubFile<'a> {
    /// What the repository holds.
    pub kind: RepositoryKind,
    /// `owner/name`.
    pub repository: &'a str,
    /// A commit, a tag or a branch.
    pub revision: &'a str,
    /// The path in the repository.
    pub file: &'a str,
    /// The SHA-256 of the content in lower-case hexadecimal, if it is known beforehand.
    pub sha256: Option<&'a str>,
}

/// Where and how files are fetched.
#[derive(Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// The folder of the cache. Default: [`folders::hub`].
    pub cache: PathBuf,
    /// The Hub's address, or that of a mirror. Default: `HF_ENDPOINT`, else the Hub itself.
    pub endpoint: Option<String>,
    /// The access token. Default: none given here, so that `HF_TOKEN` or the file `HF_HOME/token`
    /// is used.
    pub token: Option<String>,
    /// Whether to stay off the network. Default: `HF_HUB_OFFLINE` is 1, true, yes or on.
    pub offline: bool,
    /// How long a download may stall before it counts as failed. Default: 30 s.
    pub patience: Duration,
}

impl HubOptions {
    /// The settings in the environment, as Python's `huggingface_hub` reads them.
    pub fn from_env() -> Self {
        let offline = variable("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_lowercase();
        Self {
            cache: folders::hub(),
            endpoint: variable("HF_ENDPOINT"),
            token: None,
            offline: matches!(offline.as_str(), "1" | "true" | "yes" | "on"),
            patience: Duration::from_secs(30),
        }
    }

    /// The base URL, without a trailing slash.
    #[cfg(feature = "network")]
    fn base(&self) -> std::result::Result<&str, Problem> {
        let Some(endpoint) = self.endpoint.as_deref() else { return Ok("https://huggingface.co") };
        match ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            true => Ok(endpoint.trim_end_matches('/')),
            false => Err(Problem::Endpoint(endpoint.into())),
        }
    }

    /// Who asks.
    #[cfg(feature = "network")]
    fn token(&self) -> Option<String> {
        self.token.clone().or_else(folders::hub_token)
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

/// The path of a file in the cache; downloads it first if it is not there.
///
/// # Errors
/// [`Error::Hub`] with a [`Problem`] that says what to do. It never hangs: a connection on which
/// nothing arrives for [`HubOptions::patience`] is given up, and tried again three times.
pub fn fetch(file: &HubFile<'_>, options: &HubOptions) -> Result<PathBuf> {
    if let Some(path) = cached(file, options) {
        return Ok(path);
    }
    let fail = |problem| Error::Hub {
        repository: file.repository.into(),
        file: file.file.into(),
        problem,
    };
    if options.offline {
        return Err(fail(Problem::Offline));
    }
    #[cfg(feature = "network")]
    return resolve::fetch(file, options).map_err(fail);
    #[cfg(not(feature = "network"))]
    return Err(fail(Problem::NotBuilt));
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}
