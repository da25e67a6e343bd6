//! What a model said of pictures whose class is known.

use std::path::Path;

use taper_core::{
    ClassNames,
    file::write_atomically,
    random::{Key, Purpose},
};
use taper_data::Dataset;
use taper_metrics::softmax_at;
use taper_run::{Error, Result};

/// What a model said of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Told {
    /// Its place in the data set.
    pub(crate) sample: usize,
    /// Its class.
    pub(crate) label: u32,
    /// The most probable class; none if the model gave no numbers.
    pub(crate) predicted: Option<u32>,
    /// The probability of that class, 0…1.
    pub(crate) probability: f64,
    /// The probability of the picture's own class, 0…1.
    pub(crate) of_label: f64,
}

impl Told {
    pub(crate) fn is_right(&self) -> bool {
        self.predicted == Some(self.label)
    }
}

/// From logits, f32 `[pictures, classes]`, at a temperature.
pub(crate) fn told(samples: &[usize], labels: &[u32], logits: &[f32], heat: f64) -> Vec<Told> {
    let classes = logits.len() / labels.len().max(1);
    let mut row = vec![0.0; classes];
    let pictures = samples.iter().zip(labels).zip(logits.chunks_exact(classes.max(1)));
    pictures
        .map(|((&sample, &label), logits)| {
            softmax_at(logits, heat, &mut row);
            let finite = logits.iter().all(|logit| logit.is_finite());
            let best = (0..classes).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            let predicted = best.filter(|_| finite);
            Told {
                sample,
                label,
                predicted: predicted.map(|best| best as u32),
                probability: predicted.map_or(0.0, |best| row[best]),
                of_label: if finite {
                    row.get(label as usize).copied().unwrap_or(0.0)
                } else {
                    0.0
                },
            }
        })
        .collect()
}

/// The mistakes, those that the model was surest of first.
pub(crate) fn mistakes(all: &[Told]) -> Vec<Told> {
    let mut wrong: Vec<Told> = all.iter().filter(|own| !own.is_right()).copied().collect();
    wrong.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.sample.cmp(&b.sample)));
    wrong
}

/// Accuracy on the pictures that remain if those that the model is least sure of are refused: the
/// share that is answered, 0…1, and the accuracy on it, at up to 100 places.
pub(crate) fn coverage(all: &[Told]) -> Vec<(f64, f64)> {
    let mut sure: Vec<&Told> = all.iter().collect();
    sure.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let n = sure.len();
    let mut right = 0;
    let mut points = Vec::new();
    for (at, own) in sure.iter().enumerate() {
        right += usize::from(own.is_right());
        let answered = at + 1;
        // Pictures of one probability are answered together.
        let whole = sure.get(answered).is_none_or(|next| next.probability < own.probability);
        let place = answered * 100 / n.max(1) > at * 100 / n.max(1);
        if whole && (place || answered == n) {
            points.push((answered as f64 / n as f64, right as f64 / answered as f64));
        }
    }
    points
}

/// The expected calibration error, in 15 bins, that a model with these probabilities stays below in
/// 95 of 100 draws if each of them means what it says. With few pictures it is far above 0.
pub(crate) fn error_by_chance(all: &[Told]) -> f64 {
    const DRAWS: u32 = 100;
    let key = Key::new(0, Purpose::new("run-report/calibration"));
    let mut errors: Vec<f64> = (0..DRAWS)
        .map(|draw| {
            let mut stream = key.stream(draw, 0);
            let mut gaps = [0.0; 15];
            for own in all {
                let right = f64::from(stream.next_u32()) / f64::from(u32::MAX) < own.probability;
                let bin = ((own.probability * 15.0) as usize).min(14);
                gaps[bin] += own.probability - f64::from(u8::from(right));
            }
            gaps.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / all.len().max(1) as f64
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    errors.get(DRAWS as usize * 95 / 100).copied().unwrap_or(0.0)
}

/// Writes a table: path, split, label, predicted class, its probability, that of the label.
pub(crate) fn write_table(
    path: &Path,
    dataset: &Dataset,
    splits: &[(&str, &[Told])],
) -> Result<()> {
    let classes = dataset.classes();
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| Error::io("write", path)(std::io::Error::other(error));
    let head = ["path", "split", "label", "predicted", "probability", "label_probability"];
    table.write_record(head).map_err(failed)?;
    for (split, answers) in splits {
        for own in *answers {
            let predicted = own.predicted.map_or("", |class| name(classes, class));
            let numbers = [own.probability, own.of_label].map(|p| format!("{p:.6}"));
            let id = dataset.samples()[own.sample].id.as_str();
            let row = [id, split, name(classes, own.label), predicted, &numbers[0], &numbers[1]];
            table.write_record(row).map_err(failed)?;
        }
    }
    let content =
        table.into_inner().map_err(|error| Error::io("write", path)(error.into_error()))?;
    write_atomically(path, &content).map_err(Error::io("write", path))
}

/// A class's name.
pub(crate) fn name(classes: &ClassNames, label: u32) -> &str {
    classes.name(label).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(probability: f64, right: bool) -> Told {
        let predicted = Some(u32::from(!right));
        Told { sample: 0, label: 0, predicted, probability, of_label: 0.0 }
    }

    #[test]
    fn the_less_sure_are_refused_first() {
        let all = [of(0.9, true), of(0.6, false), of(0.8, true), of(0.6, true)];
        let expected = [(0.25, 1.0), (0.5, 1.0), (1.0, 0.75)];
        assert_eq!(coverage(&all), expected);
        assert_eq!(mistakes(&all), [of(0.6, false)]);
        assert_eq!(coverage(&[]), []);
    }

    #[test]
    fn few_pictures_make_calibration_errors_by_chance() {
        let of = |n: usize| -> Vec<Told> {
            (0..n).map(|at| of(0.3 + 0.7 * (at as f64 / n as f64), true)).collect()
        };
        let (few, many) = (error_by_chance(&of(50)), error_by_chance(&of(20_000)));
        // 0.15 to 0.2 and less than 0.015, by a simulation apart from this one.
        assert!((0.12..0.26).contains(&few), "{few}");
        assert!(many < 0.015, "{many}");
    }

    #[test]
    fn logits_become_answers() {
        let all = told(&[7, 9], &[0, 1], &[2.0, 0.0, f32::NAN, 0.0], 1.0);
        assert_eq!((all[0].sample, all[0].predicted), (7, Some(0)));
        assert!((all[0].probability - 0.8808).abs() < 1e-4);
        assert_eq!((all[1].predicted, all[1].is_right()), (None, false));
    }
}
