//! The figures of probabilities against scikit-learn's, netcal's and torchmetrics', on seeded data.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde::Deserialize;
use taper_metrics::{Metrics, ProbabilityFigures, auroc, brier_score, softmax_at};

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    classes: usize,
    labels: Vec<u32>,
    logits: Vec<f32>,
    at: Vec<At>,
}

#[derive(Deserialize)]
struct At {
    temperature: f64,
    loss: f64,
    brier: f64,
    aurc: f64,
    /// None with two classes, where netcal's confidence is another one.
    ece_netcal: Option<f64>,
    mce_netcal: Option<f64>,
    ece_torchmetrics: f64,
    mce_torchmetrics: f64,
    auroc: f64,
    auroc_rounded: f64,
}

fn cases() -> Vec<Case> {
    let reference: Reference =
        serde_json::from_str(include_str!("reference/probabilities.json")).unwrap();
    assert_eq!(reference.cases.len(), 3);
    reference.cases
}

#[track_caller]
fn close(what: &str, ours: f64, theirs: f64, tolerance: f64) {
    assert!((ours - theirs).abs() <= tolerance, "{what}: {ours} instead of {theirs}");
}

#[test]
fn figures_at_temperatures() {
    for case in cases() {
        for at in &case.at {
            let of =
                ProbabilityFigures::at(&case.logits, &case.labels, case.classes, at.temperature);
            let of = of.unwrap();
            let what = |figure: &str| format!("{} at {}: {figure}", case.name, at.temperature);
            assert_eq!(of.n as usize, case.labels.len());
            close(&what("loss"), of.loss, at.loss, 1e-9);
            close(&what("Brier score"), of.brier, at.brier, 1e-9);
            close(&what("AURC"), of.aurc, at.aurc, 1e-9);
            let (ece, mce) = (of.calibration.expected_error, of.calibration.maximum_error);
            if let (Some(expected), Some(maximum)) = (at.ece_netcal, at.mce_netcal) {
                close(&what("ECE, netcal"), ece, expected, 1e-9);
                close(&what("MCE, netcal"), mce, maximum, 1e-9);
            }
            // torchmetrics computes in f32, whatever it is given.
            close(&what("ECE, torchmetrics"), ece, at.ece_torchmetrics, 2e-7);
            close(&what("MCE, torchmetrics"), mce, at.mce_torchmetrics, 2e-7);
        }
    }
}

#[test]
fn roc_and_brier_from_probabilities() {
    for case in cases() {
        for at in &case.at {
            let mut all = vec![0.0; case.logits.len()];
            let rows = all.chunks_exact_mut(case.classes);
            for (row, logits) in rows.zip(case.logits.chunks_exact(case.classes)) {
                softmax_at(logits, at.temperature, row);
            }
            let brier = brier_score(&all, &case.labels, case.classes).unwrap();
            close(&case.name, brier, at.brier, 1e-9);
            let (mut right, mut wrong) = (Vec::new(), Vec::new());
            for (row, &label) in all.chunks_exact(case.classes).zip(&case.labels) {
                let largest = row.iter().copied().fold(0.0, f64::max);
                let right_one = row[label as usize] == largest;
                if right_one { &mut right } else { &mut wrong }.push(largest);
            }
            close(&case.name, auroc(&right, &wrong).unwrap(), at.auroc, 1e-9);
            // With many ties.
            let rounded = |scores: &[f64]| -> Vec<f64> {
                scores.iter().map(|score| (score * 10.0).round_ties_even() / 10.0).collect()
            };
            let own = auroc(&rounded(&right), &rounded(&wrong)).unwrap();
            close(&case.name, own, at.auroc_rounded, 1e-9);
        }
    }
}

#[test]
fn streaming_figures_are_the_same() {
    for case in cases() {
        let names = (0..case.classes).map(|class| class.to_string()).collect();
        let names = taper_core::ClassNames::new(names).unwrap();
        let mut metrics = Metrics::new(case.classes).unwrap();
        metrics.update_logits(&case.logits, &case.labels).unwrap();
        let evaluation = metrics.evaluation(&names).unwrap();
        let of = ProbabilityFigures::at(&case.logits, &case.labels, case.classes, 1.0).unwrap();
        close(&case.name, evaluation.brier, of.brier, 1e-12);
        close(&case.name, evaluation.loss, of.loss, 1e-12);
        let (streamed, whole) = (&evaluation.calibration, &of.calibration);
        close(&case.name, streamed.expected_error, whole.expected_error, 1e-12);
        for (a, b) in streamed.bins.iter().zip(&whole.bins) {
            assert_eq!((a.weight, a.accuracy), (b.weight, b.accuracy), "{}", case.name);
            close(&case.name, a.confidence, b.confidence, 1e-12);
        }
    }
}

#[test]
fn the_order_changes_no_bit_and_what_is_not_finite_is_left_out() {
    for case in cases() {
        let k = case.classes;
        let n = case.labels.len();
        let whole = ProbabilityFigures::at(&case.logits, &case.labels, k, 0.7).unwrap();
        let order: Vec<usize> = (0..n).map(|i| (i * 7 + 3) % n).collect();
        assert!((0..n).all(|i| order.contains(&i)), "a permutation");
        let mut logits: Vec<f32> =
            order.iter().flat_map(|&i| case.logits[i * k..][..k].to_vec()).collect();
        let mut labels: Vec<u32> = order.iter().map(|&i| case.labels[i]).collect();
        assert_eq!(ProbabilityFigures::at(&logits, &labels, k, 0.7).unwrap(), whole);
        logits.extend(vec![f32::NAN; k]);
        labels.push(0);
        assert_eq!(ProbabilityFigures::at(&logits, &labels, k, 0.7).unwrap(), whole);
    }
}
