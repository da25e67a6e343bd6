//! The same picture twice: byte for byte, or except for size, crop, encoding and mirroring; and
//! pictures that are nearly the same without being copies for certain.
//!
//! Stages, each more expensive and stricter than the one before: perceptual hashes and low
//! frequencies find candidates (and embeddings those that cropping hid from them), registration of
//! thumbnails rejects those that merely look alike, registration of the pictures themselves finds
//! near copies, and an examination in detail tells which of them are copies for certain.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use taper_core::Split;
use taper_data::Dataset;

use crate::{
    Error, Evidence, Result,
    look::{SIDE, likeness},
    scan::Scanned,
    verify::{Found, verify},
};

/// In what sense two pictures are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Likeness {
    /// The same content, byte for byte.
    Exact,
    /// The same pixels in another file.
    Pixels,
    /// The same picture, re-encoded or rescaled.
    Reencoded,
    /// The same picture, and one of the two shows a part of the other.
    Crop,
    /// The same picture, mirrored left to right.
    Mirror,
    /// Nearly the same picture, though not for certain: perhaps another shot of the same thing.
    Near,
}

/// As people read it: "re-encoded", "mirrored".
impl fmt::Display for Likeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Likeness::Exact => "the same file",
            Likeness::Pixels => "the same pixels",
            Likeness::Reencoded => "re-encoded",
            Likeness::Crop => "cropped",
            Likeness::Mirror => "mirrored",
            Likeness::Near => "nearly the same",
        })
    }
}

/// Two pictures that are the same, or nearly.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duplicate {
    /// One picture.
    pub a: String,
    /// The other one.
    pub b: String,
    /// The difference after registration, in standard deviations of the luma: 0 for the same
    /// pixels, about 1 for pictures that have nothing in common.
    pub distance: f32,
    /// What the decision rests on; none if the pixels are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
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
    /// The same picture for certain; across splits, across classes, or with the same pixels.
    pub(crate) pairs: Vec<Duplicate>,
    /// Nearly the same, closest first; across splits or across classes.
    pub(crate) near: Vec<Duplicate>,
    pub(crate) variety: Vec<Variety>,
}

/// A pair is examined if its low frequencies are at least this similar, or its hashes differ in at
/// most this many bits.
pub(crate) const CANDIDATE_LIKENESS: f32 = 0.8;
const CANDIDATE_BITS: u32 = 26;
/// How many candidates in earlier splits are examined for each picture.
const CANDIDATES: usize = 12;
/// Candidates of other classes in the same split, of which there are many more.
const STRANGERS: usize = 4;
const STRANGER_LIKENESS: f32 = 0.9;
/// How alike thumbnails within a split and class must be to count as nearly identical: likeness of
/// the low frequencies, and root mean square of the difference in grey levels.
const TWIN_LIKENESS: f32 = 0.995;
const TWIN_DIFFERENCE: f32 = 6.0;
/// How many of a picture's twins are examined.
const TWINS: usize = 2;
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
    let mut pairs = exact(dataset, pictures);
    let same: HashSet<(usize, usize)> = pairs.iter().map(|d| d.pair).collect();
    pairs.extend(same_pixels(dataset, pictures, stop)?);
    let (candidates, twins) = candidates(dataset, pictures, stop)?;
    let mut group = UnionFind::new(pictures.len());
    for (a, b) in &twins {
        group.join(*a, *b);
    }
    let own = closest(pictures, &twins);
    let mut all: Vec<(usize, usize)> =
        candidates.into_iter().chain(neighbours.iter().copied()).chain(own).collect();
    all.iter_mut().for_each(|pair| *pair = (pair.0.min(pair.1), pair.0.max(pair.1)));
    all.sort_unstable();
    all.dedup();
    // Pictures with the same content have the same neighbours: one of them stands for all.
    all.retain(|(a, b)| {
        let indices = (pictures[*a].index, pictures[*b].index);
        pictures[*a].digest != pictures[*b].digest
            && !same.contains(&indices)
            && !pairs.iter().any(|d| d.likeness == Likeness::Pixels && d.pair == indices)
    });
    let mut found = verify(dataset, pictures, &all, stop)?;
    // Within a split and class, what is nearly the same is no suspicion, and hardly a copy if it
    // was written in the same way: the frames of a clip are.
    found.retain(|f| !is_own(dataset, pictures, f.pair) || is_rewritten(pictures, f));
    let group: Vec<usize> = (0..pictures.len()).map(|i| group.root(i)).collect();
    let (certain, near): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|f| f.certain());
    // A copy in the same class does not explain one in another.
    let (own, certain): (Vec<Found>, Vec<Found>) =
        certain.into_iter().partition(|f| is_own(dataset, pictures, f.pair));
    let mut certain = unrivalled(dataset, pictures, &pairs, certain);
    certain.extend(unrivalled(dataset, pictures, &[], own));
    pairs.extend(certain.into_iter().map(|f| like(dataset, pictures, f, f.likeness)));
    let near = strongest(dataset, pictures, &group, &pairs, near);
    pairs.sort_by(|a, b| {
        (!a.across_splits, a.same_label, &a.a, &a.b).cmp(&(
            !b.across_splits,
            b.same_label,
            &b.a,
            &b.b,
        ))
    });
    let variety = variety(dataset, pictures, &group);
    Ok(Duplicates { pairs, near, variety })
}

/// Of each picture's twins, which are of its own split and class, those that come closest.
fn closest(pictures: &[Scanned], twins: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut of_each: BTreeMap<usize, Vec<(f32, usize)>> = BTreeMap::new();
    for (a, b) in twins {
        let difference = difference(&pictures[*a], &pictures[*b]);
        of_each.entry(*a).or_default().push((difference, *b));
        of_each.entry(*b).or_default().push((difference, *a));
    }
    let mut pairs = Vec::new();
    for (a, mut others) in of_each {
        others.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        pairs.extend(others.into_iter().take(TWINS).map(|(_, b)| (a, b)));
    }
    pairs
}

/// Whether two pictures are of one split and class.
fn is_own(dataset: &Dataset, pictures: &[Scanned], (a, b): (usize, usize)) -> bool {
    let [a, b] = [a, b].map(|k| &dataset.samples()[pictures[k].index]);
    (a.split, a.label) == (b.split, b.label)
}

/// Whether a pair is a copy for certain, in another format, size or quality.
fn is_rewritten(pictures: &[Scanned], found: &Found) -> bool {
    let [a, b] = [found.pair.0, found.pair.1].map(|k| {
        let Scanned { format, width, height, quantisation, .. } = &pictures[k];
        (format, width, height, quantisation)
    });
    found.certain() && a != b
}

/// Pairs with the same content.
fn exact(dataset: &Dataset, pictures: &[Scanned]) -> Vec<Duplicate> {
    let digests = pictures.iter().map(|p| (p.index, p.digest));
    same_content(digests)
        .into_iter()
        .map(|(a, b)| duplicate(dataset, a, b, Likeness::Exact))
        .collect()
}

/// Pairs with the same pixels in different files: of each group, the first with every other. Only
/// pictures whose thumbnails are equal are read again.
fn same_pixels(
    dataset: &Dataset,
    pictures: &[Scanned],
    stop: &AtomicBool,
) -> Result<Vec<Duplicate>> {
    let mut alike: HashMap<_, Vec<usize>> = HashMap::new();
    let mut contents = HashSet::new();
    for (position, picture) in pictures.iter().enumerate() {
        // One picture of each content is enough.
        if contents.insert(picture.digest) {
            let size = (picture.width, picture.height);
            alike.entry((size, *picture.thumbnail.luma)).or_default().push(position);
        }
    }
    let mut again: Vec<usize> = alike.into_values().filter(|a| a.len() > 1).flatten().collect();
    again.sort_unstable();
    let digests: Vec<Option<(usize, [u8; 32])>> = again
        .into_par_iter()
        .map(|position| {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let index = pictures[position].index;
            let picture = dataset.read(index).ok()?;
            let mut digest = Sha256::new();
            digest.update(picture.pixels.width().to_le_bytes());
            digest.update(picture.pixels.as_raw());
            Some((index, digest.finalize().into()))
        })
        .collect();
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(same_content(digests.into_iter().flatten())
        .into_iter()
        .map(|(a, b)| duplicate(dataset, a, b, Likeness::Pixels))
        .collect())
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

pub(crate) fn duplicate(dataset: &Dataset, a: usize, b: usize, likeness: Likeness) -> Duplicate {
    let (first, second) = (&dataset.samples()[a], &dataset.samples()[b]);
    Duplicate {
        a: first.id.clone(),
        b: second.id.clone(),
        distance: 0.0,
        evidence: None,
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

/// The copies without those that a far better one explains: the next frame of a slow clip passes
/// for a cropped copy too, until the frame itself turns up.
fn unrivalled(
    dataset: &Dataset,
    pictures: &[Scanned],
    known: &[Duplicate],
    mut copies: Vec<Found>,
) -> Vec<Found> {
    let split = |k: usize| dataset.samples()[pictures[k].index].split;
    let local = |found: &Found| found.evidence.map_or(0.0, |evidence| evidence.local);
    // Across splits it is the later picture that has found its original.
    let judged = |(i, j): (usize, usize)| match split(i).cmp(&split(j)) {
        std::cmp::Ordering::Equal => [i, j],
        std::cmp::Ordering::Greater => [i, i],
        std::cmp::Ordering::Less => [j, j],
    };
    let position = |index| pictures.binary_search_by_key(&index, |picture| picture.index).ok();
    let known = known.iter().filter_map(|d| position(d.pair.0).zip(position(d.pair.1)));
    let mut best: HashMap<usize, f32> = HashMap::new();
    for (pair, local) in known.map(|p| (p, 0.0)).chain(copies.iter().map(|f| (f.pair, local(f)))) {
        for end in judged(pair) {
            let least = best.entry(end).or_insert(local);
            *least = least.min(local);
        }
    }
    copies.retain(|found| {
        let bound = |end: usize| 2.0 * best.get(&end).copied().unwrap_or(0.0) + 0.5;
        judged(found.pair).into_iter().all(|end| local(found) <= bound(end))
    });
    copies
}

/// Of a picture's near copies in other splits, the closest: the neighbouring frames of a clip are
/// all nearly the same. Of near copies with two labels, those that are not explained by a closer
/// one. What is the same for certain is known already.
fn strongest(
    dataset: &Dataset,
    pictures: &[Scanned],
    group: &[usize],
    known: &[Duplicate],
    mut near: Vec<Found>,
) -> Vec<Duplicate> {
    near.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.pair.cmp(&b.pair)));
    let split = |k: usize| dataset.samples()[pictures[k].index].split;
    // The picture of the later split, and the split of the other.
    let later = |i: usize, j: usize| match split(i) > split(j) {
        true => (i, split(j)),
        false => (j, split(i)),
    };
    let mut found: HashSet<(usize, Option<Split>)> = HashSet::new();
    // By picture: the closest contradiction.
    let mut closest: HashMap<usize, (usize, f32)> = HashMap::new();
    let position = |index| pictures.binary_search_by_key(&index, |picture| picture.index).ok();
    for pair in known {
        if let (Some(i), Some(j)) = (position(pair.pair.0), position(pair.pair.1)) {
            if pair.across_splits {
                found.insert(later(i, j));
            } else if !pair.same_label {
                closest.insert(i, (j, 0.0));
                closest.insert(j, (i, 0.0));
            }
        }
    }
    near.retain(|&Found { pair: (i, j), distance, .. }| {
        if split(i) != split(j) {
            return found.insert(later(i, j));
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
    near.into_iter().map(|found| like(dataset, pictures, found, Likeness::Near)).collect()
}

/// What was found, as an answer.
fn like(dataset: &Dataset, pictures: &[Scanned], found: Found, likeness: Likeness) -> Duplicate {
    let (i, j) = found.pair;
    Duplicate {
        distance: found.distance,
        evidence: found.evidence,
        ..duplicate(dataset, pictures[i].index, pictures[j].index, likeness)
    }
}

fn variety(dataset: &Dataset, pictures: &[Scanned], group: &[usize]) -> Vec<Variety> {
    // By split and class: the members of each group.
    let mut cells: BTreeMap<(Option<Split>, u32), BTreeMap<usize, usize>> = BTreeMap::new();
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
                split: split.map_or("all", Split::name).into(),
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
