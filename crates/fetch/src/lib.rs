#![doc = include_str!("../README.md")]

mod digest;
mod download;
mod error;
pub mod folders;
mod hub;
#[cfg(feature = "network")]
mod lock;
#[cfg(feature = "network")]
mod transfer;

pub use digest::sha256_of_file;
pub use download::{RemoteFile, Watching, datasets_mirror, download};
pub use error::{Error, Problem, Result};
pub use hub::{
    HubFile, HubListing, HubOptions, ListedFile, RepositoryKind, cached, fetch, hub_listing,
    promised_digest,
};
