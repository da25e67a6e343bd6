//! Every figure against scikit-learn's, scipy's and Keras's, on seeded data.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde::Deserialize;
use taper_core::ClassNames;
use taper_metrics::{Evaluation, Metrics, MetricsOptions, Outputs, softmax};

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    n: u64,
    classes: usize,
    bins: usize,
    top_k: Option<usize>,
    logits: Vec<f32>,
    labels: Vec<u32>,
    weights: Option<Vec<f32>>,
    loss: f64,
    loss_from_probabilities: f64,
    accuracy: f64,
    balanced_accuracy: f64,
    macro_f1: f64,
    top_k_accuracy: Option<f64>,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<f64>,
    confusion: Vec<Vec<f64>>,
    expected_calibration_error: f64,
    maximum_calibration_error: f64,
}

impl Case {
    fn metrics(&self) -> Metrics {
        let options = MetricsOptions { calibration_bins: self.bins, top_k: self.top_k };
        Metrics::with_options(options.check(self.classes).unwrap())
    }

    fn names(&self) -> ClassNames {
        ClassNames::new((0..self.classes).map(|c| format!("class {c}")).collect()).unwrap()
    }

    /// Feeds the samples in batches of `size`, the last one smaller.
    fn feed(&self, metrics: &mut Metrics, size: usize, probabilities: bool) {
        let k = self.classes;
        for start in (0..self.labels.len()).step_by(size) {
            let range = start..(start + size).min(self.labels.len());
            let logits = &self.logits[range.start * k..range.end * k];
            let weights = self.weights.as_ref().map(|w| &w[range.clone()]);
            let labels = &self.labels[range];
            if probabilities {
                let mut row = vec![0.0; k];
                let all: Vec<f32> = logits
                    .chunks_exact(k)
                    .flat_map(|l| {
                        softmax(l, &mut row);
                        row.iter().map(|&p| p as f32).collect::<Vec<_>>()
                    })
                    .collect();
                metrics.update(Outputs::Probabilities(&all), labels, weights).unwrap();
            } else {
                metrics.update(Outputs::Logits(logits), labels, weights).unwrap();
            }
        }
    }
}

fn cases() -> Vec<Case> {
    let reference: Reference =
        serde_json::from_str(include_str!("reference/reference.json")).unwrap();
    assert_eq!(reference.cases.len(), 8);
    reference.cases
}

fn close(what: &str, ours: f64, theirs: f64, tolerance: f64) {
    assert!(
        (ours - theirs).abs() <= tolerance * theirs.abs().max(1.0),
        "{what}: {ours} instead of {theirs}"
    );
}

fn compare(case: &Case, evaluation: &Evaluation) {
    let what = |figure: &str| format!("{}: {figure}", case.name);
    assert_eq!(evaluation.n, case.n);
    assert_eq!(evaluation.not_finite, 0);
    // Sums of equal samples are exact; only weights that are not whole numbers may round
    // differently.
    let exact = 1e-12;
    close(&what("loss"), evaluation.loss, case.loss, exact);
    close(&what("accuracy"), evaluation.accuracy, case.accuracy, exact);
    close(&what("balanced"), evaluation.balanced_accuracy, case.balanced_accuracy, exact);
    close(&what("macro f1"), evaluation.macro_f1, case.macro_f1, exact);
    assert_eq!(evaluation.top_k.map(|t| t.k), case.top_k);
    if let (Some(ours), Some(theirs)) = (evaluation.top_k, case.top_k_accuracy) {
        close(&what("top k"), ours.accuracy, theirs, exact);
    }
    for (c, class) in evaluation.per_class.iter().enumerate() {
        close(&what("precision"), class.precision, case.precision[c], exact);
        close(&what("recall"), class.recall, case.recall[c], exact);
        close(&what("f1"), class.f1, case.f1[c], exact);
        close(&what("support"), class.support, case.support[c], exact);
        for (p, &count) in evaluation.confusion[c].iter().enumerate() {
            close(&what("confusion"), count, case.confusion[c][p], exact);
        }
    }
    let calibration = &evaluation.calibration;
    assert_eq!(calibration.bins.len(), case.bins);
    let expected = case.expected_calibration_error;
    close(&what("ECE"), calibration.expected_error, expected, exact);
    close(&what("MCE"), calibration.maximum_error, case.maximum_calibration_error, exact);
}

#[test]
fn from_logits() {
    for case in cases() {
        let mut metrics = case.metrics();
        case.feed(&mut metrics, 16, false);
        compare(&case, &metrics.evaluation(&case.names()).unwrap());
    }
}

/// Keras computes this loss in f32.
#[test]
fn loss_from_probabilities() {
    for case in cases() {
        let mut metrics = case.metrics();
        case.feed(&mut metrics, 16, true);
        let what = format!("{}: loss from probabilities", case.name);
        close(&what, metrics.loss().unwrap(), case.loss_from_probabilities, 2e-6);
        close(&case.name, metrics.accuracy().unwrap(), case.accuracy, 1e-12);
    }
}

#[test]
fn batch_size_does_not_change_a_bit_and_merging_adds_up() {
    for case in cases() {
        let whole = {
            let mut metrics = case.metrics();
            case.feed(&mut metrics, usize::MAX / 2, false);
            metrics.evaluation(&case.names()).unwrap()
        };
        let mut by_seven = case.metrics();
        case.feed(&mut by_seven, 7, false);
        assert_eq!(by_seven.evaluation(&case.names()).unwrap(), whole);

        let mut merged = case.metrics();
        for start in (0..case.labels.len()).step_by(13) {
            let end = (start + 13).min(case.labels.len());
            let mut part = case.metrics();
            let logits = &case.logits[start * case.classes..end * case.classes];
            let weights = case.weights.as_ref().map(|w| &w[start..end]);
            part.update(Outputs::Logits(logits), &case.labels[start..end], weights).unwrap();
            merged.merge(&part).unwrap();
        }
        compare(&case, &merged.evaluation(&case.names()).unwrap());
    }
}

#[test]
fn saved_within_an_epoch_it_goes_on_to_the_same_bits() {
    for case in cases() {
        let (k, half) = (case.classes, case.labels.len() / 2);
        let feed = |metrics: &mut Metrics, range: std::ops::Range<usize>| {
            let logits = &case.logits[range.start * k..range.end * k];
            let weights = case.weights.as_ref().map(|w| &w[range.clone()]);
            metrics.update(Outputs::Logits(logits), &case.labels[range], weights).unwrap();
        };
        let mut through = case.metrics();
        feed(&mut through, 0..half);
        let json = serde_json::to_string(&through).unwrap();
        let mut resumed: Metrics = serde_json::from_str(&json).unwrap();
        for metrics in [&mut through, &mut resumed] {
            feed(metrics, half..case.labels.len());
        }
        assert_eq!(
            resumed.evaluation(&case.names()).unwrap(),
            through.evaluation(&case.names()).unwrap()
        );
        assert_eq!(
            serde_json::to_string(&resumed).unwrap(),
            serde_json::to_string(&through).unwrap()
        );
    }
}

#[derive(Deserialize)]
struct MacroCase {
    name: String,
    classes: usize,
    labels: Vec<u32>,
    predicted: Vec<usize>,
    weights: Option<Vec<f32>>,
    macro_f1: f64,
}

#[derive(Deserialize)]
struct MacroReference {
    cases: Vec<MacroCase>,
}

#[test]
fn macro_f1_leaves_out_classes_that_never_occur() {
    let reference: MacroReference =
        serde_json::from_str(include_str!("reference/macro_f1.json")).unwrap();
    assert_eq!(reference.cases.len(), 7);
    for case in reference.cases {
        let mut logits = vec![0.0; case.labels.len() * case.classes];
        for (row, predicted) in logits.chunks_exact_mut(case.classes).zip(&case.predicted) {
            row[*predicted] = 4.0;
        }
        let mut metrics = Metrics::new(case.classes).unwrap();
        metrics.update(Outputs::Logits(&logits), &case.labels, case.weights.as_deref()).unwrap();
        let names = ClassNames::new((0..case.classes).map(|c| format!("c{c}")).collect()).unwrap();
        let evaluation = metrics.evaluation(&names).unwrap();
        close(&case.name, evaluation.macro_f1, case.macro_f1, 1e-12);
    }
}
