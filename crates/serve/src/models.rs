use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use taper_core::AnyFault;
use taper_model::{Classifier, Input};

use crate::{Error, Result, batcher::Batcher, metrics::Metrics, options::ServeOptions};

/// Opens the model in a file.
pub type Opener = Arc<dyn Fn(&Path) -> std::result::Result<Classifier, AnyFault> + Send + Sync>;

/// A model that is to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it is called in requests.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

/// What a file was like when it was read: a replaced one is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    /// A file that replaces another one by renaming is another file.
    #[cfg(unix)]
    inode: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a file"));
        }
        Ok(Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
        })
    }
}

/// A model that was read, and the version of its file that it is.
pub(crate) struct Loaded {
    pub(crate) classifier: Classifier,
    /// 1 for the first one, and one more after each reload.
    pub(crate) version: u64,
}

/// A model that is served: what it is now, and those who wait for it.
pub(crate) struct Model {
    pub(crate) source: Source,
    current: RwLock<Arc<Loaded>>,
    pub(crate) queue: Batcher,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Model {
    pub(crate) fn open(
        source: Source,
        opener: &Opener,
        options: &ServeOptions,
        metrics: &Metrics,
    ) -> Result<Arc<Self>> {
        let classifier = opened(opener, &source.path, options).map_err(Error::Model)?;
        let loaded = Arc::new(Loaded { classifier, version: 1 });
        let model = Arc::new_cyclic(|own| {
            let queue = Batcher::start(own.clone(), options, metrics.of_model(&source.name));
            Self { source, current: RwLock::new(loaded), queue }
        });
        Ok(model)
    }

    /// What it is at the moment.
    pub(crate) fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the place of what it was; pictures that are being classified finish with that.
    pub(crate) fn replace(&self, classifier: Classifier) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let version = current.version + 1;
        *current = Arc::new(Loaded { classifier, version });
    }
}

const NOT_FINITE: &str =
    "it gives no numbers, so some of its weights are damaged: copy or train it again";

/// Opens a model and tries it once, so that what it allocates is there before the first request.
pub(crate) fn opened(
    opener: &Opener,
    path: &Path,
    options: &ServeOptions,
) -> std::result::Result<Classifier, AnyFault> {
    let classifier = opener(path)?.with_max_pixels(options.max_pixels);
    let size = classifier.preprocessing().size as usize;
    let grey = vec![128; size * size * 3];
    let inputs = vec![Input::Prepared(&grey); options.batch.min(classifier.backbone().batch())];
    for prediction in classifier.predict_many(&inputs) {
        if !prediction.map_err(AnyFault::new)?.probability.is_finite() {
            let (file, problem) = (path.display().to_string(), NOT_FINITE.to_owned());
            return Err(AnyFault::new(taper_model::Error::Artefact { file, problem }));
        }
    }
    Ok(classifier)
}
