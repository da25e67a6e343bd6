//! Densities of the Parzen estimators, and the division into good and bad trials, against Optuna's:
//! `reference/densities.py`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use taper_tune::{Distribution, Study, Tpe};

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    study: String,
    below: Vec<usize>,
    above: Vec<usize>,
    points: BTreeMap<String, Vec<f64>>,
    log_below: Vec<f64>,
    log_above: Vec<f64>,
}

#[test]
fn densities_are_those_of_optuna() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let reference = fs::read_to_string(folder.join("densities.json")).unwrap();
    let reference: Reference = serde_json::from_str(&reference).unwrap();
    let mut compared = 0;
    for case in reference.cases {
        let name = &case.study;
        let study = Study::load(&folder.join("densities.journal"), name).unwrap();
        let (below, above) = Tpe::split(study.history(), None);
        assert_eq!((&below, &above), (&case.below, &case.above), "{name}");
        let full = study.trials().iter().find(|trial| !trial.parameters.is_empty()).unwrap();
        let space: Vec<(&str, &Distribution)> =
            full.parameters.iter().map(|(name, p)| (name.as_str(), &p.distribution)).collect();
        assert!(space.iter().map(|(name, _)| *name).eq(case.points.keys()), "{name}");
        let (good, others) = Tpe::densities(study.history(), &space, None);
        for i in 0..case.log_below.len() {
            let point: Vec<f64> = case.points.values().map(|values| values[i]).collect();
            for (own, theirs) in [
                (good.log_density(&point), case.log_below[i]),
                (others.log_density(&point), case.log_above[i]),
            ] {
                let difference = (own - theirs).abs();
                assert!(difference < 1e-9, "{name} at {point:?}: {own}, not {theirs}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 1000);
}
