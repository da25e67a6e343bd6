use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{
    Error, Key, Result,
    segment::{self, Segment},
};

const SUFFIX: &str = ".features";
const PARTIAL: &str = ".partial-";
/// The file that marks a folder as a cache, for backups and whoever else passes over caches, and
/// what it begins with (bford.info/cachedir).
const TAG: &str = "CACHEDIR.TAG";
const SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# Taper's cached features.\n";
/// An unfinished file older than this was abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder of feature sets, bounded in size.
#[derive(Debug, Clone)]
pub struct FeatureCache {
    root: PathBuf,
    limit: u64,
}

impl FeatureCache {
    /// A cache in this folder of at most `limit` bytes. Nothing is created before something is
    /// written.
    pub fn new(root: impl Into<PathBuf>, limit: u64) -> Self {
        Self { root: root.into(), limit }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The most bytes it takes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Opens the rows of `width` numbers computed as `key` identifies: weights, graph,
    /// preprocessing, precision, kernels.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder exists and cannot be read.
    pub fn set(&self, key: Key, width: usize) -> Result<FeatureSet> {
        let name = taper_core::hex(&key[..16]);
        let mut set = FeatureSet {
            cache: self.clone(),
            folder: self.root.join(name),
            width,
            segments: Vec::new(),
            places: HashMap::new(),
            buffer: Vec::new(),
        };
        let mut paths = Vec::new();
        match fs::read_dir(&set.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(set),
            Err(error) => return Err(Error::io(&set.folder)(error)),
            Ok(entries) => {
                for entry in entries.flatten() {
                    if entry.file_name().to_string_lossy().ends_with(SUFFIX) {
                        paths.push(entry.path());
                    }
                }
            }
        }
        paths.sort();
        for path in paths {
            match Segment::open(&path, width) {
                Ok(Some((segment, keys))) => set.add(segment, keys),
                // Unreadable files only take up space.
                Ok(None) => drop(fs::remove_file(&path)),
                // Evicted by another process since the listing, or not readable by this one: its
                // rows are absent.
                Err(_) => {}
            }
        }
        Ok(set)
    }

    /// Removes the segments that were not used for the longest time until the cache is within its
    /// bound.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read.
    fn evict(&self) -> Result<()> {
        let mut all: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for set in fs::read_dir(&self.root).map_err(Error::io(&self.root))?.flatten() {
            let Ok(files) = fs::read_dir(set.path()) else { continue };
            for file in files.flatten() {
                // Gone already, perhaps.
                let Ok(metadata) = file.metadata() else { continue };
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                // Another process is writing it, unless it was killed.
                let partial = file.file_name().to_string_lossy().starts_with(PARTIAL);
                if partial && used.elapsed().is_ok_and(|age| age < ABANDONED) {
                    continue;
                }
                all.push((used, metadata.len(), file.path()));
            }
        }
        all.sort();
        let mut total: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in all {
            if total <= self.limit {
                break;
            }
            if fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// The rows that were computed the same way.
#[derive(Debug)]
pub struct FeatureSet {
    cache: FeatureCache,
    folder: PathBuf,
    width: usize,
    segments: Vec<Segment>,
    /// Where each key's row is stored: in several places if one of them was damaged, or if two
    /// processes computed it at the same time.
    places: HashMap<Key, Vec<(usize, usize)>>,
    buffer: Vec<u8>,
}

impl FeatureSet {
    /// How many different rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn add(&mut self, segment: Segment, keys: Vec<Key>) {
        segment.touch();
        let index = self.segments.len();
        self.segments.push(segment);
        for (row, key) in keys.into_iter().enumerate() {
            self.places.entry(key).or_default().push((index, row));
        }
    }

    /// Reads a row into `out`, which has the set's width; false if it is absent or damaged.
    pub fn get(&mut self, key: &Key, out: &mut [f32]) -> bool {
        let Some(places) = self.places.get(key).filter(|_| out.len() == self.width) else {
            return false;
        };
        places
            .iter()
            .rev()
            .any(|&(segment, row)| self.segments[segment].read(row, &mut self.buffer, out))
    }

    /// Adds rows, `[keys, width]`, and removes old ones of any set if the cache has become too
    /// large.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written; [`Error::Length`].
    pub fn insert(&mut self, keys: &[Key], values: &[f32]) -> Result<()> {
        let needed = keys.len() * self.width;
        if values.len() != needed {
            return Err(Error::Length { keys: keys.len(), needed, found: values.len() });
        }
        if keys.is_empty() {
            return Ok(());
        }
        let fail = || Error::io(&self.folder);
        fs::create_dir_all(&self.folder).map_err(fail())?;
        let tag = self.cache.root.join(TAG);
        if !tag.exists() {
            fs::write(&tag, SIGNATURE).map_err(Error::io(&tag))?;
        }
        let file =
            tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.folder).map_err(fail())?;
        segment::write(file.as_file(), self.width, keys, values).map_err(fail())?;
        // The random part of the temporary name keeps processes apart.
        let random = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let random = random.trim_start_matches(PARTIAL);
        let written = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let path = self.folder.join(format!("{:020}-{random}{SUFFIX}", written.as_micros()));
        file.persist(&path).map_err(|e| fail()(e.error))?;
        if let Ok(Some((segment, keys))) = Segment::open(&path, self.width) {
            self.add(segment, keys);
        }
        self.cache.evict()
    }
}
