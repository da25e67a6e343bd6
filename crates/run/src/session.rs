use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use taper_feature_cache::FeatureCache;
use taper_train::{Progress, Watch};

use crate::Observer;

/// The surroundings of a piece of work: where progress is reported, whether to stop, and where
/// features are cached.
#[derive(Debug, Clone)]
pub struct Session {
    watch: Watch,
    cache: Option<FeatureCache>,
    observer: Option<Arc<dyn Observer>>,
}

impl Session {
    /// Reports to `progress`; stops soon after `interrupted` becomes true.
    pub fn new(progress: Arc<dyn Progress>, interrupted: Arc<AtomicBool>) -> Self {
        Self { watch: Watch::new(progress, interrupted), cache: None, observer: None }
    }

    /// Reports nothing and is never interrupted.
    pub fn quiet() -> Self {
        Self { watch: Watch::quiet(), cache: None, observer: None }
    }

    /// Keeps features for later in this cache, and reads them from there.
    #[must_use]
    pub fn with_cache(mut self, cache: FeatureCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Shows every training that is over to an observer.
    #[must_use]
    pub fn with_observer(self, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { observer, ..self }
    }

    /// Who is shown every training that is over.
    pub fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.observer.as_ref()
    }

    /// The same, without progress reports: for work within work.
    #[must_use]
    pub fn muted(&self) -> Self {
        Self { watch: self.watch.muted(), ..self.clone() }
    }

    /// The same, and interrupted from this moment on.
    #[must_use]
    pub fn until(&self, moment: Instant) -> Self {
        Self { watch: self.watch.until(moment), ..self.clone() }
    }

    /// The same without a cache, for a short rest of work that an interruption no longer stops.
    #[must_use]
    pub(crate) fn finishing(&self) -> Self {
        Self { watch: self.watch.uninterrupted(), cache: None, ..self.clone() }
    }

    /// The same for a part of a piece of work, which advances the whole.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { watch: self.watch.part(), ..self.clone() }
    }

    /// The same without a cache.
    #[must_use]
    pub fn uncached(&self) -> Self {
        Self { cache: None, ..self.clone() }
    }

    /// The cache of features, if there is one.
    pub fn cache(&self) -> Option<&FeatureCache> {
        self.cache.as_ref()
    }

    /// Where progress is reported and whether to stop, for a trainer.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Where progress is reported.
    pub fn progress(&self) -> &dyn Progress {
        self.watch.progress()
    }

    /// Whether an interruption was requested.
    pub fn interrupted(&self) -> bool {
        self.watch.interrupted()
    }
}
