use serde::{Deserialize, Serialize};
use taper_metrics::{ProbabilityFigures, Result, SetFigures, softmax_at};
use taper_model::{Calibration, ConformalSets};

/// Pictures whose class is known, as a classifier sees them.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// f32 `[n, classes]`, row-major.
    pub logits: &'a [f32],
    /// Their classes, below `classes`.
    pub labels: &'a [u32],
    /// The backbone's rows, f32 `[n, width]`.
    pub features: &'a [f32],
    /// How many classes there are.
    pub classes: usize,
}

impl<'a> Known<'a> {
    /// Pictures with these logits, labels and features; the number of classes is that of the logits
    /// for each label.
    pub fn new(logits: &'a [f32], labels: &'a [u32], features: &'a [f32]) -> Self {
        Self { logits, labels, features, classes: logits.len() / labels.len().max(1) }
    }

    /// How many features a picture has.
    pub(crate) fn width(&self) -> usize {
        self.features.len() / self.labels.len().max(1)
    }
}

/// What a classifier's knowledge about its own answers is worth on pictures whose class is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Figures of the raw probabilities.
    pub before: ProbabilityFigures,
    /// Figures of the calibrated probabilities.
    pub after: ProbabilityFigures,
    /// Conformal sets; none if there are too few validation pictures for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<JudgedSets>,
    /// Pictures unlike the training pictures; none if the model does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfamiliar: Option<Unfamiliar>,
}

/// Conformal sets of a coverage, and what they came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct JudgedSets {
    /// The share of pictures whose true class should be in their set.
    pub asked: f64,
    /// What came of it.
    #[serde(flatten)]
    pub figures: SetFigures,
}

/// Pictures unlike the training pictures, counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Unfamiliar {
    /// How many there are.
    pub pictures: u64,
    /// Their share of all, 0…1.
    pub share: f64,
}

/// Measures a calibration on pictures whose class is known.
///
/// # Errors
/// Those of [`ProbabilityFigures::at`]: lengths that do not fit, and pictures none of which has
/// finite logits.
pub fn judge(own: &Calibration, known: &Known<'_>, sets: Option<ConformalSets>) -> Result<Judged> {
    let Known { logits, labels, classes, .. } = *known;
    let at = |temperature| ProbabilityFigures::at(logits, labels, classes, temperature);
    let (before, after) = (at(1.0)?, at(own.temperature)?);
    let sets = sets.and_then(|sets| {
        let mut row = vec![0.0; classes];
        let of_each = logits.chunks_exact(classes).zip(labels).map(|(logits, &label)| {
            softmax_at(logits, own.temperature, &mut row);
            let size = row.iter().filter(|p| sets.contains(**p)).count();
            (sets.contains(row[label as usize]), size)
        });
        let figures = SetFigures::of(of_each)?;
        Some(JudgedSets { asked: sets.coverage(), figures })
    });
    let unfamiliar = own.familiarity.as_ref().map(|familiarity| {
        let distances = familiarity.distances(known.features, known.width());
        let far = distances.iter().filter(|distance| familiarity.is_unfamiliar(**distance));
        let pictures = far.count() as u64;
        Unfamiliar { pictures, share: pictures as f64 / labels.len().max(1) as f64 }
    });
    Ok(Judged { before, after, sets, unfamiliar })
}
