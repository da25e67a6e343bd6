//! Edge cases: no samples, broken outputs, wrong calls.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use taper_core::ClassNames;
use taper_metrics::{Error, Evaluation, Mean, Metrics, MetricsOptions, Outputs};

fn names(n: usize) -> ClassNames {
    ClassNames::new((0..n).map(|i| format!("c{i}")).collect()).unwrap()
}

#[test]
fn nothing_added_is_an_error_and_not_a_number() {
    let mut metrics = Metrics::new(3).unwrap();
    assert_eq!(metrics.loss(), None);
    assert_eq!(metrics.accuracy(), None);
    assert_eq!(metrics.evaluation(&names(3)), Err(Error::Empty));
    metrics.update(Outputs::Logits(&[1.0, 2.0, 3.0]), &[0], Some(&[0.0])).unwrap();
    assert_eq!(metrics.evaluation(&names(3)), Err(Error::Empty));
    metrics.update_logits(&[1.0, 2.0, 3.0], &[2]).unwrap();
    assert!(metrics.evaluation(&names(2)).is_err());
    assert_eq!(metrics.evaluation(&names(3)).unwrap().accuracy, 1.0);
    metrics.reset();
    assert_eq!((metrics.n(), metrics.loss()), (0, None));
}

#[test]
fn outputs_that_are_not_finite_are_counted_and_never_correct() {
    for broken in [f32::NAN, f32::INFINITY] {
        let mut metrics = Metrics::new(2).unwrap();
        // The second row's first value would win a careless comparison with NaN.
        metrics.update_logits(&[3.0, 0.0, broken, 0.0], &[0, 0]).unwrap();
        let evaluation = metrics.evaluation(&names(2)).unwrap();
        assert_eq!(evaluation.not_finite, 1);
        assert_eq!(evaluation.accuracy, 0.5);
        assert!(evaluation.loss.is_nan());
        assert_eq!(evaluation.confusion, [[1.0, 0.0], [0.0, 0.0]]);
        assert_eq!(evaluation.per_class[0].support, 2.0);
        assert_eq!(evaluation.per_class[0].recall, 0.5);
        let json = serde_json::to_string(&evaluation).unwrap();
        assert!(json.contains(r#""loss":null"#), "{json}");
        assert!(serde_json::from_str::<Evaluation>(&json).unwrap().loss.is_nan());
        // The state, unlike the answer, must come back as it was.
        let json = serde_json::to_string(&metrics).unwrap();
        let back: Metrics = serde_json::from_str(&json).unwrap();
        assert!(back.loss().unwrap().is_nan());
    }
    let mut metrics = Metrics::new(2).unwrap();
    metrics.update_probabilities(&[f32::NAN, 0.5], &[0]).unwrap();
    assert_eq!(metrics.evaluation(&names(2)).unwrap().not_finite, 1);
}

/// As `numpy.argmax` does.
#[test]
fn of_equally_large_outputs_the_first_is_the_prediction() {
    let options = MetricsOptions { top_k: Some(2), ..Default::default() };
    let mut metrics = Metrics::with_options(options.check(3).unwrap());
    metrics.update_logits(&[1.0; 9], &[0, 1, 2]).unwrap();
    let evaluation = metrics.evaluation(&names(3)).unwrap();
    assert_eq!(evaluation.confusion, [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]);
    assert_eq!(evaluation.top_k.unwrap().accuracy, 2.0 / 3.0);
}

#[test]
fn a_class_that_is_ruled_out_is_fine() {
    let mut metrics = Metrics::new(2).unwrap();
    metrics.update_logits(&[f32::NEG_INFINITY, 5.0], &[1]).unwrap();
    assert_eq!(metrics.loss(), Some(0.0));
    metrics.update_logits(&[f32::NEG_INFINITY, 5.0], &[0]).unwrap();
    assert_eq!(metrics.loss(), Some(f64::INFINITY));
    assert_eq!(metrics.evaluation(&names(2)).unwrap().not_finite, 0);
}

#[test]
fn the_answer_is_the_contract() {
    let mut metrics = Metrics::new(2).unwrap();
    metrics.update_logits(&[2.0, 0.0, 2.0, 0.0, 0.0, 2.0], &[0, 1, 1]).unwrap();
    let evaluation = metrics.evaluation(&names(2)).unwrap();
    let json = serde_json::to_value(&evaluation).unwrap();
    assert_eq!(json["n"], 3);
    assert_eq!(json["confusion"].to_string(), "[[1,0],[1,1]]");
    assert_eq!(json["per_class"][1]["label"], "c1");
    assert_eq!(json["per_class"][1]["support"].to_string(), "2");
    assert_eq!(json["per_class"][1]["precision"], 1.0);
    assert_eq!(json["most_confused"]["truth"], "c1");
    assert_eq!(json["most_confused"]["share"], 0.5);
    assert_eq!(serde_json::from_value::<Evaluation>(json).unwrap(), evaluation);
}

#[test]
fn wrong_calls_are_named_and_change_nothing() {
    let mut metrics = Metrics::new(2).unwrap();
    metrics.update_logits(&[1.0, 0.0], &[0]).unwrap();
    let before = serde_json::to_string(&metrics).unwrap();
    let errors = [
        metrics.update_logits(&[1.0, 0.0, 1.0], &[0]).unwrap_err(),
        metrics.update_logits(&[1.0, 0.0, 1.0, 0.0], &[0, 2]).unwrap_err(),
        metrics.update(Outputs::Logits(&[1.0, 0.0]), &[0], Some(&[])).unwrap_err(),
        metrics.update(Outputs::Logits(&[1.0, 0.0]), &[0], Some(&[-1.0])).unwrap_err(),
        metrics.update(Outputs::Logits(&[1.0, 0.0]), &[0], Some(&[f32::NAN])).unwrap_err(),
        metrics.update_probabilities(&[2.0, 1.0], &[0]).unwrap_err(),
        metrics.update_probabilities(&[0.5, 0.4], &[0]).unwrap_err(),
        metrics.merge(&Metrics::new(3).unwrap()).unwrap_err(),
    ];
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for (said, part) in said.iter().zip([
        "outputs has 3 values, but 1 labels need 2",
        "label 2 of sample 1",
        "weights has 0 values",
        "weight -1 of sample 0",
        "weight NaN of sample 0",
        "hold 2",
        "sum to 0.9",
        "number of classes: 2 here, 3 there",
    ]) {
        assert!(said.contains(part), "'{said}' does not say '{part}'");
    }
    assert_eq!(serde_json::to_string(&metrics).unwrap(), before);
}

#[test]
fn options_and_saved_state_are_checked() {
    assert!(Metrics::new(0).is_err());
    assert!(Metrics::new(70_000).is_err());
    let top = |k| MetricsOptions { top_k: Some(k), ..Default::default() }.check(3);
    assert!(top(0).is_err() && top(4).is_err() && top(3).is_ok());
    assert!(MetricsOptions { calibration_bins: 0, top_k: None }.check(3).is_err());
    assert!(serde_json::from_str::<MetricsOptions>(r#"{"topk":1}"#).is_err());
    let json = serde_json::to_string(&Metrics::new(3).unwrap()).unwrap();
    let damaged = json.replace(r#""classes":3"#, r#""classes":2"#);
    assert_ne!(json, damaged);
    assert!(serde_json::from_str::<Metrics>(&damaged).is_err());
}

#[test]
fn a_mean_ignores_what_weighs_nothing() {
    let mut mean = Mean::default();
    assert_eq!(mean.value(), None);
    mean.update(f64::INFINITY, 0.0);
    assert_eq!(mean.value(), None);
    mean.update(2.0, 3.0);
    mean.update(5.0, 1.0);
    assert_eq!(mean.value(), Some(2.75));
}
