//! What Optuna wrote is read as Optuna reads it: `reference/journals.py`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use taper_tune::{
    Direction, Error, ImportanceConfig, Outcome, Random, Space, Study, TrialState, Value,
};

#[derive(Deserialize)]
struct Reference {
    studies: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    best: (usize, f64),
    importance: BTreeMap<String, f64>,
    normalised: BTreeMap<String, f64>,
    region: BTreeMap<String, f64>,
    trials: Vec<ExpectedTrial>,
}

#[derive(Deserialize)]
struct ExpectedTrial {
    number: usize,
    state: String,
    params: BTreeMap<String, Value>,
    value: Option<String>,
    steps: BTreeMap<String, String>,
    user_attrs: Vec<String>,
    seconds: Option<f64>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

fn reference() -> BTreeMap<String, Expected> {
    let text = fs::read_to_string(folder().join("optuna.json")).unwrap();
    serde_json::from_str::<Reference>(&text).unwrap().studies
}

/// Python's `repr`.
fn number(text: &str) -> f64 {
    text.parse().unwrap()
}

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

fn state(name: &str) -> TrialState {
    match name {
        "RUNNING" => TrialState::Running,
        "COMPLETE" => TrialState::Complete,
        "PRUNED" => TrialState::Pruned,
        "FAIL" => TrialState::Failed,
        "WAITING" => TrialState::Waiting,
        other => panic!("{other}"),
    }
}

#[test]
fn trials_are_those_that_optuna_lists() {
    let path = folder().join("optuna.journal");
    assert_eq!(Study::names(&path).unwrap(), ["everything", "upwards", "two"]);
    for (name, expected) in reference() {
        let study = Study::load(&path, &name).unwrap();
        assert_eq!(study.trials().len(), expected.trials.len());
        for (trial, expected) in study.trials().iter().zip(expected.trials) {
            let context = format!("{name} {}", expected.number);
            assert_eq!(trial.number, expected.number);
            assert_eq!(trial.state, state(&expected.state), "{context}");
            let values: BTreeMap<String, Value> =
                trial.parameters.iter().map(|(name, p)| (name.clone(), p.value())).collect();
            assert_eq!(values, expected.params, "{context}");
            let value = expected.value.as_deref().map(number);
            assert_eq!(trial.value(), value, "{context}");
            assert_eq!(trial.steps.len(), expected.steps.len(), "{context}");
            for (step, value) in expected.steps {
                let own = trial.steps[&step.parse().unwrap()];
                assert!(same(own, number(&value)), "{context}: {own}, not {value}");
            }
            let notes: Vec<&String> = trial.user_attributes.keys().collect();
            assert_eq!(notes, expected.user_attrs.iter().collect::<Vec<_>>(), "{context}");
            let seconds = trial.duration().map(|duration| duration.as_secs_f64());
            assert_eq!(seconds.is_some(), expected.seconds.is_some(), "{context}");
            let difference = seconds.unwrap_or(0.0) - expected.seconds.unwrap_or(0.0);
            assert!(difference.abs() < 1e-6, "{context}: {difference}");
        }
        let best = study.best_trial().unwrap();
        assert_eq!((best.number, best.value()), (expected.best.0, Some(expected.best.1)));
    }
    let study = Study::load(&path, "everything").unwrap();
    let note = &study.trials()[0].user_attributes["note"];
    assert_eq!(note["text"], "NaN, \"quoted\": Infinity ü");
    assert_eq!(study.attributes()["data"], "synthetic");
}

#[test]
fn importances_are_those_of_optuna() {
    for (name, expected) in reference() {
        let study = Study::load(&folder().join("optuna.journal"), &name).unwrap();
        let importances = |config: ImportanceConfig| config.check().unwrap().of(study.history());
        let all = importances(ImportanceConfig::default());
        assert_eq!(all.len(), expected.importance.len());
        assert!(all.is_sorted_by(|a, b| a.divergence >= b.divergence));
        for own in &all {
            let difference = (own.divergence - expected.importance[&own.name]).abs();
            assert!(difference < 1e-9, "{name}: {own:?}");
            assert!((own.share - expected.normalised[&own.name]).abs() < 1e-9, "{name}: {own:?}");
        }
        for own in importances(ImportanceConfig { target: 0.2, region: 0.6 }) {
            let difference = (own.divergence - expected.region[&own.name]).abs();
            assert!(difference < 1e-9, "{name}: {own:?}");
        }
    }
}

#[test]
fn studies_of_optuna_go_on() {
    let folder_of_test = tempfile::tempdir().unwrap();
    let path = folder_of_test.path().join("study.journal");
    fs::copy(folder().join("optuna.journal"), &path).unwrap();
    let before = fs::read(&path).unwrap();
    let wrong = Study::open(&path, "upwards", Direction::Min).err().unwrap();
    assert!(wrong.to_string().contains("largest"), "{wrong}");
    assert!(matches!(Study::load(&path, "two"), Err(Error::Objectives { .. })));
    let missing = Study::load(&path, "deleted").err().unwrap().to_string();
    assert!(missing.contains("everything, upwards, two"), "{missing}");

    let space = Space::new().float("x", -2.0, 2.0).unwrap().int("n", 0, 200).unwrap();
    let mut study = Study::open(&path, "upwards", Direction::Max).unwrap();
    let old = study.best_trial().unwrap().value().unwrap();
    study
        .optimize(&space, 30, |trial| {
            let (x, n) = (trial.float("x")?, trial.int("n")?);
            Ok(Outcome::Complete(-x * x + 0.1 * n as f64))
        })
        .unwrap();
    assert_eq!(study.trials().len(), 70);
    assert!(study.best_trial().unwrap().value().unwrap() > old);
    assert!(fs::read(&path).unwrap().starts_with(&before));

    // Queued trials come first, with the values that they were queued with.
    let mut study =
        Study::open(&path, "everything", Direction::Min).unwrap().with_sampler(Random::new(1));
    let waiting: Vec<usize> = study
        .trials()
        .iter()
        .filter(|trial| trial.state == TrialState::Waiting)
        .map(|trial| trial.number)
        .collect();
    let space = Space::new().log_float("rate", 1e-5, 1e-1).unwrap();
    let space = space.int("other", 1, 3).unwrap();
    let trial = study.ask(&space).unwrap();
    assert_eq!((trial.number, trial.get("rate")), (waiting[0], Some(Value::Float(0.02))));
    assert!(matches!(trial.get("other"), Some(Value::Int(1..=3))));
    study.tell(trial.number, 0.5.into()).unwrap();
    // Another kind of parameter is refused before anything is written.
    let space = Space::new().int("rate", 1, 5).unwrap();
    let error = study.ask(&space).unwrap_err().to_string();
    assert!(error.contains("'rate'"), "{error}");
}
