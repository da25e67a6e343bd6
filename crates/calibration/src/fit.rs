use serde::{Deserialize, Serialize};
use taper_metrics::{Result, softmax_at};
use taper_model::{Calibration, CalibrationChange, TemperatureLimit, score};

use crate::{Judged, Known, Temperature, familiar::familiarity, fit_temperature, judge};

/// The coverage that sets are measured with where none was asked for.
const COVERAGE: f64 = 0.9;

/// What a calibration is fitted on: validation pictures, and features of the training pictures.
#[derive(Debug, Clone, Copy)]
pub struct Validation<'a> {
    /// Pictures that the classifier was not trained on.
    pub pictures: Known<'a>,
    /// The number of each one's group, where pictures have origins in common.
    pub groups: Option<&'a [u32]>,
    /// Features of training pictures as they are, without augmentation: those of
    /// [`reference_rows`](crate::reference_rows), f32 `[rows, width]`. May be empty.
    pub reference: &'a [f32],
    /// How many training pictures there were.
    pub training: usize,
    /// The seed of the choice among pictures where they are many.
    pub seed: u64,
}

/// A calibration and what it came to: part of a training's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// What logits are divided by.
    pub temperature: f64,
    /// Why it is not the temperature with the lowest loss on the validation pictures, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<TemperatureLimit>,
    /// On the validation pictures, which it was fitted on.
    pub validation: Judged,
    /// On pictures that were not used before; `null` if there are none.
    pub test: Option<Judged>,
}

/// Fits everything that a model can know about its own answers, and measures it, also on test
/// pictures if there are any. Depends, to the bit, on nothing but what is given, in its order.
///
/// # Errors
/// Lengths that do not fit; [`taper_metrics::Error::Empty`] if no picture has finite logits.
pub fn fit(on: &Validation<'_>, test: Option<&Known<'_>>) -> Result<(Calibration, Calibrated)> {
    let Known { logits, labels, features, classes } = on.pictures;
    let temperature = fit_temperature(logits, labels, classes, on.groups);
    let mut own = Calibration {
        temperature: temperature.value,
        limit: temperature.limit,
        pictures: labels.len() as u64,
        validation: CalibrationChange { before: 0.0, after: 0.0 },
        test: None,
        scores: scores(&on.pictures, temperature.value),
        familiarity: familiarity(on.reference, on.training, features, on.pictures.width(), on.seed),
    };
    let sets = own.sets(COVERAGE).ok();
    let validation = judge(&own, &on.pictures, sets)?;
    let test = test.map(|test| judge(&own, test, sets)).transpose()?;
    own.validation = change(&validation);
    own.test = test.as_ref().map(change);
    let Temperature { value, limit } = temperature;
    let answer = Calibrated { temperature: value, limit, validation, test };
    Ok((own, answer))
}

fn change(judged: &Judged) -> CalibrationChange {
    CalibrationChange {
        before: judged.before.calibration.expected_error,
        after: judged.after.calibration.expected_error,
    }
}

/// 1 − the probability of the true class, ascending. A picture without a prediction has the largest
/// score.
fn scores(known: &Known<'_>, temperature: f64) -> Vec<f32> {
    let mut row = vec![0.0; known.classes];
    let rows = known.logits.chunks_exact(known.classes.max(1)).zip(known.labels);
    let mut scores: Vec<f32> = rows
        .map(|(logits, &label)| {
            softmax_at(logits, temperature, &mut row);
            let own = score(row[label as usize]);
            if own.is_nan() { 1.0 } else { own.clamp(0.0, 1.0) }
        })
        .collect();
    scores.sort_by(f32::total_cmp);
    scores
}
