use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use rayon::prelude::*;
use taper_data::{Augment, Batch, Dataset, Item, Loader, LoaderOptions};
use taper_feature_cache::{FeatureSet, Key, digest};
use taper_picture::Finding;

use crate::{
    Backbone, Error, Result, Session,
    backbone::Pending,
    mixing::{MixedViews, Mixing},
};

/// What the frozen backbone says about pictures: one row each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// Numbers per row.
    pub width: usize,
    /// f32 `[rows, width]`, row-major.
    pub values: Vec<f32>,
    /// Label of each row.
    pub labels: Vec<u32>,
    /// What each row was mixed with: the second label and its share, 0 to 1. Empty if nothing was mixed.
    pub mixed: Vec<(u32, f32)>,
    /// Which picture and view each row is of, in the order asked for; those that failed are missing.
    pub items: Vec<Item>,
    /// Pictures that could not be used, and remarks about others.
    pub findings: Vec<Finding>,
    /// How many rows came from the cache.
    pub cached: usize,
}

impl Features {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The rows from `start` on, as a table of their own; this one keeps the rows before.
    pub(crate) fn split_off(&mut self, start: usize) -> Features {
        Features {
            width: self.width,
            values: self.values.split_off(start * self.width),
            labels: self.labels.split_off(start),
            mixed: self.mixed.split_off(start.min(self.mixed.len())),
            items: self.items.split_off(start),
            findings: Vec::new(),
            cached: 0,
        }
    }
}

/// Views of pictures: what makes them, and what it is called in the keys of cached features.
#[derive(Clone)]
pub struct NamedViews {
    /// Changes a picture into its view.
    pub augment: Arc<dyn Augment>,
    /// Everything that decides how, e.g. factors and seed. Two of the same identity make the same views.
    pub identity: String,
    /// How views are mixed with others after that, if they are.
    pub mixing: Option<Arc<Mixing>>,
}

impl NamedViews {
    /// What the loader is given.
    fn augment(self) -> Arc<dyn Augment> {
        match self.mixing {
            Some(mixing) => Arc::new(MixedViews { views: self.augment, mixing }),
            None => self.augment,
        }
    }
}

impl std::fmt::Debug for NamedViews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedViews").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Batches that a device works on while the next ones are decoded.
const AHEAD: usize = 2;

/// Rows that are written to the cache at a time.
const SEGMENT: usize = 2048;

/// Computes the features of pictures, each once; those that the session's cache holds are read from there.
///
/// Rows of pictures about which there is something to remark are not cached, so that the remark is made every time.
///
/// # Errors
/// If a picture cannot be used and `strict` is set; [`Error::Interrupted`] if somebody asked to stop. Rows that were
/// computed until then are in the cache.
pub fn extract(
    backbone: &mut Backbone,
    dataset: &Arc<Dataset>,
    items: Vec<Item>,
    views: Option<NamedViews>,
    strict: bool,
    session: &Session,
) -> Result<Features> {
    let width = backbone.width();
    let mut cache = Cached::open(backbone, dataset, &items, views.as_ref(), session);
    let mut slots = vec![0.0; items.len() * width];
    let mut present = vec![false; items.len()];
    if let Some(cache) = &mut cache {
        cache.read(&mut slots, &mut present);
    }
    let cached = present.iter().filter(|p| **p).count();
    if cached > 0 {
        session.progress().say(&format!("{cached} of {} features from the cache", items.len()));
    }
    let missing: Vec<usize> = (0..items.len()).filter(|i| !present[*i]).collect();
    let mut findings = Vec::new();
    let mixing = views.as_ref().and_then(|views| views.mixing.clone());
    if !missing.is_empty() {
        session.progress().begin("features", missing.len() as u64, "pictures");
        let mut sweep = Sweep {
            backbone,
            missing: &missing,
            items: &items,
            slots: &mut slots,
            present: &mut present,
            findings: &mut findings,
            cache: cache.as_mut(),
        };
        let augment = views.map(NamedViews::augment);
        let outcome = sweep.run(dataset, augment, strict, session);
        if let Some(cache) = &mut cache {
            cache.write(&slots, width, session);
        }
        session.progress().end();
        outcome?;
    }
    // A picture whose views fall into two batches is reported by both.
    let mut seen = HashSet::new();
    findings.retain(|f| seen.insert((f.path.clone(), f.reason.clone())));

    let mut features = Features { width, findings, cached, ..Features::default() };
    let mut end = 0;
    for (index, item) in items.iter().enumerate().filter(|(i, _)| present[*i]) {
        slots.copy_within(index * width..(index + 1) * width, end);
        end += width;
        features.items.push(*item);
        features.labels.push(dataset.samples()[item.sample].label);
    }
    slots.truncate(end);
    features.values = slots;
    if let Some(mixing) = mixing {
        let usable: HashSet<usize> = features.items.iter().map(|item| item.sample).collect();
        let size = backbone.preprocessing().size;
        features.mixed =
            features.items.iter().map(|item| mixing.second(*item, size, &usable)).collect();
    }
    Ok(features)
}

/// The pictures that the backbone has to see.
struct Sweep<'a> {
    backbone: &'a mut Backbone,
    missing: &'a [usize],
    items: &'a [Item],
    slots: &'a mut [f32],
    present: &'a mut [bool],
    findings: &'a mut Vec<Finding>,
    cache: Option<&'a mut Cached>,
}

impl Sweep<'_> {
    fn run(
        &mut self,
        dataset: &Arc<Dataset>,
        augment: Option<Arc<dyn Augment>>,
        strict: bool,
        session: &Session,
    ) -> Result<()> {
        let batch_size = self.backbone.batch();
        let options = LoaderOptions { batch_size, strict, ..LoaderOptions::default() };
        let wanted: Vec<Item> = self.missing.iter().map(|&i| self.items[i]).collect();
        let preprocessing = *self.backbone.preprocessing();
        let loader = Loader::new(Arc::clone(dataset), preprocessing, wanted, augment, options)?;
        // Batches come in order, without the pictures that failed.
        let mut next = 0;
        let mut ahead = VecDeque::new();
        for batch in loader {
            if session.interrupted() {
                break;
            }
            let mut batch = batch?;
            let pixels = std::mem::take(&mut batch.pixels);
            let before = self.backbone.batch();
            let pending = self.backbone.submit(&pixels, batch.len())?;
            if self.backbone.batch() < before {
                session.progress().warn(&format!(
                    "the device has no room for {before} pictures at a time: going on with {}",
                    self.backbone.batch()
                ));
            }
            ahead.push_back((batch, pending));
            if ahead.len() > AHEAD {
                self.take_in(&mut ahead, &mut next, dataset, session)?;
            }
        }
        while !ahead.is_empty() {
            self.take_in(&mut ahead, &mut next, dataset, session)?;
        }
        // What was computed until then is not lost.
        if session.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Puts the rows of the oldest batch into their places.
    fn take_in(
        &mut self,
        ahead: &mut VecDeque<(Batch, Pending)>,
        next: &mut usize,
        dataset: &Dataset,
        session: &Session,
    ) -> Result<()> {
        let Some((batch, pending)) = ahead.pop_front() else { return Ok(()) };
        let rows = pending.wait()?;
        let width = self.backbone.width();
        let remarked: HashSet<&str> = batch.remarks.iter().map(|f| f.path.as_str()).collect();
        let keys = batch.indices.iter().zip(&batch.views);
        for ((&sample, &view), row) in keys.zip(rows.chunks_exact(width)) {
            while self.items[self.missing[*next]] != (Item { sample, view }) {
                *next += 1;
            }
            let index = self.missing[*next];
            *next += 1;
            self.slots[index * width..][..width].copy_from_slice(row);
            self.present[index] = true;
            let quiet =
                remarked.is_empty() || !remarked.contains(dataset.samples()[sample].id.as_str());
            if let Some(cache) = self.cache.as_mut().filter(|_| quiet) {
                cache.fresh.push(index);
            }
        }
        if let Some(cache) = self.cache.as_mut().filter(|c| c.fresh.len() >= SEGMENT) {
            cache.write(self.slots, width, session);
        }
        session.progress().advance((batch.len() + batch.failed.len()) as u64);
        self.findings.extend(batch.failed);
        self.findings.extend(batch.remarks);
        Ok(())
    }
}

/// The session's cache, for one list of items.
struct Cached {
    set: FeatureSet,
    /// The key of each item; none if the picture cannot be read.
    keys: Vec<Option<Key>>,
    /// Items that were computed and are not written yet.
    fresh: Vec<usize>,
}

impl Cached {
    fn open(
        backbone: &Backbone,
        dataset: &Dataset,
        items: &[Item],
        views: Option<&NamedViews>,
        session: &Session,
    ) -> Option<Self> {
        let (cache, identity) = session.cache().zip(backbone.identity())?;
        let set = match cache.set(*identity, backbone.width()) {
            Ok(set) => set,
            Err(error) => {
                session.progress().warn(&format!("{error}; features are computed anew"));
                return None;
            }
        };
        let mixing = views.and_then(|views| views.mixing.as_deref());
        let partner = |item: &Item| mixing.and_then(|mixing| mixing.partner(*item));
        let mut samples: Vec<usize> =
            items.iter().flat_map(|item| [Some(item.sample), partner(item)]).flatten().collect();
        samples.sort_unstable();
        samples.dedup();
        let digests: Vec<Option<[u8; 32]>> = samples
            .par_iter()
            .map(|&sample| dataset.picture_digest(sample).ok().filter(|_| !session.interrupted()))
            .collect();
        let digest_of = |sample: usize| digests[samples.binary_search(&sample).ok()?];
        let keys = items.iter().map(|item| {
            let picture = digest_of(item.sample)?;
            let view = item.view.to_le_bytes();
            match (item.view, views) {
                (0, _) | (_, None) => Some(digest([picture.as_slice(), &[0; 4]])),
                (_, Some(views)) => {
                    // The streams of a view are keyed by the picture's id too.
                    let sample = dataset.samples()[item.sample].key().to_le_bytes();
                    let identity = views.identity.as_bytes();
                    let plain = digest([picture.as_slice(), &view, identity, &sample]);
                    let Some(mixing) = mixing else { return Some(plain) };
                    let Some(partner) = partner(item) else {
                        return Some(digest([plain.as_slice(), b"alone"]));
                    };
                    let other = digest_of(partner)?;
                    let other_key = dataset.samples()[partner].key().to_le_bytes();
                    let how = mixing.identity().as_bytes();
                    Some(digest([plain.as_slice(), how, &other, &other_key]))
                }
            }
        });
        Some(Self { set, keys: keys.collect(), fresh: Vec::new() })
    }

    /// Fills the slots of items that are there.
    fn read(&mut self, slots: &mut [f32], present: &mut [bool]) {
        if self.set.is_empty() {
            return;
        }
        let width = slots.len() / present.len().max(1);
        let rows = slots.chunks_exact_mut(width).zip(present).zip(&self.keys);
        for ((slot, present), key) in rows {
            *present = key.as_ref().is_some_and(|key| self.set.get(key, slot));
        }
    }

    /// Writes what was computed. A cache that cannot be written costs time later, nothing now.
    fn write(&mut self, slots: &[f32], width: usize, session: &Session) {
        let fresh = std::mem::take(&mut self.fresh);
        let fresh = fresh.iter().filter_map(|&i| Some((self.keys[i]?, i)));
        let (keys, rows): (Vec<Key>, Vec<usize>) = fresh.unzip();
        let values: Vec<f32> =
            rows.iter().flat_map(|&i| &slots[i * width..][..width]).copied().collect();
        if let Err(error) = self.set.insert(&keys, &values) {
            session.progress().warn(&format!("features were not kept for later: {error}"));
        }
    }
}
