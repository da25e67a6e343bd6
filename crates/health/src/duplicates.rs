//! The same picture twice: byte for byte, or except for size, crop, encoding and mirroring.
//!
//! Three stages, each more expensive and stricter than the one before: perceptual hashes and low
//! frequencies find candidates (and embeddings those that cropping hid from them), registration of
//! thumbnails rejects those that merely look alike, and registration of the pictures themselves
//! decides.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rayon::prelude::*;
use serde::Serialize;
use taper_data::Dataset;

use crate::{
    Error, Result,
    align::{Fit, Plane, Pose, coarse, refine},
    look::{SIDE, likeness, luma, scaled},
    scan::Scanned,
};

/// In what sense two pictures are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Likeness {
    /// The same content, byte for byte.
    Exact,
    /// The same picture, re-encoded or rescaled.
    Near,
    /// The same picture, and one of the two shows a part of the other.
    Crop,
    /// The same picture, mirrored left to right.
    Mirror,
}

/// Two pictures that are the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duplicate {
    /// One picture.
    pub a: String,
    /// The other one.
    pub b: String,
    /// The difference after registration, in standard deviations of the luma: 0 for the same
    /// pixels, about 1 for pictures that have nothing in common.
    pub distance: f32,
    /// Whether they are in different splits: a leak.
    pub across_splits: bool,
    /// How they are the same.
    pub likeness: Likeness,
    /// Whether they have the same label.
    pub same_label: bool,
    #[serde(skip)]
    pub(crate) pair: (usize, usize),
}

/// Pictures of one split and class that look nearly alike, such as the frames of one clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Variety {
    /// The split, or `all` where none is assigned.
    pub split: String,
    /// The class.
    pub class: String,
    /// How many pictures it has.
    pub pictures: usize,
    /// How many of them remain if one of each group of nearly identical pictures is kept.
    pub distinct: usize,
    /// An example from the largest group.
    pub example: String,
    /// The size of the largest group.
    pub largest: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Duplicates {
    /// Same content or same picture; across splits, across classes, or exact.
    pub(crate) pairs: Vec<Duplicate>,
    pub(crate) variety: Vec<Variety>,
}

/// A pair is examined if its low frequencies are at least this similar, or its hashes differ in at
/// most this many bits.
const CANDIDATE_LIKENESS: f32 = 0.8;
const CANDIDATE_BITS: u32 = 26;
/// How many candidates in earlier splits are examined for each picture.
const CANDIDATES: usize = 12;
/// Candidates of other classes in the same split, of which there are many more.
const STRANGERS: usize = 4;
const STRANGER_LIKENESS: f32 = 0.9;
/// The largest difference of registered thumbnails for which the pictures themselves are compared.
const COARSE: f32 = 0.35;
/// Side at which pictures are compared.
const FINE_SIDE: u32 = 128;
/// The largest difference of registered pictures that count as the same. For rock-paper-scissors,
/// copies that were re-encoded, scaled, cropped by up to 8 % a side or mirrored differ by at most
/// 0.1, the most similar pictures of different hands by 0.36.
const SAME: f32 = 0.16;
/// How alike thumbnails within a split and class must be to count as nearly identical: likeness of
/// the low frequencies, and root mean square of the difference in grey levels.
const TWIN_LIKENESS: f32 = 0.995;
const TWIN_DIFFERENCE: f32 = 6.0;
/// Thumbnails with less structure than this (grey levels) are only compared by content.
const PLAIN: f32 = 3.0;

/// Finds duplicates. `neighbours` are candidates found by the embeddings, as pairs of positions in
/// `pictures`.
pub(crate) fn find(
    dataset: &Dataset,
    pictures: &[Scanned],
    neighbours: &[(usize, usize)],
    stop: &AtomicBool,
) -> Result<Duplicates> {
    let mut found = exact(dataset, pictures);
    let (candidates, twins) = candidates(dataset, pictures, stop)?;
    let mut group = UnionFind::new(pictures.len());
    for (a, b) in twins {
        group.join(a, b);
    }
    let same: std::collections::HashSet<(usize, usize)> = found.iter().map(|d| d.pair).collect();
    let mut all: Vec<(usize, usize)> =
        candidates.into_iter().chain(neighbours.iter().copied()).collect();
    all.iter_mut().for_each(|pair| *pair = (pair.0.min(pair.1), pair.0.max(pair.1)));
    all.sort_unstable();
    all.dedup();
    // Pictures with the same content have the same neighbours: one of them stands for all.
    all.retain(|(a, b)| pictures[*a].digest != pictures[*b].digest && !same.contains(&(*a, *b)));
    let near = verify(dataset, pictures, &all, stop)?;
    let group: Vec<usize> = (0..pictures.len()).map(|i| group.root(i)).collect();
    found.extend(strongest(dataset, pictures, &group, &found, near));
    found.sort_by(|a, b| {
        (!a.across_splits, a.same_label, &a.a, &a.b).cmp(&(
            !b.across_splits,
            b.same_label,
            &b.a,
            &b.b,
        ))
    });
    let variety = variety(dataset, pictures, &group);
    Ok(Duplicates { pairs: found, variety })
}

/// Pairs with the same content.
fn exact(dataset: &Dataset, pictures: &[Scanned]) -> Vec<Duplicate> {
    let digests = pictures.iter().map(|p| (p.index, p.digest));
    same_content(digests)
        .into_iter()
        .map(|(a, b)| duplicate(dataset, a, b, 0.0, Likeness::Exact))
        .collect()
}

/// Pairs of indices with the same digest: the first of each group with every other.
pub(crate) fn same_content(
    digests: impl Iterator<Item = (usize, [u8; 32])>,
) -> Vec<(usize, usize)> {
    let mut groups: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
    for (index, digest) in digests {
        groups.entry(digest).or_default().push(index);
    }
    let mut pairs: Vec<(usize, usize)> = groups
        .values()
        .flat_map(|group| group[1..].iter().map(|other| (group[0], *other)))
        .collect();
    pairs.sort_unstable();
    pairs
}

pub(crate) fn duplicate(
    dataset: &Dataset,
    a: usize,
    b: usize,
    distance: f32,
    likeness: Likeness,
) -> Duplicate {
    let (first, second) = (&dataset.samples()[a], &dataset.samples()[b]);
    Duplicate {
        a: first.id.clone(),
        b: second.id.clone(),
        distance,
        across_splits: first.split != second.split,
        likeness,
        same_label: first.label == second.label,
        pair: (a, b),
    }
}

type Pairs = Vec<(usize, usize)>;

/// Pairs to be examined, and pairs within a split and class that are nearly identical.
fn candidates(
    dataset: &Dataset,
    pictures: &[Scanned],
    stop: &AtomicBool,
) -> Result<(Pairs, Pairs)> {
    let of_each: Vec<(Pairs, Pairs)> = (0..pictures.len())
        .into_par_iter()
        .map(|i| {
            let (mut across, mut strangers, mut twins) = (Vec::new(), Vec::new(), Vec::new());
            let a = &pictures[i];
            if stop.load(Ordering::Relaxed) || a.thumbnail.spread < PLAIN {
                return (Vec::new(), twins);
            }
            let own = &dataset.samples()[a.index];
            for (j, b) in pictures.iter().enumerate() {
                let bits = [b.thumbnail.hash, b.thumbnail.mirrored]
                    .map(|hash| (a.thumbnail.hash ^ hash).count_ones());
                if i == j || bits[0].min(bits[1]) > CANDIDATE_BITS || b.thumbnail.spread < PLAIN {
                    continue;
                }
                let other = &dataset.samples()[b.index];
                if other.split > own.split {
                    continue;
                }
                let alike = likeness(&a.thumbnail, &b.thumbnail);
                let best = alike[0].max(alike[1]);
                if other.split < own.split {
                    if best >= CANDIDATE_LIKENESS {
                        across.push((best, j));
                    }
                } else if other.label != own.label {
                    if best >= STRANGER_LIKENESS {
                        strangers.push((best, j));
                    }
                } else if j > i && alike[0] >= TWIN_LIKENESS && difference(a, b) <= TWIN_DIFFERENCE
                {
                    twins.push((i, j));
                }
            }
            for (found, most) in [(&mut across, CANDIDATES), (&mut strangers, STRANGERS)] {
                if found.len() > most {
                    found.select_nth_unstable_by(most, |a, b| b.0.total_cmp(&a.0));
                    found.truncate(most);
                }
            }
            (across.into_iter().chain(strangers).map(|(_, j)| (i, j)).collect(), twins)
        })
        .collect();
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    let mut all = (Vec::new(), Vec::new());
    for (near, twins) in of_each {
        all.0.extend(near);
        all.1.extend(twins);
    }
    Ok(all)
}

/// Root mean square of the difference of two thumbnails in grey levels; colour counts too.
fn difference(a: &Scanned, b: &Scanned) -> f32 {
    let squares: u32 = a
        .thumbnail
        .luma
        .iter()
        .zip(b.thumbnail.luma.iter())
        .map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2))
        .sum();
    let grey = (squares as f32 / (SIDE * SIDE) as f32).sqrt();
    let colour = a
        .thumbnail
        .colour
        .iter()
        .zip(&b.thumbnail.colour)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    grey.max(colour)
}

/// Registers candidates: thumbnails first, then the pictures themselves.
fn verify(
    dataset: &Dataset,
    pictures: &[Scanned],
    pairs: &[(usize, usize)],
    stop: &AtomicBool,
) -> Result<Vec<(usize, usize, f32, Likeness)>> {
    let passed: Vec<(usize, usize, Fit, bool)> = pairs
        .par_iter()
        .filter_map(|&(i, j)| {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let [a, b] = [i, j].map(|k| {
                let luma = pictures[k].thumbnail.luma.iter().map(|v| f32::from(*v)).collect();
                Plane::new(SIDE, luma)
            });
            let alike = likeness(&pictures[i].thumbnail, &pictures[j].thumbnail);
            // Only the orientation that looks alike, or both if neither does: then an embedding
            // found them.
            let worth =
                |k: usize| alike[k] >= CANDIDATE_LIKENESS || alike[1 - k] < CANDIDATE_LIKENESS;
            let straight = worth(0).then(|| coarse(&a, &b)).flatten().map(|fit| (fit, false));
            let turned =
                worth(1).then(|| coarse(&a, &b.mirrored())).flatten().map(|fit| (fit, true));
            [straight, turned]
                .into_iter()
                .flatten()
                .min_by(|x, y| x.0.distance.total_cmp(&y.0.distance))
                .filter(|(fit, _)| fit.distance <= COARSE)
                .map(|(fit, mirrored)| (i, j, fit, mirrored))
        })
        .collect();
    let planes: Mutex<HashMap<usize, Colours>> = Mutex::default();
    let mut found = Vec::new();
    // In batches, so that memory stays bounded whatever the number of candidates.
    for portion in passed.chunks(512) {
        // A picture that resembles many others is decoded once for all of them.
        let mut needed: Vec<usize> = portion.iter().flat_map(|p| [p.0, p.1]).collect();
        needed.sort_unstable();
        needed.dedup();
        {
            let mut planes = planes.lock().unwrap_or_else(|e| e.into_inner());
            planes.retain(|k, _| needed.binary_search(k).is_ok());
            needed.retain(|k| !planes.contains_key(k));
        }
        needed.par_iter().for_each(|k| {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if let Ok(picture) = dataset.read(pictures[*k].index) {
                let colours = Colours::new(&picture.pixels);
                planes.lock().unwrap_or_else(|e| e.into_inner()).insert(*k, colours);
            }
        });
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let planes = planes.lock().unwrap_or_else(|e| e.into_inner());
        let fine: Vec<(usize, usize, f32, Likeness)> = portion
            .par_iter()
            .filter_map(|(i, j, fit, mirrored)| {
                let (a, b) = (planes.get(i)?, planes.get(j)?);
                let (distance, pose) = a.compare(b, fit.pose, *mirrored)?;
                let moved = pose.scale.iter().any(|s| (s - 1.0).abs() > 0.015)
                    || pose.shift.iter().any(|s| s.abs() > 0.015);
                let likeness = match (mirrored, moved) {
                    (true, _) => Likeness::Mirror,
                    (false, true) => Likeness::Crop,
                    (false, false) => Likeness::Near,
                };
                Some((*i, *j, distance, likeness))
            })
            .filter(|found| found.2 <= SAME)
            .collect();
        found.extend(fine);
    }
    Ok(found)
}

/// A picture at the size at which pictures are compared.
struct Colours {
    luma: Plane,
    channels: [Plane; 3],
}

impl Colours {
    fn new(picture: &image::RgbImage) -> Self {
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

/// Of all matches of a picture in other splits, the closest: neighbouring frames of the original
/// look like the copy too, and one pair is enough to fix it. Of contradicting labels, those that
/// are not explained by a closer one.
fn strongest(
    dataset: &Dataset,
    pictures: &[Scanned],
    group: &[usize],
    exact: &[Duplicate],
    mut near: Vec<(usize, usize, f32, Likeness)>,
) -> Vec<Duplicate> {
    near.sort_by(|a, b| a.2.total_cmp(&b.2).then((a.0, a.1).cmp(&(b.0, b.1))));
    let split = |k: usize| dataset.samples()[pictures[k].index].split;
    // By picture of a later split: the earlier splits in which it has been found.
    let mut found: std::collections::HashSet<(usize, Option<taper_core::Split>)> =
        std::collections::HashSet::new();
    // By picture: the closest contradiction.
    let mut closest: HashMap<usize, (usize, f32)> = HashMap::new();
    let position = |index| pictures.binary_search_by_key(&index, |picture| picture.index).ok();
    for pair in exact.iter().filter(|pair| !pair.same_label) {
        if let (Some(i), Some(j)) = (position(pair.pair.0), position(pair.pair.1)) {
            closest.insert(i, (j, 0.0));
            closest.insert(j, (i, 0.0));
        }
    }
    near.retain(|&(i, j, distance, _)| {
        if split(i) != split(j) {
            let (later, earlier) = if split(i) > split(j) { (i, j) } else { (j, i) };
            return found.insert((later, split(earlier)));
        }
        let explained = |end: usize, other: usize| {
            closest.get(&end).is_some_and(|(partner, least)| {
                group[*partner] == group[other] || distance > 1.5 * least + 0.01
            })
        };
        let keep = !explained(i, j) && !explained(j, i);
        if keep {
            closest.entry(i).or_insert((j, distance));
            closest.entry(j).or_insert((i, distance));
        }
        keep
    });
    near.into_iter()
        .map(|(i, j, distance, likeness)| {
            duplicate(dataset, pictures[i].index, pictures[j].index, distance, likeness)
        })
        .collect()
}

fn variety(dataset: &Dataset, pictures: &[Scanned], group: &[usize]) -> Vec<Variety> {
    // By split and class: the members of each group.
    let mut cells: BTreeMap<(Option<taper_core::Split>, u32), BTreeMap<usize, usize>> =
        BTreeMap::new();
    for (position, picture) in pictures.iter().enumerate() {
        let sample = &dataset.samples()[picture.index];
        let cell = cells.entry((sample.split, sample.label)).or_default();
        *cell.entry(group[position]).or_default() += 1;
    }
    cells
        .into_iter()
        .map(|((split, label), groups)| {
            let largest = groups.iter().max_by_key(|(root, n)| (**n, std::cmp::Reverse(**root)));
            let (root, largest) = largest.map_or((0, 0), |(root, n)| (*root, *n));
            Variety {
                split: split.map_or("all", taper_core::Split::name).into(),
                class: dataset.classes().name(label).unwrap_or_default().into(),
                pictures: groups.values().sum(),
                distinct: groups.len(),
                example: dataset.samples()[pictures[root].index].id.clone(),
                largest,
            }
        })
        .collect()
}

struct UnionFind(Vec<usize>);

impl UnionFind {
    fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    /// The smaller root stays, so that groups are named by their first member.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}
