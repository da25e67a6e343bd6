use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use taper_core::{FrozenBackbone, Identity, PendingRows};
use taper_data::{Augment, Batch, Dataset, Item, Loader, LoaderOptions, Screen};
use taper_feature_cache::{FeatureSet, Key};
use taper_mixing::{MixedViews, Mixing};
use taper_picture::Finding;
use taper_train::Table;

use crate::{Error, Result, Session};

/// The features of pictures: one row each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// The rows, with their labels.
    pub table: Table,
    /// Which picture and view each row is of, in the order asked for; those that failed are
    /// missing.
    pub items: Vec<Item>,
    /// Pictures that could not be used, and remarks about others.
    pub findings: Vec<Finding>,
    /// How many rows came from the cache.
    pub cached: usize,
}

/// Views of pictures: what makes them, and its identity in the keys of cached features.
#[derive(Clone)]
pub struct NamedViews {
    /// Turns a picture into its view.
    pub augment: Arc<dyn Augment>,
    /// Everything that determines how, e.g. factors and seed. Two with the same identity make the
    /// same views.
    pub identity: String,
    /// How views are then mixed with others, if they are.
    pub mixing: Option<Arc<Mixing>>,
}

impl NamedViews {
    /// What the loader is given.
    pub(crate) fn augment(&self) -> Arc<dyn Augment> {
        let views = Arc::clone(&self.augment);
        match &self.mixing {
            Some(mixing) => Arc::new(MixedViews { views, mixing: Arc::clone(mixing) }),
            None => views,
        }
    }
}

impl std::fmt::Debug for NamedViews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedViews").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// How many batches a device works on while the next ones are decoded.
const AHEAD: usize = 2;

/// How many rows are written to the cache at a time.
const SEGMENT: usize = 2048;

/// Computes the features of pictures, each once; those that the session's cache holds are read from
/// there. A picture's file is read once, for its digest and its pixels.
///
/// Rows of pictures with a remark are not cached, so that the remark is made every time.
///
/// # Errors
/// If a picture cannot be used and `strict` is set; [`Error::NotFinite`]; [`Error::Interrupted`] if
/// interrupted. Rows computed until then are in the cache.
pub fn extract(
    backbone: &dyn FrozenBackbone,
    dataset: &Arc<Dataset>,
    items: Vec<Item>,
    views: Option<NamedViews>,
    strict: bool,
    session: &Session,
) -> Result<Features> {
    let width = backbone.width();
    let cached = Cached::open(backbone, dataset, views.as_ref(), session).map(Arc::new);
    let mut sweep = Sweep {
        backbone,
        dataset,
        items: &items,
        slots: vec![0.0; items.len() * width],
        present: vec![false; items.len()],
        findings: Vec::new(),
        cached,
        fresh: Vec::new(),
        from_cache: 0,
        next: 0,
    };
    let missing = sweep.without_reading();
    if !missing.is_empty() {
        session.progress().begin("features", missing.len() as u64, "pictures");
        let outcome = sweep.run(missing, views.as_ref(), strict, session);
        let finite = sweep.check_finite();
        // Damaged features are not kept.
        if finite.is_ok() {
            sweep.keep(session);
        }
        session.progress().end();
        finite?;
        outcome?;
    }
    let Sweep { slots, present, findings, from_cache, .. } = sweep;
    if from_cache > 0 {
        session.progress().say(&format!("{from_cache} of {} features from the cache", items.len()));
    }
    let mixing = views.and_then(|views| views.mixing);
    let size = backbone.preprocessing().size;
    Ok(gather(dataset, &items, slots, &present, findings, from_cache, mixing.as_deref(), size))
}

/// The rows that are there, one after the other.
#[allow(clippy::too_many_arguments, reason = "the parts of a sweep")]
fn gather(
    dataset: &Dataset,
    items: &[Item],
    mut slots: Vec<f32>,
    present: &[bool],
    mut findings: Vec<Finding>,
    cached: usize,
    mixing: Option<&Mixing>,
    size: u32,
) -> Features {
    // A picture whose views are in two batches is reported by both.
    let mut seen = HashSet::new();
    findings.retain(|f| seen.insert((f.path.clone(), f.reason.clone())));
    let width = slots.len() / items.len().max(1);
    let mut features = Features { findings, cached, ..Features::default() };
    let mut end = 0;
    for (index, item) in items.iter().enumerate().filter(|(i, _)| present[*i]) {
        slots.copy_within(index * width..(index + 1) * width, end);
        end += width;
        features.items.push(*item);
        features.table.labels.push(dataset.samples()[item.sample].label);
    }
    slots.truncate(end);
    features.table.width = width;
    features.table.values = slots;
    if let Some(mixing) = mixing {
        let usable: HashSet<usize> = features.items.iter().map(|item| item.sample).collect();
        let second = |item: &Item| mixing.second(*item, size, &usable);
        features.table.mixed = features.items.iter().map(second).collect();
    }
    features
}

/// One pass over pictures.
struct Sweep<'a> {
    backbone: &'a dyn FrozenBackbone,
    dataset: &'a Arc<Dataset>,
    items: &'a [Item],
    /// The row of each item.
    slots: Vec<f32>,
    /// Whether it is there.
    present: Vec<bool>,
    findings: Vec<Finding>,
    cached: Option<Arc<Cached>>,
    /// Items that were computed and are not in the cache yet.
    fresh: Vec<usize>,
    from_cache: usize,
    /// Where to look for the next item of a batch.
    next: usize,
}

impl Sweep<'_> {
    /// Whether all rows are numbers.
    fn check_finite(&self) -> Result<()> {
        let rows = self.slots.chunks_exact(self.backbone.width()).zip(&self.present);
        let damaged = rows
            .zip(self.items)
            .find(|((row, present), _)| **present && row.iter().any(|value| !value.is_finite()));
        match damaged {
            None => Ok(()),
            Some((_, item)) => {
                let picture = self.dataset.samples()[item.sample].id.clone();
                Err(Error::NotFinite { picture })
            }
        }
    }

    /// Takes the rows from the cache that can be found without reading a picture; returns the
    /// remaining items.
    fn without_reading(&mut self) -> Vec<Item> {
        let Some(cached) = self.cached.clone() else { return self.items.to_vec() };
        let mut missing = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            let digest = self.dataset.known_digest(item.sample);
            if digest.is_some_and(|digest| cached.is_known(*item, &digest)) {
                self.take_known(index, &cached);
            } else {
                missing.push(*item);
            }
        }
        missing
    }

    fn take_known(&mut self, index: usize, cached: &Cached) {
        let width = self.backbone.width();
        if let Some(row) = cached.take(self.items[index]) {
            self.slots[index * width..][..width].copy_from_slice(&row);
            self.present[index] = true;
            self.from_cache += 1;
        }
    }

    fn run(
        &mut self,
        missing: Vec<Item>,
        views: Option<&NamedViews>,
        strict: bool,
        session: &Session,
    ) -> Result<()> {
        let batch_size = self.backbone.batch();
        let options = LoaderOptions { batch_size, strict, ..LoaderOptions::default() };
        let preprocessing = *self.backbone.preprocessing();
        let augment = views.map(NamedViews::augment);
        let dataset = Arc::clone(self.dataset);
        let mut loader = Loader::new(dataset, preprocessing, missing, augment, options)?;
        if let Some(cached) = &self.cached {
            loader = loader.screened(Arc::clone(cached) as Arc<dyn Screen>);
        }
        let mut ahead = VecDeque::new();
        for batch in loader {
            if session.interrupted() {
                break;
            }
            let mut batch = batch?;
            let pixels = std::mem::take(&mut batch.pixels);
            let before = self.backbone.batch();
            let pending = match batch.len() {
                0 => PendingRows::ready(Vec::new()),
                n => self.backbone.submit(&pixels, n)?,
            };
            if self.backbone.batch() < before {
                session.progress().warn(&format!(
                    "the device has no room for {before} pictures at a time: continuing with {}",
                    self.backbone.batch()
                ));
            }
            ahead.push_back((batch, pending));
            if ahead.len() > AHEAD {
                self.take_in(&mut ahead, session)?;
            }
        }
        while !ahead.is_empty() {
            self.take_in(&mut ahead, session)?;
        }
        // What has been computed so far is not lost.
        if session.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Puts the rows of the oldest batch into their places.
    fn take_in(
        &mut self,
        ahead: &mut VecDeque<(Batch, PendingRows)>,
        session: &Session,
    ) -> Result<()> {
        let Some((batch, pending)) = ahead.pop_front() else { return Ok(()) };
        let rows = pending.wait()?;
        let width = self.backbone.width();
        let remarked: HashSet<&str> = batch.remarks.iter().map(|f| f.path.as_str()).collect();
        let computed = batch.indices.iter().zip(&batch.views);
        let computed = computed.map(|(&sample, &view)| Item { sample, view });
        let mut places: HashMap<Item, Option<&[f32]>> =
            computed.zip(rows.chunks_exact(width.max(1)).map(Some)).collect();
        places.extend(batch.known.iter().map(|item| (*item, None)));
        // Batches come in the order of the items, without the pictures that failed.
        while !places.is_empty() && self.next < self.items.len() {
            let index = self.next;
            let item = self.items[index];
            self.next += 1;
            match places.remove(&item) {
                Some(Some(row)) => {
                    self.slots[index * width..][..width].copy_from_slice(row);
                    self.present[index] = true;
                    let id = &self.dataset.samples()[item.sample].id;
                    if !remarked.contains(id.as_str()) {
                        self.fresh.push(index);
                    }
                }
                Some(None) => {
                    if let Some(cached) = self.cached.clone() {
                        self.take_known(index, &cached);
                    }
                }
                None => {}
            }
        }
        if self.fresh.len() >= SEGMENT {
            self.keep(session);
        }
        let done = batch.len() + batch.known.len() + batch.failed.len();
        session.progress().advance(done as u64);
        self.findings.extend(batch.failed);
        self.findings.extend(batch.remarks);
        Ok(())
    }

    /// Writes the computed rows. If the cache cannot be written, that only costs time later.
    fn keep(&mut self, session: &Session) {
        let fresh = std::mem::take(&mut self.fresh);
        let Some(cached) = &self.cached else { return };
        let width = self.backbone.width();
        let fresh = fresh.iter().filter_map(|&i| Some((cached.key(self.items[i])?, i)));
        let (keys, rows): (Vec<Key>, Vec<usize>) = fresh.unzip();
        let values: Vec<f32> =
            rows.iter().flat_map(|&i| &self.slots[i * width..][..width]).copied().collect();
        let mut set = cached.set.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = set.insert(&keys, &values) {
            session.progress().warn(&format!("the features were not cached: {error}"));
        }
    }
}

/// The session's cache, for one backbone and one kind of views.
struct Cached {
    dataset: Arc<Dataset>,
    set: Mutex<FeatureSet>,
    width: usize,
    views: Option<String>,
    mixing: Option<Arc<Mixing>>,
    /// The key of each item that was looked up and not found, and the rows of those that were.
    looked_up: Mutex<HashMap<Item, Entry>>,
}

enum Entry {
    Missing(Key),
    Found(Vec<f32>),
}

impl Cached {
    fn open(
        backbone: &dyn FrozenBackbone,
        dataset: &Arc<Dataset>,
        views: Option<&NamedViews>,
        session: &Session,
    ) -> Option<Self> {
        let (cache, identity) = session.cache().zip(backbone.identity())?;
        let set = match cache.set(identity, backbone.width()) {
            Ok(set) => Mutex::new(set),
            Err(error) => {
                session.progress().warn(&format!("{error}; the features are computed again"));
                return None;
            }
        };
        Some(Self {
            dataset: Arc::clone(dataset),
            set,
            width: backbone.width(),
            views: views.map(|views| views.identity.clone()),
            mixing: views.and_then(|views| views.mixing.clone()),
            looked_up: Mutex::default(),
        })
    }

    /// What determines an item's row besides the backbone; none if a picture that it is mixed with
    /// cannot be read.
    fn key_of(&self, item: Item, picture: &[u8; 32]) -> Option<Key> {
        let row = Identity::new("taper/row", 1).bytes("picture", picture);
        let Some(views) = self.views.as_ref().filter(|_| item.view > 0) else {
            return Some(row.finish());
        };
        // The streams of a view are keyed by the picture's id too.
        let own = self.dataset.samples()[item.sample].key();
        let mut row = row.number("view", item.view.into()).text("views", views).number("id", own);
        if let Some(mixing) = &self.mixing {
            row = row.text("mixing", mixing.identity());
            if let Some(partner) = mixing.partner(item) {
                let other = self.dataset.picture_digest(partner).ok()?;
                let key = self.dataset.samples()[partner].key();
                row = row.bytes("partner", &other).number("partner id", key);
            }
        }
        Some(row.finish())
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<Item, Entry>> {
        self.looked_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of an item that is known.
    fn take(&self, item: Item) -> Option<Vec<f32>> {
        match self.entries().remove(&item)? {
            Entry::Found(row) => Some(row),
            Entry::Missing(_) => None,
        }
    }

    /// The key of an item that is not known.
    fn key(&self, item: Item) -> Option<Key> {
        match self.entries().remove(&item)? {
            Entry::Missing(key) => Some(key),
            Entry::Found(_) => None,
        }
    }
}

impl Screen for Cached {
    fn is_known(&self, item: Item, digest: &[u8; 32]) -> bool {
        let Some(key) = self.key_of(item, digest) else { return false };
        let mut row = vec![0.0; self.width];
        let found = {
            let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
            !set.is_empty() && set.get(&key, &mut row)
        };
        let entry = if found { Entry::Found(row) } else { Entry::Missing(key) };
        self.entries().insert(item, entry);
        found
    }
}
