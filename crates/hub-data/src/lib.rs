#![doc = include_str!("../README.md")]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use taper_core::{OutOfRange, file::write_atomically};
use taper_data::Dataset;
use taper_fetch::{
    HubFile, HubListing, HubOptions, ListedFile, RepositoryKind, fetch, hub_listing,
};
use taper_sources::{Reading, is_archive, open_archives, open_parquet_files, split_named};
use taper_train::Watch;

/// Why a data set of the Hub cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name, the repository, the network or the files.
    #[error(transparent)]
    Source(#[from] taper_sources::Error),
    /// The list of files could not be kept.
    #[error("cannot {doing} '{}': {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

impl From<OutOfRange> for Error {
    fn from(error: OutOfRange) -> Self {
        Self::Source(error.into())
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A repository and a revision.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    repository: &'a str,
    revision: &'a str,
}

/// What follows `hf:`.
fn place(text: &str) -> Result<Place<'_>> {
    let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let good = repository.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
        && revision.split('/').all(part);
    if !good {
        return Err(Error::from(OutOfRange::new(
            "data",
            format!("'hf:{text}'"),
            "use hf:owner/name or hf:owner/name@revision",
        )));
    }
    Ok(Place { repository, revision })
}

/// Opens a data set of the Hub: its Parquet files, or else its archives. Files are stored in the
/// Hub's own cache; the list of the repository's files is kept in `folder`, so that it can later be
/// opened without a network. `text` is `owner/name` or `owner/name@revision`.
///
/// # Errors
/// Any [`enum@Error`]; wrong names, and repositories without pictures that can be read, are
/// [`OutOfRange`].
pub fn open(text: &str, folder: &Path, reading: &Reading, watch: &Watch) -> Result<Dataset> {
    let Place { repository, revision } = place(text)?;
    let mut options = HubOptions::from_env();
    options.patience = options.patience.max(std::time::Duration::from_secs(1));
    let listing = listing(repository, revision, folder, &options, watch)?;
    let files = chosen(repository, &listing)?;
    let total: u64 = files.iter().filter_map(|file| file.bytes).sum();
    watch.progress().say(&format!(
        "{repository} at {}: {} file(s), {} MiB",
        &listing.commit[..8],
        files.len(),
        total.div_ceil(1 << 20)
    ));
    watch.progress().begin("fetching", files.len() as u64, "files");
    let mut paths = Vec::new();
    for file in &files {
        if watch.interrupted() {
            watch.progress().end();
            return Err(Error::Interrupted);
        }
        let hub_file = HubFile {
            kind: RepositoryKind::Dataset,
            repository,
            revision: &listing.commit,
            file: &file.path,
            sha256: file.sha256.as_deref(),
        };
        let fetched = fetch(&hub_file, &options);
        watch.progress().advance(1);
        let fetched = fetched.inspect_err(|_| watch.progress().end());
        paths.push(fetched.map_err(taper_sources::Error::from)?);
    }
    watch.progress().end();
    let name = format!("hf:{text}");
    if is_archive(&paths[0]) {
        let parts: Vec<(&Path, Option<taper_core::Split>)> = paths
            .iter()
            .zip(&files)
            .map(|(path, file)| (path.as_path(), split_of(&file.path).filter(|_| paths.len() > 1)))
            .collect();
        return Ok(open_archives(&parts, reading.clone())?);
    }
    Ok(open_parquet_files(&name, &paths, reading.clone())?)
}

/// The split that an archive's name means, as in `train.zip`.
fn split_of(path: &str) -> Option<taper_core::Split> {
    split_named(path.rsplit('/').next()?)
}

/// What to fetch.
fn chosen<'a>(repository: &str, listing: &'a HubListing) -> Result<Vec<&'a ListedFile>> {
    let fail =
        |remedy: String| Error::from(OutOfRange::new("data", format!("hf:{repository}"), remedy));
    let of = |wanted: fn(&Path) -> bool| -> Vec<&ListedFile> {
        listing.files.iter().filter(|file| wanted(Path::new(&file.path))).collect()
    };
    let mut files = of(|path| path.extension().is_some_and(|e| e == "parquet"));
    if files.is_empty() {
        files = of(is_archive);
    }
    if files.is_empty() {
        let some: Vec<&str> = listing.files.iter().take(5).map(|f| f.path.as_str()).collect();
        return Err(fail(format!(
            "the repository contains neither Parquet files nor archives, but {}: download it, and give the folder",
            some.join(", ")
        )));
    }
    // Configurations are in folders of their own; together they would contain the same pictures
    // twice.
    let folder = |file: &ListedFile| -> Option<String> {
        let (first, _) = file.path.split_once('/')?;
        let own = first != "data" && first.to_lowercase().parse::<taper_core::Split>().is_err();
        own.then(|| first.to_owned())
    };
    let mut folders: Vec<Option<String>> = files.iter().map(|file| folder(file)).collect();
    folders.dedup();
    if folders.len() > 1 {
        let names: Vec<String> = folders.into_iter().flatten().collect();
        return Err(fail(format!(
            "the repository contains several data sets ({}): download one, and give its folder",
            names.join(", ")
        )));
    }
    if let Some(file) = files.iter().find(|file| file.sha256.is_none()) {
        return Err(fail(format!(
            "the Hub states no digest for '{}', so it cannot be verified: download it, and give its path",
            file.path
        )));
    }
    Ok(files)
}

fn listing(
    repository: &str,
    revision: &str,
    folder: &Path,
    options: &HubOptions,
    watch: &Watch,
) -> Result<HubListing> {
    let kept: PathBuf = folder.join("hub").join(format!(
        "{}@{}.json",
        repository.replace('/', "--"),
        revision.replace('/', "--")
    ));
    let read = || -> Option<HubListing> { serde_json::from_slice(&fs::read(&kept).ok()?).ok() };
    // A commit never changes.
    let fixed = revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit());
    if (options.offline || fixed)
        && let Some(listing) = read()
    {
        return Ok(listing);
    }
    if options.offline {
        let remedy = "it was not opened before, and HF_HUB_OFFLINE forbids network access: unset it, with HF_ENDPOINT set to a mirror where the Hub itself cannot be reached, or give the path of a folder";
        return Err(OutOfRange::new("data", format!("hf:{repository}"), remedy).into());
    }
    match hub_listing(RepositoryKind::Dataset, repository, revision, options) {
        Ok(listing) => {
            let text = serde_json::to_vec_pretty(&listing).unwrap_or_default();
            let parent = kept.parent().unwrap_or(folder);
            fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
            write_atomically(&kept, &text).map_err(Error::io("write", &kept))?;
            Ok(listing)
        }
        Err(error) => match read() {
            Some(listing) => {
                watch.progress().warn(&format!("{error}; the previous list of files is used"));
                Ok(listing)
            }
            None => Err(taper_sources::Error::from(error).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_nonsense_is_refused() {
        let of = |text| place(text).map(|p| (p.repository.to_owned(), p.revision.to_owned()));
        assert_eq!(of("a/b").unwrap(), ("a/b".into(), "main".into()));
        assert_eq!(of("a/b-c.d@refs/x").unwrap(), ("a/b-c.d".into(), "refs/x".into()));
        for text in ["", "a", "a/", "/b", "a/b/c", "../b", "a/b@", "a/b@../x", "a b/c", "a/b@x y"] {
            assert!(
                matches!(place(text).unwrap_err(), Error::Source(taper_sources::Error::Setting(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn parquet_files_are_chosen_and_several_data_sets_are_refused() {
        let listing = |paths: &[&str]| HubListing {
            commit: "0".repeat(40),
            files: paths
                .iter()
                .map(|path| ListedFile {
                    path: (*path).into(),
                    bytes: Some(1),
                    sha256: Some("0".repeat(64)),
                })
                .collect(),
        };
        let names = |paths: &[&str]| -> Result<Vec<String>> {
            let listing = listing(paths);
            Ok(chosen("a/b", &listing)?.into_iter().map(|f| f.path.clone()).collect())
        };
        let both = ["README.md", "data/test-0.parquet", "data/train-0.parquet", "x.zip"];
        assert_eq!(names(&both).unwrap(), ["data/test-0.parquet", "data/train-0.parquet"]);
        assert_eq!(names(&["train.zip", "x.py"]).unwrap(), ["train.zip"]);
        assert_eq!(names(&["train/0.parquet", "test/0.parquet"]).unwrap().len(), 2);
        let error = names(&["one/train-0.parquet", "two/train-0.parquet"]).unwrap_err();
        assert!(error.to_string().contains("one, two"), "{error}");
        assert!(names(&["a.jpg"]).unwrap_err().to_string().contains("a.jpg"));
        let mut bare = listing(&["train.zip"]);
        bare.files[0].sha256 = None;
        assert!(chosen("a/b", &bare).unwrap_err().to_string().contains("verified"));
    }
}
