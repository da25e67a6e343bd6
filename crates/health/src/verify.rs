//! From candidates to copies and near copies.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;
use taper_data::Dataset;

use crate::{
    Error, Evidence, Likeness, Result,
    align::{Fit, Plane, Pose, coarse, refine},
    duplicates::CANDIDATE_LIKENESS,
    evidence::{Detail, examine, overhang},
    look::{SIDE, Thumbnail, likeness, look, luma, scaled},
    scan::Scanned,
};

/// The largest difference of registered thumbnails for which the pictures themselves are compared.
const COARSE: f32 = 0.35;
/// Side at which pictures are compared.
const FINE_SIDE: u32 = 128;
/// The largest difference of registered pictures that count as nearly the same. docs/data.md has
/// the distances of copies and of other pairs.
pub(crate) const SAME: f32 = 0.16;
/// How far a frame may extend beyond the other, in shares of the side, for an examination to be
/// worthwhile.
const CLOSE: f32 = 0.02;

/// Two pictures that are the same, or nearly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Positions among the scanned pictures.
    pub(crate) pair: (usize, usize),
    pub(crate) distance: f32,
    /// What kind of copy it is, if it is one.
    pub(crate) likeness: Likeness,
    /// None if the frames alone say that it is none.
    pub(crate) evidence: Option<Evidence>,
}

impl Found {
    pub(crate) fn certain(&self) -> bool {
        self.evidence.is_some_and(|evidence| evidence.certain())
    }
}

/// Two registered pictures.
#[derive(Debug, Clone, Copy)]
struct Match {
    distance: f32,
    pose: Pose,
    mirrored: bool,
}

impl Match {
    fn likeness(&self) -> Likeness {
        let moved = self.pose.scale.iter().any(|s| (s - 1.0).abs() > 0.015)
            || self.pose.shift.iter().any(|s| s.abs() > 0.015);
        match (self.mirrored, moved) {
            (true, _) => Likeness::Mirror,
            (false, true) => Likeness::Crop,
            (false, false) => Likeness::Reencoded,
        }
    }

    fn found(&self, pair: (usize, usize)) -> Found {
        Found { pair, distance: self.distance, likeness: self.likeness(), evidence: None }
    }
}

/// Registers candidates, thumbnails first, then the pictures themselves, and examines those that
/// are nearly the same.
pub(crate) fn verify(
    dataset: &Dataset,
    pictures: &[Scanned],
    pairs: &[(usize, usize)],
    stop: &AtomicBool,
) -> Result<Vec<Found>> {
    let passed: Vec<((usize, usize), Fit, bool)> = pairs
        .par_iter()
        .filter(|_| !stop.load(Ordering::Relaxed))
        .filter_map(|&(i, j)| {
            let (fit, mirrored) = thumbnails(&pictures[i].thumbnail, &pictures[j].thumbnail)?;
            Some(((i, j), fit, mirrored))
        })
        .collect();
    let mut matches: Vec<((usize, usize), Match)> = Vec::new();
    let mut colours = Store::default();
    // In batches, so that memory stays bounded whatever the number of candidates.
    for portion in passed.chunks(512) {
        let needed = portion.iter().flat_map(|p| [p.0.0, p.0.1]);
        colours.fill(dataset, pictures, needed, stop, |picture| Some(Colours::new(picture)))?;
        let compared = portion.par_iter().filter_map(|&((i, j), fit, mirrored)| {
            let (a, b) = (colours.get(i)?, colours.get(j)?);
            let (distance, pose) = a.compare(b, fit.pose, mirrored)?;
            (distance <= SAME).then_some(((i, j), Match { distance, pose, mirrored }))
        });
        matches.extend(compared.collect::<Vec<_>>());
    }
    drop(colours);
    let mut found = Vec::with_capacity(matches.len());
    let mut details = Store::default();
    for portion in matches.chunks(128) {
        let worth = |m: &Match| overhang(&m.pose) <= CLOSE;
        let needed = portion.iter().filter(|p| worth(&p.1)).flat_map(|p| [p.0.0, p.0.1]);
        details.fill(dataset, pictures, needed, stop, Detail::new)?;
        let examined = portion.par_iter().map(|((i, j), matched)| {
            let (a, b) = (details.get(*i), details.get(*j));
            let evidence = a.zip(b).filter(|_| worth(matched)).and_then(|(a, b)| {
                (!stop.load(Ordering::Relaxed))
                    .then(|| examine(a, b, matched.pose, matched.mirrored))
                    .flatten()
            });
            Found { evidence, ..matched.found((*i, *j)) }
        });
        found.extend(examined.collect::<Vec<_>>());
    }
    if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(found) }
}

/// Something made of pictures that many pairs need: each picture is decoded once for a batch.
struct Store<T>(HashMap<usize, T>);

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Send> Store<T> {
    fn get(&self, position: usize) -> Option<&T> {
        self.0.get(&position)
    }

    /// Keeps what is needed, forgets the rest, and makes what is missing.
    fn fill(
        &mut self,
        dataset: &Dataset,
        pictures: &[Scanned],
        needed: impl Iterator<Item = usize>,
        stop: &AtomicBool,
        make: impl Fn(&RgbImage) -> Option<T> + Sync,
    ) -> Result<()> {
        let mut needed: Vec<usize> = needed.collect();
        needed.sort_unstable();
        needed.dedup();
        self.0.retain(|k, _| needed.binary_search(k).is_ok());
        needed.retain(|k| !self.0.contains_key(k));
        let made = Mutex::new(&mut self.0);
        needed.par_iter().for_each(|k| {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let picture = dataset.read(pictures[*k].index).ok();
            if let Some(value) = picture.and_then(|picture| make(&picture.pixels)) {
                made.lock().unwrap_or_else(|e| e.into_inner()).insert(*k, value);
            }
        });
        if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Registers thumbnails, unchanged and mirrored.
fn thumbnails(a: &Thumbnail, b: &Thumbnail) -> Option<(Fit, bool)> {
    let alike = likeness(a, b);
    let [a, b] = [a, b]
        .map(|thumbnail| Plane::new(SIDE, thumbnail.luma.iter().map(|v| f32::from(*v)).collect()));
    // Only the orientation that looks alike, or both if neither does: then an embedding found them.
    let worth = |k: usize| alike[k] >= CANDIDATE_LIKENESS || alike[1 - k] < CANDIDATE_LIKENESS;
    let straight = worth(0).then(|| coarse(&a, &b)).flatten().map(|fit| (fit, false));
    let turned = worth(1).then(|| coarse(&a, &b.mirrored())).flatten().map(|fit| (fit, true));
    [straight, turned]
        .into_iter()
        .flatten()
        .min_by(|x, y| x.0.distance.total_cmp(&y.0.distance))
        .filter(|(fit, _)| fit.distance <= COARSE)
}

/// A picture at the size at which pictures are compared.
struct Colours {
    luma: Plane,
    channels: [Plane; 3],
}

impl Colours {
    fn new(picture: &RgbImage) -> Self {
        let small = scaled(picture, FINE_SIDE, FINE_SIDE);
        let pixels = small.as_chunks::<3>().0;
        let side = FINE_SIDE as usize;
        let channel = |c: usize| Plane::new(side, pixels.iter().map(|p| f32::from(p[c])).collect());
        let luma = Plane::new(side, pixels.iter().map(|p| luma(*p)).collect());
        Self { luma, channels: [channel(0), channel(1), channel(2)] }
    }

    /// The distance after registration, and the position of the other: the worst of luma and colour
    /// channels, so that the same shape in another colour counts as another picture.
    fn compare(&self, other: &Self, start: Pose, mirrored: bool) -> Option<(f32, Pose)> {
        let turned = |plane: &Plane| if mirrored { plane.mirrored() } else { plane.clone() };
        let fit = refine(&self.luma, &turned(&other.luma), start, 12)?;
        let mut worst = fit.distance;
        for (a, b) in self.channels.iter().zip(&other.channels) {
            worst = worst.max(refine(a, &turned(b), fit.pose, 0)?.distance);
        }
        Some((worst, fit.pose))
    }
}

/// Two pictures, compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// The difference after registration, in standard deviations: 0 for the same pixels, about 1
    /// for pictures that have nothing in common; more than 1 is possible.
    pub distance: f32,
    /// What kind of copy it is, if it is one.
    pub likeness: Likeness,
    /// What an examination in detail found; none if their common part is too small.
    pub evidence: Option<Evidence>,
}

impl Comparison {
    /// Whether they are nearly the same, at least.
    pub fn near(&self) -> bool {
        self.distance <= SAME
    }

    /// Whether one is a copy of the other for certain: re-encoded, rescaled, cropped or mirrored.
    pub fn certain(&self) -> bool {
        self.near() && self.evidence.is_some_and(|evidence| evidence.certain())
    }
}

/// Compares two upright pictures, as an inspection does with every pair of candidates; none if
/// they do not even resemble each other as thumbnails.
///
/// ```
/// use image::{Rgb, RgbImage, imageops};
/// let picture = RgbImage::from_fn(96, 80, |x, y| {
///     Rgb([(x * 2) as u8, (y * 3) as u8, ((x - 48.min(x)) * y / 20) as u8])
/// });
/// let mirrored = imageops::flip_horizontal(&picture);
/// assert!(taper_health::compare(&picture, &mirrored).is_some_and(|c| c.certain()));
/// ```
pub fn compare(a: &RgbImage, b: &RgbImage) -> Option<Comparison> {
    let (fit, mirrored) = thumbnails(&look(a).1, &look(b).1)?;
    let (distance, pose) = Colours::new(a).compare(&Colours::new(b), fit.pose, mirrored)?;
    let matched = Match { distance, pose, mirrored };
    let evidence = examine(&Detail::new(a)?, &Detail::new(b)?, pose, mirrored);
    Some(Comparison { distance, likeness: matched.likeness(), evidence })
}
