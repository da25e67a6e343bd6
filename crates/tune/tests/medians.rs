//! What the samplers find in 60 trials, against Optuna: `reference/medians.py`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{collections::BTreeMap, f64::consts::PI, fs, path::Path};

use serde::Deserialize;
use taper_tune::{
    Direction, Distribution, History, Parameter, Random, Sampler, Space, Tpe, TpeConfig, Trial,
    TrialState, Value,
};

#[derive(Deserialize)]
struct Reference {
    tpe: f64,
    random: f64,
    quartiles: [f64; 3],
}

type Objective = fn(&Trial) -> f64;

fn number(trial: &Trial, name: &str) -> f64 {
    trial.get(name).unwrap().as_f64().unwrap()
}

fn sphere(trial: &Trial) -> f64 {
    (0..5).map(|i| (number(trial, &format!("x{i}")) - 0.5 * f64::from(i)).powi(2)).sum()
}

fn branin(trial: &Trial) -> f64 {
    let (x, y) = (number(trial, "x"), number(trial, "y"));
    let a = y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0;
    a * a + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0
}

fn mixed(trial: &Trial) -> f64 {
    let penalties = BTreeMap::from([("sgd", 0.4), ("adam", 0.0), ("adamw", 0.1), ("lion", 0.3)]);
    let Some(Value::Text(optimizer)) = trial.get("optimizer") else { panic!("no optimizer") };
    let best = if optimizer == "adam" { -3.0 } else { -2.0 };
    (number(trial, "rate").log10() - best).powi(2)
        + 0.1 * (number(trial, "width").log2() - 7.0).powi(2)
        + 0.05 * (number(trial, "layers") - 3.0).powi(2)
        + 2.0 * (number(trial, "dropout") - 0.2).powi(2)
        + penalties[optimizer.as_str()]
}

fn objectives() -> [(&'static str, Objective, Space); 3] {
    let mut cube = Space::new();
    for i in 0..5 {
        cube = cube.float(&format!("x{i}"), -5.0, 5.0).unwrap();
    }
    let plane = Space::new().float("x", -5.0, 10.0).unwrap().float("y", 0.0, 15.0).unwrap();
    let dropout = Distribution::Float { low: 0.0, high: 0.5, log: false, step: Some(0.1) };
    let space = Space::new().log_float("rate", 1e-5, 1e-1).unwrap();
    let space = space.log_int("width", 16, 1024).unwrap().int("layers", 1, 8).unwrap();
    let space = space.with("dropout", dropout).unwrap();
    let space = space.choice("optimizer", ["sgd", "adam", "adamw", "lion"]).unwrap();
    [("sphere", sphere, cube), ("branin", branin, plane), ("mixed", mixed, space)]
}

/// The best of 60 trials, without a journal.
fn best(sampler: &dyn Sampler, objective: Objective, space: &Space) -> f64 {
    let mut trials: Vec<Trial> = Vec::new();
    for number in 0..60 {
        let history = History { direction: Direction::Min, trials: &trials };
        let values = sampler.sample(history, space, number).unwrap().values;
        let parameter = |(name, internal): (String, f64)| {
            let distribution = space.get(&name).unwrap().clone();
            assert!(distribution.contains(internal), "{name} is {internal}");
            (name, Parameter { distribution, internal })
        };
        let mut trial = Trial::new(number, TrialState::Complete);
        trial.parameters = values.into_iter().map(parameter).collect();
        trial.values = Some(vec![objective(&trial)]);
        trials.push(trial);
    }
    trials.iter().filter_map(Trial::value).fold(f64::INFINITY, f64::min)
}

/// Seeds of this test, and of the reference.
const SEEDS: [u64; 2] = [200, 400];

fn median(of: impl Fn(u64) -> f64) -> f64 {
    let mut values: Vec<f64> = (0..SEEDS[0]).map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    0.5 * (values[middle - 1] + values[middle])
}

/// Of equal samplers each is the worse one half of the time: twice the standard error of the
/// difference of both medians is allowed. That of a median over n seeds is about 1.25 σ/√n, and σ
/// about the interquartile range / 1.35.
#[test]
fn tpe_finds_as_much_as_that_of_optuna() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/medians.json");
    let reference: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for (name, objective, space) in objectives() {
        let theirs: Reference = serde_json::from_value(reference[name].clone()).unwrap();
        let tpe = |seed| Tpe::new(TpeConfig { seed, ..TpeConfig::default() }.check().unwrap());
        let own = median(|seed| best(&tpe(seed), objective, &space));
        let random = median(|seed| best(&Random::new(seed), objective, &space));
        let spread = (theirs.quartiles[2] - theirs.quartiles[0]) / 1.35;
        let error = 1.25 * spread * SEEDS.map(|n| 1.0 / n as f64).iter().sum::<f64>().sqrt();
        println!("{name}: TPE {own:.4} (Optuna {:.4} ± {error:.4})", theirs.tpe);
        println!("{name}: random {random:.4} (Optuna {:.4})", theirs.random);
        assert!(own <= theirs.tpe + 2.0 * error, "{name}: {own}, not {}", theirs.tpe);
        assert!(own < 0.6 * random, "{name}: no better than random");
        assert!((random / theirs.random).ln().abs() < 0.5, "{name}: {random}");
    }
}
