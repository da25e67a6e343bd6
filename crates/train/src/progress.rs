use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// The figures of an epoch, for humans to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// The epoch, from 0.
    pub epoch: u64,
    /// How many epochs there will be at most.
    pub epochs: u64,
    /// Mean loss over the epoch's batches, with dropout.
    pub loss: f64,
    /// Accuracy over the epoch's batches, with dropout.
    pub accuracy: f64,
    /// Loss on the validation pictures.
    pub val_loss: f64,
    /// Accuracy on the validation pictures.
    pub val_accuracy: f64,
    /// Whether the validation loss is the best so far.
    pub best: bool,
}

/// Receives progress reports. All methods do nothing by default.
pub trait Progress: Send + Sync {
    /// Something worth a line.
    fn say(&self, line: &str) {
        let _ = line;
    }

    /// Something that the user should fix.
    fn warn(&self, line: &str) {
        let _ = line;
    }

    /// A long piece of work begins: `total` units, e.g. pictures.
    fn begin(&self, work: &str, total: u64, unit: &'static str) {
        let _ = (work, total, unit);
    }

    /// `n` more units are done.
    fn advance(&self, n: u64) {
        let _ = n;
    }

    /// An epoch is over.
    fn epoch(&self, report: &EpochReport) {
        let _ = report;
    }

    /// The piece of work is over.
    fn end(&self) {}
}

struct Quiet;

impl Progress for Quiet {}

/// Reports of a part of a piece of work.
struct Part(Arc<dyn Progress>);

impl Progress for Part {
    fn say(&self, line: &str) {
        self.0.say(line);
    }

    fn warn(&self, line: &str) {
        self.0.warn(line);
    }

    fn advance(&self, n: u64) {
        self.0.advance(n);
    }
}

/// Where progress is reported for a piece of work, and whether it should stop.
#[derive(Clone)]
pub struct Watch {
    progress: Arc<dyn Progress>,
    interrupted: Arc<AtomicBool>,
    until: Option<Instant>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("interrupted", &self.interrupted()).finish_non_exhaustive()
    }
}

impl Watch {
    /// Reports to `progress`; stops soon after `interrupted` becomes true.
    pub fn new(progress: Arc<dyn Progress>, interrupted: Arc<AtomicBool>) -> Self {
        Self { progress, interrupted, until: None }
    }

    /// Reports nothing and is never interrupted.
    pub fn quiet() -> Self {
        Self::new(Arc::new(Quiet), Arc::default())
    }

    /// The same, without progress reports: for work within work.
    #[must_use]
    pub fn muted(&self) -> Self {
        Self { progress: Arc::new(Quiet), ..self.clone() }
    }

    /// The same, never interrupted.
    #[must_use]
    pub fn uninterrupted(&self) -> Self {
        Self { progress: Arc::clone(&self.progress), interrupted: Arc::default(), until: None }
    }

    /// The same, and interrupted from this moment on.
    #[must_use]
    pub fn until(&self, moment: Instant) -> Self {
        let until = self.until.map_or(moment, |other| other.min(moment));
        Self { until: Some(until), ..self.clone() }
    }

    /// The same for a part of a piece of work: it advances the whole, without a beginning and an
    /// end of its own.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { progress: Arc::new(Part(Arc::clone(&self.progress))), ..self.clone() }
    }

    /// Where progress is reported.
    pub fn progress(&self) -> &dyn Progress {
        self.progress.as_ref()
    }

    /// Whether an interruption was requested.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
            || self.until.is_some_and(|moment| Instant::now() >= moment)
    }
}
