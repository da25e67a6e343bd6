//! Folders for files that can be downloaded or computed again.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The variable, unless it is empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that names a folder; `~` is the home folder.
fn folder(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(name).filter(|value| !value.is_empty())?);
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) => Some(home.join(rest)),
        _ => Some(path),
    }
}

/// Taper's own: `TAPER_CACHE`, unless that is `off`.
fn chosen() -> Option<PathBuf> {
    folder("TAPER_CACHE").filter(|chosen| chosen != Path::new("off"))
}

/// `taper` in the user's cache folder: that of `XDG_CACHE_HOME`, else `LOCALAPPDATA`, else
/// `~/.cache`. None if there is no home folder.
fn of_the_user() -> Option<PathBuf> {
    let user = folder("XDG_CACHE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .or_else(|| Some(env::home_dir()?.join(".cache")));
    Some(user?.join("taper"))
}

/// The folder for downloaded data sets: `datasets` in `TAPER_CACHE`, else in `taper` in the user's
/// cache folder. None if there is no home folder; setting `TAPER_CACHE` helps then.
pub fn datasets() -> Option<PathBuf> {
    Some(chosen().or_else(of_the_user)?.join("datasets"))
}

/// The folder for computed features: `TAPER_CACHE`, else `taper/features` in the user's cache
/// folder. None if there is no home folder, or if `TAPER_CACHE` is `off`.
pub fn features() -> Option<PathBuf> {
    match folder("TAPER_CACHE") {
        Some(off) if off == Path::new("off") => None,
        Some(chosen) => Some(chosen),
        None => Some(of_the_user()?.join("features")),
    }
}

/// The home of Hugging Face's tools: `HF_HOME`, else `huggingface` in `XDG_CACHE_HOME`, else in
/// `~/.cache`.
fn hugging_face() -> PathBuf {
    folder("HF_HOME").unwrap_or_else(|| {
        let user = folder("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
        user.unwrap_or_else(env::temp_dir).join("huggingface")
    })
}

/// The Hub's cache: `HF_HUB_CACHE`, else `hub` in Hugging Face's home.
pub fn hub() -> PathBuf {
    folder("HF_HUB_CACHE")
        .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
        .unwrap_or_else(|| hugging_face().join("hub"))
}

/// The token for the Hub: `HF_TOKEN`, else the content of the file named by `HF_TOKEN_PATH`, else
/// of the file `token` in Hugging Face's home.
#[cfg(feature = "network")]
pub(crate) fn hub_token() -> Option<String> {
    variable("HF_TOKEN").or_else(|| {
        let path = folder("HF_TOKEN_PATH").unwrap_or_else(|| hugging_face().join("token"));
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|token| !token.is_empty())
    })
}
