use std::{io, path::PathBuf};

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file at a URL could not be downloaded.
    #[error("cannot fetch {url}: {problem}; {}", problem.remedy(false))]
    Download {
        /// Its address.
        url: String,
        /// What went wrong.
        problem: Problem,
    },
    /// A file could not be fetched from the Hub.
    #[error(
        "cannot fetch {file} of '{repository}' from the Hugging Face Hub: {problem}; {}",
        problem.remedy(true)
    )]
    Hub {
        /// The repository, `owner/name`.
        repository: String,
        /// The file in it, or what else was asked for.
        file: String,
        /// What went wrong.
        problem: Problem,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    /// What went wrong with the network or with the data received.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Download { problem, .. } | Self::Hub { problem, .. } => Some(problem),
            Self::Io { .. } => None,
        }
    }
}

/// Why a file could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is not cached, and the network is switched off.
    #[error("it is not in the cache, and HF_HUB_OFFLINE forbids network access")]
    Offline,
    /// This build cannot fetch at all.
    #[error("it is not in the cache, and this build cannot fetch files (feature 'network')")]
    NotBuilt,
    /// No connection.
    #[error("the server cannot be reached ({0})")]
    Unreachable(String),
    /// Nothing arrived for this many seconds.
    #[error("nothing arrived for {0} seconds")]
    Stalled(u64),
    /// The connection broke before the end, several times.
    #[error("the connection broke before the end")]
    Interrupted,
    /// 401 from the Hub: a token is needed, or the repository does not exist.
    #[error("the Hub requires a login (401), or there is no such repository")]
    Unauthorized,
    /// 403 from the Hub: the token does not give access.
    #[error("your token does not give access (403)")]
    Forbidden,
    /// 404 from the Hub: no such repository, revision or file.
    #[error("there is no such repository, revision or file (404)")]
    NotFound,
    /// The server answered with a status other than 200 or 206.
    #[error("the server answered {0}")]
    Status(u16),
    /// The server asks to wait for this many seconds.
    #[error("too many requests; the server asks to wait for {0} seconds")]
    Busy(u64),
    /// What arrived is not what was promised.
    #[error(
        "what arrived is damaged or is a different file: its SHA-256 is {found} instead of {promised}"
    )]
    Digest {
        /// What it should be.
        promised: String,
        /// What it is.
        found: String,
    },
    /// More arrives than the file's size, which is this many bytes.
    #[error("the server sends more than the file's {0} bytes: it is a different file")]
    TooLong(u64),
    /// `HF_ENDPOINT` is not the address of a server.
    #[error("HF_ENDPOINT is '{0}', which is not the address of a server")]
    Endpoint(String),
    /// The cache cannot be read or written.
    #[error("the cache cannot be written ({0})")]
    Cache(String),
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
    /// Anything else.
    #[error("the download failed ({0})")]
    Other(String),
}

impl Problem {
    /// What helps.
    fn remedy(&self, hub: bool) -> &'static str {
        match self {
            Self::Offline => "unset HF_HUB_OFFLINE",
            Self::NotBuilt => "fetch it by other means",
            Self::Unreachable(_) if hub => "check the network, or set HF_ENDPOINT to a mirror",
            Self::Unreachable(_) => "check the network, or set TAPER_DATASETS_URL to a mirror",
            Self::Stalled(_) if hub => {
                "try again (the download will resume), or set HF_ENDPOINT to a mirror"
            }
            Self::Stalled(_) | Self::Interrupted => "try again (the download will resume)",
            Self::Unauthorized => "check the name, or set HF_TOKEN to a token of your account",
            Self::Forbidden => "request access on the repository's page, and check HF_TOKEN",
            Self::NotFound => "check the name and HF_ENDPOINT (does the mirror have it?)",
            Self::Status(_) if hub => "try again later, or set HF_ENDPOINT to a mirror",
            Self::Status(_) => "try again later, or set TAPER_DATASETS_URL to a mirror",
            Self::Busy(_) if hub => "wait a little, or set HF_TOKEN",
            Self::Busy(_) => "try again then",
            Self::Digest { .. } | Self::TooLong(_) => "try again, or use another mirror",
            Self::Endpoint(_) => "make it begin with https://, or unset it",
            Self::Cache(_) => "free some space, or set HF_HUB_CACHE to a writable folder",
            Self::Stopped => "what has arrived is kept for the next attempt",
            Self::Other(_) => "try again",
        }
    }

    /// Whether trying again may help.
    #[cfg(feature = "network")]
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 206 | 408 | 416 | 425 | 429 | 500..),
            Self::Unreachable(_) | Self::Stalled(_) | Self::Interrupted => true,
            _ => false,
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
