//! Temperatures against scipy's minimum of the same loss, and the coverage of sets on exchangeable
//! data.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde::Deserialize;
use taper_calibration::{Known, Validation, best_temperature, fit, judge};
use taper_core::random::{Key, Purpose, Stream};
use taper_metrics::ProbabilityFigures;

const TEST: Purpose = Purpose::new("test/calibration");

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

/// As `crates/metrics/tests/reference/probabilities.py` writes it.
#[derive(Deserialize)]
struct Case {
    name: String,
    classes: usize,
    labels: Vec<u32>,
    logits: Vec<f32>,
    temperature: f64,
    loss_at_temperature: f64,
}

#[test]
fn the_temperature_is_scipys() {
    let text = include_str!("../../metrics/tests/reference/probabilities.json");
    let reference: Reference = serde_json::from_str(text).unwrap();
    for case in reference.cases {
        let own = best_temperature(&case.logits, &case.labels, case.classes, 0.0);
        // scipy sees the loss alone, which hardly changes around its minimum.
        let difference = (own / case.temperature - 1.0).abs();
        assert!(difference < 1e-6, "{}: {own} instead of {}", case.name, case.temperature);
        let at = ProbabilityFigures::at(&case.logits, &case.labels, case.classes, own).unwrap();
        assert!(at.loss <= case.loss_at_temperature + 1e-14, "{}: {}", case.name, at.loss);
        assert!(at.loss >= case.loss_at_temperature - 1e-9, "{}: {}", case.name, at.loss);
    }
}

#[test]
fn another_order_changes_the_temperature_by_rounding_alone() {
    let (logits, labels) = pictures(400, 4, 2.0, &mut Key::new(1, TEST).stream(0, 0));
    let own = best_temperature(&logits, &labels, 4, 0.0);
    let reversed: Vec<f32> = logits.chunks_exact(4).rev().flatten().copied().collect();
    let labels_reversed: Vec<u32> = labels.iter().rev().copied().collect();
    let other = best_temperature(&reversed, &labels_reversed, 4, 0.0);
    assert!((own / other - 1.0).abs() < 1e-11, "{own} {other}");
    assert_eq!(own.to_bits(), best_temperature(&logits, &labels, 4, 0.0).to_bits());
}

/// Pictures whose true probabilities are the softmax of their logits divided by `temperature`: a
/// classifier that is overconfident by that factor.
fn pictures(
    n: usize,
    classes: usize,
    temperature: f64,
    stream: &mut Stream,
) -> (Vec<f32>, Vec<u32>) {
    let mut uniform = || f64::from(stream.next_u32()) / f64::from(u32::MAX);
    let (mut logits, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let row: Vec<f64> = (0..classes).map(|_| 12.0 * uniform() - 6.0).collect();
        let weights: Vec<f64> = row.iter().map(|z| (z / temperature).exp()).collect();
        let mut left = uniform() * weights.iter().sum::<f64>();
        let label = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        logits.extend(row.iter().map(|z| *z as f32));
        labels.push(label.unwrap_or(classes - 1) as u32);
    }
    (logits, labels)
}

#[test]
fn the_temperature_behind_the_labels_is_found() {
    for temperature in [0.6, 1.0, 2.5] {
        let (logits, labels) =
            pictures(20_000, 5, temperature, &mut Key::new(2, TEST).stream(0, 0));
        let own = best_temperature(&logits, &labels, 5, 0.0);
        assert!((own / temperature - 1.0).abs() < 0.04, "{own} instead of {temperature}");
    }
}

#[test]
fn sets_cover_what_is_asked_for_on_exchangeable_pictures() {
    for (coverage, n) in [(0.9, 60), (0.9, 199), (0.8, 100), (0.95, 99)] {
        // The guarantee is about the mean over draws of validation pictures.
        let (mut covered, mut sizes, rounds) = (0.0, 0.0, 60);
        for round in 0..rounds {
            let mut stream = Key::new(3, TEST).stream(n, round);
            let known = |logits, labels| Known { logits, labels, features: &[], classes: 6 };
            let (logits, labels) = pictures(n as usize, 6, 1.7, &mut stream);
            let validation = known(&logits, &labels);
            let on = Validation {
                pictures: validation,
                groups: None,
                reference: &[],
                training: 0,
                seed: 0,
            };
            let (own, _) = fit(&on, None).unwrap();
            let (logits, labels) = pictures(500, 6, 1.7, &mut stream);
            let test = known(&logits, &labels);
            let sets = own.sets(coverage).unwrap();
            let sets = judge(&own, &test, Some(sets)).unwrap().sets.unwrap();
            assert_eq!((sets.asked, sets.figures.n), (coverage, 500));
            covered += sets.figures.coverage / rounds as f64;
            sizes += sets.figures.mean_size / rounds as f64;
        }
        assert!((covered - coverage).abs() < 0.02, "{covered} instead of {coverage}, {n}");
        // Not by giving all classes.
        assert!((1.0..4.0).contains(&sizes), "{sizes} classes");
    }
}
