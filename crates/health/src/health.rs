use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use rayon::prelude::*;
use serde::Serialize;
use taper_core::Split;
use taper_data::Dataset;
use taper_picture::Finding;

use crate::{
    BadlyNamed, Drift, Duplicate, Embeddings, Error, LabelError, Likeness, NameFigures, Result,
    Variety, advice,
    drift::drift,
    duplicates::{self, Duplicates},
    embeddings::{Projected, directions, nearest, project},
    labels::label_errors,
    look::FEATURES,
    scan::{Scan, Scanned, scan},
};

/// How a property is distributed over the pictures of a split and class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distribution {
    /// The least value.
    pub min: f32,
    /// A tenth lies below.
    pub p10: f32,
    /// Half lies below.
    pub median: f32,
    /// A tenth lies above.
    pub p90: f32,
    /// The greatest value.
    pub max: f32,
    /// The mean.
    pub mean: f32,
}

/// The properties of the pictures of a split and class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// The split, or `all` where none is assigned.
    pub split: String,
    /// The class.
    pub class: String,
    /// How many pictures could be measured.
    pub pictures: usize,
    /// By property: megapixels, aspect, brightness, contrast, saturation, colourfulness, red,
    /// green, blue, warmth, sharpness, entropy, and share, brightness, saturation and warmth of the
    /// subject.
    pub features: BTreeMap<&'static str, Distribution>,
}

/// Pictures that are used, but perhaps not as meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Peculiar {
    /// Of which only the first frame is used.
    pub animated: Vec<String>,
    /// With an EXIF rotation or mirroring; Taper applies it, other tools may not.
    pub rotated: Vec<String>,
    /// Smaller than 32 pixels on a side.
    pub tiny: Vec<String>,
    /// Larger than 20 million pixels.
    pub huge: Vec<String>,
    /// More than four times as long as wide, or the other way round.
    pub elongated: Vec<String>,
    /// Of a single colour.
    pub plain: Vec<String>,
}

/// The result of an inspection: the content of `health.json`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The data set.
    pub data: String,
    /// How many pictures there are, including unreadable ones.
    pub pictures: usize,
    /// Usable pictures by split (`all` where none is assigned) and class.
    pub classes: BTreeMap<String, BTreeMap<String, usize>>,
    /// The largest class over the smallest in the training split (in all, where no splits are
    /// assigned); 1 is balanced.
    pub imbalance: f64,
    /// Pictures that cannot be used.
    pub unreadable: Vec<Finding>,
    /// Pictures that are used with a remark: misnamed.
    pub remarks: Vec<Finding>,
    /// The same picture twice, for certain.
    pub duplicates: Vec<Duplicate>,
    /// The duplicates with two different labels.
    pub label_conflicts: Vec<Duplicate>,
    /// Pictures of two splits, or with two labels, that are nearly the same, closest first: perhaps
    /// copies, perhaps two shots of one thing. A person has to look.
    pub near_copies: Vec<Duplicate>,
    /// Other splits against the training split, by name, e.g. `train-test`.
    pub drift: BTreeMap<String, Drift>,
    /// Pictures whose labels are contradicted by the others; only with embeddings.
    pub label_errors: Vec<LabelError>,
    /// How well the names of the classes describe their pictures; only if they were asked
    /// ([`Health::ask_names`]).
    pub names: Option<NameFigures>,
    /// Pictures that the name of another class describes better, those that are among the label
    /// errors too first; only if the names were asked.
    pub badly_named: Vec<BadlyNamed>,
    /// How many distinct pictures each split and class really has.
    pub variety: Vec<Variety>,
    /// Pictures that are used, but perhaps not as meant.
    pub peculiar: Peculiar,
    /// Pictures by format.
    pub formats: BTreeMap<String, usize>,
    /// Pictures by colour mode.
    pub colour_modes: BTreeMap<String, usize>,
    /// Properties by split and class.
    pub statistics: Vec<Statistics>,
    /// How many other files are in the folders.
    pub ignored: usize,
    /// Sentences about the data set as a whole.
    pub notes: Vec<String>,
    /// Whether embeddings were used: without them, there is no search for label errors or drift of
    /// content.
    pub embeddings: bool,
    /// Whether it was a full inspection, or only the quick checks.
    pub quick: bool,
    /// Advice, most important first; each sentence names the problem, and the option that helps.
    pub advice: Vec<String>,
}

impl Health {
    /// The part of [`Health::advice`] about what makes figures misleading: pictures in two places,
    /// and labels that contradict each other or their pictures.
    pub fn misleading(&self) -> Vec<String> {
        advice::misleading(self)
    }
}

/// Reports the progress of an inspection, and can stop it.
#[derive(Default)]
pub struct Watch<'a> {
    /// Called once for every inspected picture, from several threads.
    pub tick: Option<&'a (dyn Fn() + Sync)>,
    /// Ends the inspection with [`Error::Interrupted`] soon after it becomes true.
    pub stop: Option<&'a AtomicBool>,
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

const TINY: u32 = 32;
const HUGE: f32 = 20.0;
const ELONGATED: f32 = 4.0;

/// The search for neighbours among the embeddings is skipped if it needs more multiplications than
/// this.
const MOST_COSINES: usize = 200_000_000;

/// Inspects a data set: reads and decodes every picture once.
///
/// With `embeddings` (of all pictures, or of those that could be read) it also looks for copies
/// that a perceptual hash misses, drift of content, and label errors.
///
/// # Errors
/// [`Error::Embeddings`] if they do not fit, [`Error::Interrupted`]. Problems with the data are not
/// an error.
pub fn inspect(
    dataset: &Dataset,
    embeddings: Option<&Embeddings>,
    watch: &Watch<'_>,
) -> Result<Health> {
    if let Some(embeddings) = embeddings {
        embeddings.check()?;
    }
    let never = AtomicBool::new(false);
    let stop = watch.stop.unwrap_or(&never);
    let silent = || ();
    let Scan { pictures, findings } = scan(dataset, stop, watch.tick.unwrap_or(&silent))?;
    let projected = embeddings.map(|embeddings| project(embeddings, &pictures));
    let mut notes = dataset.remarks().to_vec();
    let neighbours = match &projected {
        Some(projected) => neighbours(dataset, &pictures, projected, &mut notes),
        None => Vec::new(),
    };
    let Duplicates { pairs, near, variety } =
        duplicates::find(dataset, &pictures, &neighbours, stop)?;
    let mut health = counted(dataset, pictures.iter().map(|p| p.index), findings, pairs);
    health.notes = notes;
    health.near_copies = near;
    health.variety = variety;
    health.drift = drift(dataset, &pictures, projected.as_ref());
    if let Some(projected) = &projected {
        health.embeddings = true;
        let places: Vec<usize> = pictures.iter().map(|picture| picture.index).collect();
        health.label_errors = label_errors(dataset, &places, projected);
        // A picture that is in two classes is reported as such.
        let conflicting: std::collections::HashSet<usize> =
            health.label_conflicts.iter().flat_map(|d| [d.pair.0, d.pair.1]).collect();
        health.label_errors.retain(|error| !conflicting.contains(&error.index));
    }
    peculiarities(dataset, &pictures, &mut health);
    health.statistics = statistics(dataset, &pictures);
    health.advice = advice::advice(&health);
    Ok(health)
}

/// The part that costs next to nothing: counts, imbalance, what is known to be unreadable
/// ([`Dataset::findings`]), and exact duplicates. Only pictures that have the same size in bytes as
/// another one are read.
///
/// # Errors
/// [`Error::Interrupted`].
pub fn quick(dataset: &Dataset, watch: &Watch<'_>) -> Result<Health> {
    let stop = watch.stop;
    let indices = dataset.indices(None);
    let mut sizes: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for index in &indices {
        if let Some(bytes) = dataset.bytes(*index) {
            sizes.entry(bytes).or_default().push(*index);
        }
    }
    let same_size = sizes.into_values().filter(|same| same.len() > 1).flatten();
    // The sizes of those in Parquet are unknown before they are read; rendered ones have digests
    // that cost nothing.
    let unknown = indices.iter().copied().filter(|index| dataset.bytes(*index).is_none());
    let mut alike: Vec<usize> = same_size.chain(unknown).collect();
    alike.sort_unstable();
    let digests: Vec<Option<(usize, [u8; 32])>> = alike
        .into_par_iter()
        .map(|index| {
            if stop.is_some_and(|stop| stop.load(std::sync::atomic::Ordering::Relaxed)) {
                return None;
            }
            Some((index, dataset.picture_digest(index).ok()?))
        })
        .collect();
    if stop.is_some_and(|stop| stop.load(std::sync::atomic::Ordering::Relaxed)) {
        return Err(Error::Interrupted);
    }
    let pairs = duplicates::same_content(digests.into_iter().flatten())
        .into_iter()
        .map(|(a, b)| duplicates::duplicate(dataset, a, b, Likeness::Exact))
        .collect();
    let mut health = counted(dataset, indices.into_iter(), dataset.findings().to_vec(), pairs);
    health.notes = dataset.remarks().to_vec();
    health.quick = true;
    health.advice = advice::advice(&health);
    Ok(health)
}

fn counted(
    dataset: &Dataset,
    usable: impl Iterator<Item = usize>,
    findings: Vec<Finding>,
    duplicates: Vec<Duplicate>,
) -> Health {
    let mut counts: BTreeMap<Option<Split>, Vec<usize>> = BTreeMap::new();
    for index in usable {
        let sample = &dataset.samples()[index];
        let of_split =
            counts.entry(sample.split).or_insert_with(|| vec![0; dataset.classes().len()]);
        of_split[sample.label as usize] += 1;
    }
    let trained = counts.get(&Some(Split::Train)).or_else(|| counts.get(&None));
    let imbalance = trained.map_or(1.0, |counts| {
        let most = counts.iter().copied().max().unwrap_or(1).max(1);
        let least = counts.iter().copied().filter(|n| *n > 0).min().unwrap_or(1);
        most as f64 / least as f64
    });
    let classes = counts
        .into_iter()
        .map(|(split, counts)| {
            let named =
                dataset.classes().iter().map(String::from).zip(counts).collect::<BTreeMap<_, _>>();
            (split.map_or("all", Split::name).to_owned(), named)
        })
        .collect();
    let (remarks, unreadable): (Vec<_>, Vec<_>) = findings.into_iter().partition(Finding::usable);
    let outside = unreadable.iter().filter(|f| f.sample.is_none()).count();
    Health {
        data: dataset.place(),
        pictures: dataset.len() + outside,
        classes,
        imbalance,
        unreadable,
        remarks,
        label_conflicts: duplicates.iter().filter(|d| !d.same_label).cloned().collect(),
        duplicates,
        near_copies: Vec::new(),
        drift: BTreeMap::new(),
        label_errors: Vec::new(),
        names: None,
        badly_named: Vec::new(),
        variety: Vec::new(),
        peculiar: Peculiar::default(),
        formats: BTreeMap::new(),
        colour_modes: BTreeMap::new(),
        statistics: Vec::new(),
        ignored: dataset.ignored().count,
        notes: Vec::new(),
        embeddings: false,
        quick: false,
        advice: Vec::new(),
    }
}

/// For each picture outside the training split, the most similar ones inside it by embeddings.
fn neighbours(
    dataset: &Dataset,
    pictures: &[Scanned],
    projected: &Projected,
    notes: &mut Vec<String>,
) -> Vec<(usize, usize)> {
    const NEAREST: usize = 5;
    const LEAST_COSINE: f32 = 0.5;
    let split = |row: usize| dataset.samples()[pictures[projected.positions[row]].index].split;
    let rows = 0..projected.rows.len();
    let (train, rest): (Vec<usize>, Vec<usize>) =
        rows.filter(|r| split(*r).is_some()).partition(|r| split(*r) == Some(Split::Train));
    if train.len().saturating_mul(rest.len()) > MOST_COSINES {
        notes.push(
            "too many pictures to search the embeddings for copies: only the perceptual hash was used"
                .into(),
        );
        return Vec::new();
    }
    let directions = directions(projected);
    rest.into_par_iter()
        .flat_map_iter(|row| {
            nearest(&directions, row, train.iter().copied(), NEAREST)
                .into_iter()
                .filter(|(cosine, _)| *cosine >= LEAST_COSINE)
                .map(move |(_, other)| (projected.positions[row], projected.positions[other]))
        })
        .collect()
}

fn peculiarities(dataset: &Dataset, pictures: &[Scanned], health: &mut Health) {
    for picture in pictures {
        let id = || dataset.samples()[picture.index].id.clone();
        *health.formats.entry(picture.format.into()).or_default() += 1;
        *health.colour_modes.entry(picture.mode.name().into()).or_default() += 1;
        let aspect = picture.features[1];
        let checks = [
            (picture.animated, &mut health.peculiar.animated),
            (picture.rotated, &mut health.peculiar.rotated),
            (picture.width.min(picture.height) < TINY, &mut health.peculiar.tiny),
            (picture.features[0] > HUGE, &mut health.peculiar.huge),
            (aspect.max(1.0 / aspect) > ELONGATED, &mut health.peculiar.elongated),
            (picture.thumbnail.spread < 0.5, &mut health.peculiar.plain),
        ];
        for (holds, list) in checks {
            if holds {
                list.push(id());
            }
        }
    }
}

fn statistics(dataset: &Dataset, pictures: &[Scanned]) -> Vec<Statistics> {
    let mut cells: BTreeMap<(Option<Split>, u32), Vec<usize>> = BTreeMap::new();
    for (position, picture) in pictures.iter().enumerate() {
        let sample = &dataset.samples()[picture.index];
        cells.entry((sample.split, sample.label)).or_default().push(position);
    }
    cells
        .into_iter()
        .map(|((split, label), members)| Statistics {
            split: split.map_or("all", Split::name).into(),
            class: dataset.classes().name(label).unwrap_or_default().into(),
            pictures: members.len(),
            features: FEATURES
                .iter()
                .enumerate()
                .map(|(f, feature)| {
                    let values = members.iter().map(|p| pictures[*p].features[f]).collect();
                    (feature.name, distribution(values))
                })
                .collect(),
        })
        .collect()
}

/// Of at least one value. A quantile is the smallest value that at least this share of the values
/// does not exceed.
fn distribution(mut values: Vec<f32>) -> Distribution {
    values.sort_by(f32::total_cmp);
    let quantile = |share: f64| {
        let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
        values[at - 1]
    };
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    Distribution {
        min: quantile(0.0),
        p10: quantile(0.1),
        median: quantile(0.5),
        p90: quantile(0.9),
        max: quantile(1.0),
        mean: (sum / values.len() as f64) as f32,
    }
}
