//! Pictures in batches: decoded, augmented and resized in parallel, in the requested order.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    time::Duration,
};

use image::RgbImage;
use rayon::prelude::*;
use taper_core::{OutOfRange, Preprocessing};

use crate::{Dataset, Error, Result};
use taper_picture::{Defect, DefectKind, Finding, Preparer, recycle};

/// One picture to be loaded: a sample, and which view of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item {
    /// Index into [`Dataset::samples`].
    pub sample: usize,
    /// 0 is the untouched picture; every other number is a variant made by the [`Augment`].
    pub view: u32,
}

impl Item {
    /// The untouched pictures of `indices`.
    pub fn untouched(indices: &[usize]) -> Vec<Item> {
        Self::views(indices, 0..1)
    }

    /// The pictures `times` times over, one pass after the other: the first pass has view 0, the
    /// unchanged picture, the next view 1, and so on. This corresponds to TensorFlow's
    /// `repeat(times)` before a random augmentation: 2,520 pictures twice are 5,040.
    pub fn repeat(indices: &[usize], times: u32) -> Vec<Item> {
        (0..times)
            .flat_map(|view| indices.iter().map(move |&sample| Item { sample, view }))
            .collect()
    }

    /// The given views of every picture, with all views of one picture next to each other: within a
    /// batch, the picture is then read and decoded once for all of them.
    pub fn views(indices: &[usize], views: Range<u32>) -> Vec<Item> {
        indices
            .iter()
            .flat_map(|&sample| views.clone().map(move |view| Item { sample, view }))
            .collect()
    }
}

/// Makes variants of pictures. Any `Fn(&RgbImage, u32, u64) -> RgbImage` will do: what it returns
/// is resized as an untouched picture would be.
///
/// It must be a pure function of picture, view, key and specification: it is called from several
/// threads, in any order.
pub trait Augment: Send + Sync {
    /// Writes variant number `view` (1 or above) of a picture to `out` in the network's format: u8,
    /// layout \[size, size, 3\] (RGB), range 0…255. `key` is [`Sample::key`](crate::Sample::key),
    /// for keying random streams. The preparer has the specification, and buffers.
    ///
    /// # Errors
    /// If the picture cannot be resized.
    fn augment_into(
        &self,
        picture: &RgbImage,
        view: u32,
        key: u64,
        preparer: &mut Preparer,
        out: &mut [u8],
    ) -> Result<()>;
}

impl<F: Fn(&RgbImage, u32, u64) -> RgbImage + Send + Sync> Augment for F {
    fn augment_into(
        &self,
        picture: &RgbImage,
        view: u32,
        key: u64,
        preparer: &mut Preparer,
        out: &mut [u8],
    ) -> Result<()> {
        Ok(preparer.prepare_into(&self(picture, view, key), out)?)
    }
}

/// Knows which pictures need not be loaded.
pub trait Screen: Send + Sync {
    /// Whether an item need not be loaded, since its result is known already. `digest` identifies
    /// the picture's content ([`Dataset::picture_digest`]), which has been read; it is not decoded
    /// if none of its views is needed. Called from several threads, once for each item.
    fn is_known(&self, item: Item, digest: &[u8; 32]) -> bool;
}

/// How a [`Loader`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Pictures per batch, at least 1. Default 64.
    pub batch_size: usize,
    /// How many batches are prepared ahead of the one being returned, at least 1. Default 2. At
    /// most `(prefetch + 1) · batch_size · size² · 3` bytes of pixels are held.
    pub prefetch: usize,
    /// Whether a picture that cannot be used, or needs a remark, ends the iteration with
    /// [`Error::Refused`] instead of being reported in its batch. Default false.
    pub strict: bool,
    /// Whether a last batch of a single picture is merged into the one before it, which then has
    /// `batch_size + 1`: batch normalisation cannot train on one value. Default false.
    pub merge_single_last: bool,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self { batch_size: 64, prefetch: 2, strict: false, merge_single_last: false }
    }
}

/// Prepared pictures. The n pictures that could be used; those that failed are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// u8, layout \[n, size, size, 3\] (pictures, rows, columns, RGB), range 0…255, not normalised.
    pub pixels: Vec<u8>,
    /// Side of the pictures in pixels.
    pub size: u32,
    /// Label of each picture, \[n\].
    pub labels: Vec<u32>,
    /// Index of each picture in the data set, \[n\], in the requested order.
    pub indices: Vec<usize>,
    /// View of each picture, \[n\].
    pub views: Vec<u32>,
    /// Samples requested in this batch that could not be used: one entry per sample, however many
    /// views.
    pub failed: Vec<Finding>,
    /// Remarks about samples that are used anyway.
    pub remarks: Vec<Finding>,
    /// Items of this batch that the [`Screen`] already knew: they are not among the pictures.
    pub known: Vec<Item>,
}

impl Batch {
    /// The number n of pictures. It can be 0 if all failed.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether all pictures failed.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// An iterator of [`Batch`]es.
///
/// **Order.** Batches and the pictures in them come in the order of the items, and their bytes do
/// not depend on the number of threads: every picture is a function of its item alone.
///
/// **Failures.** A picture that cannot be decoded is left out of its batch and named in
/// [`Batch::failed`]; later pictures do not move up into its place, so that batch k always consists
/// of the items from `k · batch_size` on. In strict mode the first batch with a finding (or a
/// finding made while indexing) ends the iteration with [`Error::Refused`].
///
/// **Decoding once.** No pass over the data is needed beforehand. A caller that fixes its splits
/// before training does so over all indexed pictures, loads each once (to compute features, say),
/// passes the failures to [`Dataset::exclude`], and then takes [`Dataset::splits`], or
/// [`Splits::without`](crate::Splits::without) if they are fixed already. Indices stay valid
/// throughout. [`Dataset::verify`] is for callers that want to check without loading.
///
/// **Threads and memory.** The work is done in rayon's pool (the current one, if the loader is used
/// inside a pool), up to `prefetch` batches ahead; the loader starts no threads. It may be used
/// from within the pool, even one with a single thread.
///
/// **Ending.** Dropping a loader cancels its pending work: at most the pictures being decoded at
/// that moment are finished, and nothing waits for them.
///
/// A panic in the [`Augment`] is passed on to the caller of `next`.
pub struct Loader {
    job: Arc<Job>,
    options: LoaderOptions,
    /// What remains to be started, as ranges of items.
    pending: VecDeque<Range<usize>>,
    /// What has been started, oldest first.
    running: VecDeque<Receiver<Outcome>>,
    refused: Option<Error>,
}

type Outcome = std::result::Result<Batch, Box<dyn Any + Send>>;

struct Job {
    dataset: Arc<Dataset>,
    spec: Preprocessing,
    items: Vec<Item>,
    augment: Option<Arc<dyn Augment>>,
    screen: Option<Arc<dyn Screen>>,
    cancelled: AtomicBool,
}

/// The results for the items of one sample.
struct Loaded {
    remark: Option<Finding>,
    /// Whether the screen knew each item.
    known: Vec<bool>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("place", &self.job.dataset.place())
            .field("items", &self.job.items.len())
            .field("options", &self.options)
            .field("pending", &self.pending.len())
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// Prepares to load `items` of a data set. Work starts with the first call of `next`.
    ///
    /// Views above 0 need an `augment`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a batch size or prefetch of 0, or views above 0 without `augment`;
    /// [`Error::NoSample`] for an index beyond the data set; [`Error::Picture`] for a specification
    /// out of range.
    pub fn new(
        dataset: Arc<Dataset>,
        spec: Preprocessing,
        items: Vec<Item>,
        augment: Option<Arc<dyn Augment>>,
        options: LoaderOptions,
    ) -> Result<Self> {
        spec.check().map_err(taper_picture::Error::from)?;
        for (field, value) in [("batch size", options.batch_size), ("prefetch", options.prefetch)] {
            if value == 0 {
                return Err(OutOfRange::new(field, 0, "use 1 or more").into());
            }
        }
        if let Some(item) = items.iter().find(|i| i.sample >= dataset.len()) {
            return Err(Error::NoSample {
                place: dataset.place(),
                index: item.sample,
                len: dataset.len(),
            });
        }
        if let Some(item) = items.iter().find(|i| i.view > 0).filter(|_| augment.is_none()) {
            return Err(OutOfRange::new(
                "view",
                item.view,
                "views above 0 need an augmentation policy",
            )
            .into());
        }
        let mut pending: VecDeque<Range<usize>> = (0..items.len())
            .step_by(options.batch_size)
            .map(|start| start..items.len().min(start.saturating_add(options.batch_size)))
            .collect();
        if options.merge_single_last
            && pending.len() > 1
            && pending.back().is_some_and(|last| last.len() == 1)
        {
            pending.pop_back();
            if let Some(last) = pending.back_mut() {
                last.end = items.len();
            }
        }
        let refused = if options.strict { dataset.refuse_findings().err() } else { None };
        let cancelled = AtomicBool::new(false);
        let job = Arc::new(Job { dataset, spec, items, augment, screen: None, cancelled });
        Ok(Self { job, options, pending, running: VecDeque::new(), refused })
    }

    /// Loads only what the screen does not know; call this before the first `next`.
    #[must_use]
    pub fn screened(mut self, screen: Arc<dyn Screen>) -> Self {
        if let Some(job) = Arc::get_mut(&mut self.job) {
            job.screen = Some(screen);
        }
        self
    }

    fn start_ahead(&mut self) {
        // One batch is about to be returned; `prefetch` more are kept in progress.
        while self.running.len() <= self.options.prefetch {
            let Some(range) = self.pending.pop_front() else { return };
            let (sender, receiver) = sync_channel(1);
            let job = Arc::clone(&self.job);
            rayon::spawn(move || job.run(range, &sender));
            self.running.push_back(receiver);
        }
    }

    fn stop(&mut self) {
        self.job.cancelled.store(true, Ordering::Relaxed);
        self.pending.clear();
        self.running.clear();
    }
}

impl Job {
    fn run(&self, range: Range<usize>, sender: &SyncSender<Outcome>) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.batch(range)));
        // The channel has room for one result, and a dropped loader no longer wants it: sending
        // never waits.
        let _ = sender.try_send(outcome);
    }

    fn batch(&self, range: Range<usize>) -> Batch {
        let items = &self.items[range];
        let size = self.spec.size as usize;
        let mut pixels = vec![0; items.len() * size * size * 3];

        // One piece of work per run of items of the same sample, which share one decoding.
        let mut work: Vec<(&[Item], &mut [u8])> = Vec::new();
        let mut rest = pixels.as_mut_slice();
        for run in items.chunk_by(|a, b| a.sample == b.sample) {
            let (own, others) = rest.split_at_mut(run.len() * size * size * 3);
            work.push((run, own));
            rest = others;
        }
        let outcomes: Vec<std::result::Result<Loaded, Finding>> = work
            .into_par_iter()
            .map_init(
                || Preparer::new(self.spec),
                |preparer, (run, out)| self.pictures(preparer, run, out),
            )
            .collect();

        let mut batch = Batch { pixels, size: self.spec.size, ..Batch::default() };
        let picture = size * size * 3;
        let (mut from, mut to) = (0, 0);
        for (run, outcome) in items.chunk_by(|a, b| a.sample == b.sample).zip(outcomes) {
            match outcome {
                Ok(Loaded { remark, known }) => {
                    for (item, known) in run.iter().zip(known) {
                        if known {
                            batch.known.push(*item);
                        } else {
                            if from != to {
                                batch.pixels.copy_within(from..from + picture, to);
                            }
                            to += picture;
                            batch.labels.push(self.dataset.samples()[item.sample].label);
                            batch.indices.push(item.sample);
                            batch.views.push(item.view);
                        }
                        from += picture;
                    }
                    batch.remarks.extend(remark);
                }
                Err(finding) => {
                    batch.failed.push(finding);
                    from += run.len() * picture;
                }
            }
        }
        batch.pixels.truncate(to);
        for findings in [&mut batch.failed, &mut batch.remarks] {
            let mut seen = std::collections::HashSet::new();
            findings.retain(|f| seen.insert(f.sample));
        }
        batch
    }

    /// All views of one sample, or why there are none.
    fn pictures(
        &self,
        preparer: &mut taper_picture::Result<Preparer>,
        run: &[Item],
        out: &mut [u8],
    ) -> std::result::Result<Loaded, Finding> {
        let failed = |sample: usize, reason: String| {
            let id = self.dataset.samples()[sample].id.clone();
            Defect::new(DefectKind::Corrupt, reason).at(Some(sample), id)
        };
        let mut known = vec![false; run.len()];
        let Some(first) = run.first() else { return Ok(Loaded { remark: None, known }) };
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(failed(first.sample, "loading was stopped".into()));
        }
        let preparer = preparer.as_mut().map_err(|e| failed(first.sample, e.to_string()))?;
        let picture = match &self.screen {
            None => Some(self.dataset.read(first.sample)?),
            Some(screen) => self.dataset.read_unless(first.sample, |digest| {
                for (known, item) in known.iter_mut().zip(run) {
                    *known = screen.is_known(*item, digest);
                }
                known.iter().all(|known| *known)
            })?,
        };
        let Some(picture) = picture else { return Ok(Loaded { remark: None, known }) };
        let key = self.dataset.samples()[first.sample].key();
        let slots = out.chunks_exact_mut(preparer.len());
        for ((item, out), _) in run.iter().zip(slots).zip(&known).filter(|(_, known)| !**known) {
            let prepared = match &self.augment {
                Some(augment) if item.view > 0 => {
                    augment.augment_into(&picture.pixels, item.view, key, preparer, out)
                }
                _ => preparer.prepare_into(&picture.pixels, out).map_err(Error::from),
            };
            prepared.map_err(|e| failed(first.sample, e.to_string()))?;
        }
        let remark = self.dataset.misnamed(first.sample, &picture);
        recycle(picture.pixels);
        Ok(Loaded { remark, known })
    }
}

/// Waits for a batch. Within rayon's pool, waiting means working: if the pool's only thread slept
/// here, no thread would be left to make the batch.
fn wait(receiver: &Receiver<Outcome>) -> Option<Outcome> {
    loop {
        match receiver.try_recv() {
            Ok(outcome) => return Some(outcome),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => {}
            Some(rayon::Yield::Idle) => match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(outcome) => return Some(outcome),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            },
            None => return receiver.recv().ok(),
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if let Some(error) = self.refused.take() {
            self.stop();
            return Some(Err(error));
        }
        self.start_ahead();
        let outcome = wait(&self.running.pop_front()?)?;
        let batch = match outcome {
            Ok(batch) => batch,
            Err(panic) => {
                self.stop();
                resume_unwind(panic);
            }
        };
        if self.options.strict && !(batch.failed.is_empty() && batch.remarks.is_empty()) {
            self.stop();
            let mut findings = batch.failed;
            findings.extend(batch.remarks);
            return Some(Err(Error::Refused { place: self.job.dataset.place(), findings }));
        }
        Some(Ok(batch))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.pending.len() + self.running.len();
        (usize::from(left > 0), Some(left + usize::from(self.refused.is_some())))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicUsize,
        time::{Duration, Instant},
    };

    use taper_core::{ClassNames, Fit, Interpolation};

    use super::*;
    use crate::{Content, PictureSource, Sample, fixture};

    /// Renders pictures; slots that are a multiple of 7 fail. Counts the requests.
    #[derive(Debug, Default)]
    struct Rendered {
        fetched: AtomicUsize,
        slow: bool,
        fail: bool,
    }

    impl PictureSource for Rendered {
        fn fetch(&self, sample: &Sample, _: u64) -> std::result::Result<Content, Defect> {
            self.fetched.fetch_add(1, Ordering::SeqCst);
            if self.slow {
                std::thread::sleep(Duration::from_millis(2));
            }
            if self.fail && sample.slot.is_multiple_of(7) {
                return Err(Defect::new(DefectKind::Corrupt, "by design"));
            }
            Ok(Content::Pixels(fixture::picture(sample.label as usize, sample.slot, 20, 16)))
        }
        fn place(&self) -> String {
            "rendered".into()
        }
    }

    fn dataset(n: usize, source: Arc<Rendered>) -> Arc<Dataset> {
        let classes = ClassNames::new(vec!["a".into(), "b".into()]).unwrap();
        let samples =
            (0..n).map(|i| Sample::new(format!("{i:05}"), None, i as u32 % 2, i)).collect();
        Arc::new(Dataset::new(classes, samples, source).unwrap())
    }

    fn spec() -> Preprocessing {
        Preprocessing {
            size: 8,
            interpolation: Interpolation::Bilinear,
            fit: Fit::Squash,
            mean: [0.5; 3],
            std: [0.5; 3],
        }
    }

    fn options(batch_size: usize) -> LoaderOptions {
        LoaderOptions { batch_size, ..LoaderOptions::default() }
    }

    fn shifted() -> Option<Arc<dyn Augment>> {
        Some(Arc::new(|picture: &RgbImage, view: u32, key: u64| {
            let mut picture = picture.clone();
            picture.iter_mut().for_each(|p| *p = p.wrapping_add(view as u8 + key as u8));
            picture
        }))
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_threads() {
        let source = Arc::new(Rendered { fail: true, ..Rendered::default() });
        let data = dataset(50, source);
        let order: Vec<usize> = (0..50).map(|i| (i * 17) % 50).collect();
        let run = |threads: usize| -> Vec<Batch> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            // From within the pool: with one thread, waiting must be working.
            pool.install(|| {
                let items = Item::views(&order, 0..3);
                Loader::new(data.clone(), spec(), items, shifted(), options(16))
                    .unwrap()
                    .map(|b| b.unwrap())
                    .collect()
            })
        };
        let one = run(1);
        assert_eq!(one.len(), 10);
        assert_eq!(one, run(2));
        assert_eq!(one, run(8));
        let outside: Vec<Batch> =
            Loader::new(data.clone(), spec(), Item::views(&order, 0..3), shifted(), options(16))
                .unwrap()
                .map(|b| b.unwrap())
                .collect();
        assert_eq!(one, outside);
    }

    #[test]
    fn pictures_are_where_their_index_says_and_failures_are_left_out() {
        let source = Arc::new(Rendered { fail: true, ..Rendered::default() });
        let data = dataset(20, source);
        let indices: Vec<usize> = (0..20).collect();
        let loader =
            Loader::new(data.clone(), spec(), Item::untouched(&indices), None, options(8)).unwrap();
        let (mut seen, mut failed) = (Vec::new(), Vec::new());
        for batch in loader {
            let batch = batch.unwrap();
            assert_eq!(batch.pixels.len(), batch.len() * 8 * 8 * 3);
            for (i, pixels) in batch.pixels.chunks_exact(8 * 8 * 3).enumerate() {
                let index = batch.indices[i];
                let picture = data.read(index).unwrap().pixels;
                assert_eq!(pixels, taper_picture::prepare(&picture, &spec()).unwrap(), "{index}");
                assert_eq!(batch.labels[i], index as u32 % 2);
            }
            seen.extend(batch.indices);
            failed.extend(batch.failed.into_iter().map(|f| f.sample.unwrap()));
        }
        assert_eq!(failed, [0, 7, 14]);
        seen.extend(failed);
        seen.sort_unstable();
        assert_eq!(seen, indices);
    }

    #[test]
    fn views_of_a_picture_share_one_decoding() {
        let source = Arc::new(Rendered::default());
        let data = dataset(12, source.clone());
        let items = Item::views(&(0..12).collect::<Vec<_>>(), 0..4);
        let batches: Vec<Batch> = Loader::new(data, spec(), items, shifted(), options(16))
            .unwrap()
            .map(|b| b.unwrap())
            .collect();
        assert_eq!(source.fetched.load(Ordering::SeqCst), 12);
        assert_eq!(batches[0].views[..5], [0, 1, 2, 3, 0]);
        assert_ne!(batches[0].pixels[..192], batches[0].pixels[192..384]);
    }

    #[test]
    fn work_ahead_is_bounded_and_ends_when_dropped() {
        let source = Arc::new(Rendered { slow: true, ..Rendered::default() });
        let data = dataset(1_000, source.clone());
        let indices: Vec<usize> = (0..1_000).collect();
        let mut loader =
            Loader::new(data, spec(), Item::untouched(&indices), None, options(10)).unwrap();
        assert_eq!(source.fetched.load(Ordering::SeqCst), 0);
        loader.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let ahead = source.fetched.load(Ordering::SeqCst);
        assert!(ahead <= 30, "{ahead}");
        loader.next().unwrap().unwrap();
        let start = Instant::now();
        drop(loader);
        assert!(start.elapsed() < Duration::from_millis(100));
        std::thread::sleep(Duration::from_millis(100));
        let stopped = source.fetched.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(source.fetched.load(Ordering::SeqCst), stopped);
        assert!(stopped <= 40, "{stopped}");
    }

    #[test]
    fn strict_mode_ends_at_the_first_failure() {
        let source = Arc::new(Rendered { fail: true, ..Rendered::default() });
        let data = dataset(20, source);
        let strict = LoaderOptions { strict: true, ..options(4) };
        let items = Item::untouched(&(1..20).collect::<Vec<_>>());
        let mut loader = Loader::new(data, spec(), items, None, strict).unwrap();
        assert_eq!(loader.next().unwrap().unwrap().indices, [1, 2, 3, 4]);
        let Some(Err(Error::Refused { findings, .. })) = loader.next() else { panic!() };
        assert_eq!(findings[0].path, "00007");
        assert!(loader.next().is_none());
    }

    #[test]
    fn a_last_batch_of_one_can_join_the_one_before() {
        let sizes = |n: usize, batch: usize, merge: bool| -> Vec<usize> {
            let data = dataset(n, Arc::default());
            let items = Item::untouched(&(0..n).collect::<Vec<_>>());
            let options = LoaderOptions { merge_single_last: merge, ..options(batch) };
            Loader::new(data, spec(), items, None, options)
                .unwrap()
                .map(|b| b.unwrap().len())
                .collect()
        };
        assert_eq!(sizes(9, 4, false), [4, 4, 1]);
        assert_eq!(sizes(9, 4, true), [4, 5]);
        assert_eq!(sizes(10, 4, true), [4, 4, 2]);
        assert_eq!(sizes(1, 4, true), [1]);
    }

    #[test]
    fn nonsense_is_refused_and_a_panic_is_passed_on() {
        let data = dataset(4, Arc::default());
        let new = |items: Vec<Item>, augment, options| {
            Loader::new(data.clone(), spec(), items, augment, options)
        };
        assert!(new(vec![], None, options(0)).is_err());
        assert!(new(vec![], None, LoaderOptions { prefetch: 0, ..options(1) }).is_err());
        assert!(new(vec![Item { sample: 4, view: 0 }], None, options(1)).is_err());
        assert!(new(vec![Item { sample: 0, view: 1 }], None, options(1)).is_err());
        assert!(new(vec![], None, options(1)).unwrap().next().is_none());

        let bad: Arc<dyn Augment> =
            Arc::new(|_: &RgbImage, _: u32, _: u64| -> RgbImage { panic!("by design") });
        let mut loader = new(vec![Item { sample: 0, view: 1 }], Some(bad), options(1)).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| loader.next()));
        assert!(outcome.is_err());
        assert!(loader.next().is_none());
    }
}
