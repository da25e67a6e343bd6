//! Pictures that the name of their class describes badly, to a network that was trained with texts
//! (Radford et al. 2021): a witness for label errors that knows neither the other pictures nor
//! their labels.

use std::collections::HashSet;

use rayon::prelude::*;
use serde::Serialize;
use taper_data::Dataset;

use crate::{Embeddings, Error, Health, Result, advice};

/// What a network that was trained with texts makes of pictures and of the names of their classes.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// What the network is called.
    pub model: &'a str,
    /// Its features of the pictures, or of those that could be read.
    pub embeddings: &'a Embeddings,
    /// The direction of each class's name, f32 `[classes, width]`, each of unit length.
    pub directions: &'a [f32],
    /// The factor that makes logits of cosines.
    pub factor: f32,
}

/// How well the names of the classes describe their pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NameFigures {
    /// The network.
    pub model: String,
    /// The share of pictures that it finds the class of by the names alone, each class counting the
    /// same: 0…1.
    pub accuracy: f64,
    /// What guessing gives.
    pub chance: f64,
    /// Whether the names can be a witness: the accuracy is clearly above chance.
    pub meaningful: bool,
    /// The classes whose names describe fewer than half of their pictures: nothing is said about
    /// these.
    pub undescribed: Vec<String>,
}

/// A picture that the name of another class describes better than that of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BadlyNamed {
    /// The picture.
    pub path: String,
    /// Its label.
    pub label: String,
    /// The class whose name describes it best.
    pub looks_like: String,
    /// How probable that class is, by the names alone: 0…1.
    pub probability: f64,
    /// How probable the given label is, by the same.
    pub given: f64,
    /// How many witnesses doubt the label: 2 if the other pictures do so too
    /// ([`Health::label_errors`]), else 1.
    pub witnesses: usize,
    /// The picture's place in the data set.
    #[serde(skip)]
    pub index: usize,
}

/// How far above chance names must be to say anything: this share of the way to certainty, …
const MARGIN: f64 = 0.25;
/// … and so many standard errors of guesses.
const STANDARD_ERRORS: f64 = 3.0;
/// The share of a class's pictures that its name must describe for it to be believed.
const DESCRIBED: f64 = 0.5;
/// How many names a note lists.
const SHOWN: usize = 5;

/// What the names say about a picture.
struct Said {
    sample: usize,
    best: usize,
    probability: f64,
    given: f64,
}

impl Health {
    /// Asks the names of the classes about the pictures: fills [`Health::names`] and
    /// [`Health::badly_named`], marks the label errors that both witnesses name, and puts these
    /// first.
    ///
    /// The probability of a class is the softmax over the cosines of a picture with all names,
    /// times the network's factor. As in confident learning (see [`Health::label_errors`]), a
    /// picture is named if another class is at least as probable as that class is on average for
    /// the pictures with its label, and its own class less than half as probable as on average.
    /// Only names that describe most pictures of their class are believed, on either side. If all
    /// names together are hardly better than guesses, which is so for names like `class_17`,
    /// nothing is named, and a note says so.
    ///
    /// # Errors
    /// [`Error::Embeddings`] if features or directions do not fit.
    pub fn ask_names(&mut self, dataset: &Dataset, names: &Names<'_>) -> Result<()> {
        let said = said(dataset, names)?;
        let classes = dataset.classes().len();
        let label = |said: &Said| dataset.samples()[said.sample].label as usize;
        let (mut counts, mut right) = (vec![0usize; classes], vec![0usize; classes]);
        // Northcutt's threshold, as for the label errors.
        let mut threshold = vec![0f64; classes];
        for own in &said {
            counts[label(own)] += 1;
            right[label(own)] += usize::from(own.best == label(own));
            threshold[label(own)] += own.given;
        }
        threshold.iter_mut().zip(&counts).for_each(|(sum, n)| *sum /= (*n).max(1) as f64);
        let recall: Vec<f64> = right
            .iter()
            .zip(&counts)
            .map(|(right, n)| *right as f64 / (*n).max(1) as f64)
            .collect();
        let figures = figures(dataset, names.model, &recall, &counts);
        let conflicting: HashSet<usize> =
            self.label_conflicts.iter().flat_map(|d| [d.pair.0, d.pair.1]).collect();
        let doubtful = |own: &&Said| {
            let label = label(own);
            figures.meaningful
                && own.best != label
                && recall[label] >= DESCRIBED
                && recall[own.best] >= DESCRIBED
                && own.probability >= threshold[own.best].max(0.5)
                && own.given < 0.5 * threshold[label]
                && !conflicting.contains(&own.sample)
        };
        let name = |class: usize| dataset.classes().name(class as u32).unwrap_or_default().into();
        let by_pictures: HashSet<usize> = self.label_errors.iter().map(|own| own.index).collect();
        self.badly_named = said
            .iter()
            .filter(doubtful)
            .map(|own| BadlyNamed {
                path: dataset.samples()[own.sample].id.clone(),
                label: name(label(own)),
                looks_like: name(own.best),
                probability: own.probability,
                given: own.given,
                witnesses: 1 + usize::from(by_pictures.contains(&own.sample)),
                index: own.sample,
            })
            .collect();
        self.badly_named.sort_by(|a, b| {
            let probable = b.probability.total_cmp(&a.probability);
            b.witnesses.cmp(&a.witnesses).then(probable).then(a.path.cmp(&b.path))
        });
        let by_names: HashSet<usize> = self.badly_named.iter().map(|own| own.index).collect();
        for error in &mut self.label_errors {
            error.witnesses = 1 + usize::from(by_names.contains(&error.index));
        }
        self.label_errors.sort_by_key(|error| std::cmp::Reverse(error.witnesses));
        self.notes.extend(note(&figures));
        self.names = Some(figures);
        self.advice = advice::advice(self);
        Ok(())
    }
}

/// What the names say about each picture.
fn said(dataset: &Dataset, names: &Names<'_>) -> Result<Vec<Said>> {
    let Names { embeddings, directions, factor, .. } = *names;
    embeddings.check()?;
    let width = embeddings.width;
    if directions.len() != dataset.classes().len() * width {
        return Err(Error::Embeddings {
            rows: embeddings.samples.len(),
            width,
            values: directions.len(),
            problem: "the names of the classes need as many numbers each as the pictures",
        });
    }
    let rows = embeddings.samples.par_iter().zip(embeddings.values.par_chunks_exact(width));
    let about = |(&sample, row): (&usize, &[f32])| {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12);
        let dot = |name: &[f32]| -> f64 {
            name.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let logits: Vec<f64> = directions
            .chunks_exact(width)
            .map(|name| f64::from(factor) * dot(name) / length)
            .collect();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
        let sum: f64 = logits.iter().map(|logit| (logit - logits[best]).exp()).sum();
        let given = (logits[dataset.samples()[sample].label as usize] - logits[best]).exp();
        Said { sample, best, probability: 1.0 / sum, given: given / sum }
    };
    Ok(rows.map(about).collect())
}

fn figures(dataset: &Dataset, model: &str, recall: &[f64], counts: &[usize]) -> NameFigures {
    let present: Vec<usize> = (0..counts.len()).filter(|class| counts[*class] > 0).collect();
    let n = present.len().max(1) as f64;
    let accuracy = present.iter().map(|class| recall[*class]).sum::<f64>() / n;
    let chance = 1.0 / counts.len().max(1) as f64;
    let variance: f64 =
        present.iter().map(|class| chance * (1.0 - chance) / counts[*class] as f64).sum();
    let above = (MARGIN * (1.0 - chance)).max(STANDARD_ERRORS * variance.sqrt() / n);
    let undescribed = present.iter().filter(|class| recall[**class] < DESCRIBED);
    NameFigures {
        model: model.to_owned(),
        accuracy,
        chance,
        meaningful: present.len() > 1 && accuracy >= chance + above,
        undescribed: undescribed
            .filter_map(|class| dataset.classes().name(*class as u32).map(str::to_owned))
            .collect(),
    }
}

/// What to say about names that are no witness.
fn note(figures: &NameFigures) -> Option<String> {
    let NameFigures { model, accuracy, chance, undescribed, .. } = figures;
    if !figures.meaningful {
        return Some(format!(
            "the names of the classes say too little to {model}: by them alone it finds the class of {:.0} % of the pictures ({:.0} % is chance), so that they are no witness for label errors; `prompts` can say what they mean, such as 'a satellite picture of {{}}.'",
            100.0 * accuracy,
            100.0 * chance,
        ));
    }
    let first = undescribed.first()?;
    let shown = undescribed[1..undescribed.len().min(SHOWN)]
        .iter()
        .fold(format!("'{first}'"), |shown, name| format!("{shown}, '{name}'"));
    let more = match undescribed.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "to {model}, the names of these classes do not describe most of their pictures, so that they are no witness for label errors there: {shown}{more}"
    ))
}
