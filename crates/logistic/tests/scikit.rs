//! scikit-learn's solutions, and what must hold of any.
#![allow(clippy::unwrap_used)] // helpers of tests

use serde_json::Value;
use taper_core::Fault;
use taper_logistic::{Error, Rows, Search, Solver, Tried, choose, never, solve};

/// The rows of `reference/logistic.py`.
fn rows(n: usize, width: usize, classes: usize) -> (Vec<f32>, Vec<u32>) {
    let labels: Vec<u32> = (0..n).map(|i| (i * 7 % 11 % classes) as u32).collect();
    let value = |i: usize, j: usize| {
        let wave = (0.7 * i as f64 * (1 + j % 5) as f64 + 0.3 * j as f64).sin();
        let own = (1.1 * j as f64 + 2.0 * f64::from(labels[i])).cos();
        (wave + 0.8 * own + 0.5) as f32
    };
    let values = (0..n).flat_map(|i| (0..width).map(move |j| (i, j))).map(|(i, j)| value(i, j));
    (values.collect(), labels)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn solutions_equal_scikit_learns() {
    let reference: Value = serde_json::from_str(include_str!("reference/logistic.json")).unwrap();
    let solver =
        Solver { tolerance: 1e-10, iterations: 100_000, ..Solver::default() }.check().unwrap();
    for case in reference["cases"].as_array().unwrap() {
        let count = |field: &str| case[field].as_u64().unwrap() as usize;
        let (values, labels) = rows(count("rows"), count("width"), count("classes"));
        let mut rows = Rows::new(&values, count("width"), &labels, count("classes")).unwrap();
        let weights: Vec<f64> = (0..rows.len()).map(|i| 0.5 + (i % 4) as f64).collect();
        if case["weighted"].as_bool().unwrap() {
            rows = rows.weighted(&weights).unwrap();
        }
        let strength = case["strength"].as_f64().unwrap();
        let solved = solve(&rows, strength, None, &solver, &never).unwrap();
        let name = &case["name"];
        assert!(solved.converged, "{name}: {solved:?}");
        let objective = case["objective"].as_f64().unwrap();
        let off = (solved.objective / objective - 1.0).abs();
        assert!(off < 1e-9, "{name}: {} instead of {objective}", solved.objective);
        let (weight, bias) = (numbers(&case["weight"]), numbers(&case["bias"]));
        let largest = weight.iter().chain(&bias).fold(0.0f64, |a, b| a.max(b.abs()));
        let own = solved.model.weight.iter().chain(&solved.model.bias);
        for (own, expected) in own.zip(weight.iter().chain(&bias)) {
            let error = (own - expected).abs() / largest;
            assert!(error < 1e-5, "{name}: {own} instead of {expected}");
        }
        // From there nothing is left to do; from another place the end is the same.
        let again = solve(&rows, strength, Some(&solved.model), &solver, &never).unwrap();
        assert!(again.iterations <= 2, "{name}: {}", again.iterations);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (values, labels) = rows(700, 19, 4);
    let rows = Rows::new(&values, 19, &labels, 4).unwrap();
    let search = Search { strengths: vec![0.01, 0.1, 1.0], ..Search::default() }.check().unwrap();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| choose(&rows, None, &search, &never).unwrap())
    };
    let one = with(1);
    assert_eq!(one, with(3));
    assert_eq!(one.folds, 5);
    assert_eq!(one.tried.len(), 3);
    assert!(one.tried.iter().any(|tried| tried.strength == one.strength));
}

#[test]
fn the_strength_with_the_lowest_loss_is_chosen() {
    // Labels that have nothing to do with the rows: the weaker the better.
    let (values, _) = rows(120, 9, 3);
    let labels: Vec<u32> = (0..120).map(|i| (i * i / 7 % 3) as u32).collect();
    let noise = Rows::new(&values, 9, &labels, 3).unwrap();
    let search = Search::default().check().unwrap();
    let chosen = choose(&noise, None, &search, &never).unwrap();
    assert!(chosen.strength < 0.05, "{chosen:?}");
    assert!(chosen.tried.len() < 10, "stronger ones were tried in vain");
    let (values, labels) = rows(120, 9, 3);
    let sharp = Rows::new(&values, 9, &labels, 3).unwrap();
    let chosen = choose(&sharp, None, &search, &never).unwrap();
    assert!(chosen.strength > 0.05, "{chosen:?}");
    let lowest = chosen.tried.iter().map(|tried| tried.loss).fold(f64::INFINITY, f64::min);
    let enough = |tried: &&Tried| tried.loss <= lowest + 0.01;
    assert_eq!(chosen.tried.iter().find(enough).unwrap().strength, chosen.strength);
    // Four times the same rows: a loss that only falls is not followed to the end.
    let copies: Vec<f32> = (0..4).flat_map(|_| values[..27].to_vec()).collect();
    let own: Vec<u32> = (0..4).flat_map(|_| labels[..3].to_vec()).collect();
    let copies = Rows::new(&copies, 9, &own, 3).unwrap();
    let chosen = choose(&copies, None, &search, &never).unwrap();
    assert!(chosen.tried.len() < 10 && chosen.strength < 1e3, "{chosen:?}");

    // One row of a class: nothing can be tried.
    let labels = [&[2], &labels[1..].iter().map(|l| l % 2).collect::<Vec<u32>>()[..]].concat();
    let lonely = Rows::new(&values, 9, &labels, 3).unwrap();
    let chosen = choose(&lonely, None, &search, &never).unwrap();
    assert_eq!((chosen.folds, chosen.tried.len(), chosen.strength), (0, 0, 1.0));
    assert!(chosen.solved.converged);
}

#[test]
fn copies_of_a_row_and_its_weight_are_the_same() {
    let (values, labels) = rows(40, 5, 3);
    let weights: Vec<f64> = (0..40).map(|i| if i < 10 { 2.0 } else { 1.0 }).collect();
    let weighted = Rows::new(&values, 5, &labels, 3).unwrap().weighted(&weights).unwrap();
    let copies = [&values[..], &values[..50]].concat();
    let copied = [&labels[..], &labels[..10]].concat();
    let copied = Rows::new(&copies, 5, &copied, 3).unwrap();
    let solver = Solver { tolerance: 1e-9, ..Solver::default() }.check().unwrap();
    let [a, b] = [weighted, copied].map(|rows| solve(&rows, 0.5, None, &solver, &never).unwrap());
    assert!((a.objective - b.objective).abs() < 1e-9);
    assert!(a.model.weight.iter().zip(&b.model.weight).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn what_cannot_be_used_is_named() {
    let complaint = |error: Error| error.to_string();
    let error = Rows::new(&[0.0, f32::NAN], 1, &[0, 1], 2).unwrap_err();
    assert!(complaint(error).contains("row 1 has the value NaN"));
    let error = Rows::new(&[0.0; 2], 1, &[0, 2], 2).unwrap_err();
    assert!(complaint(error).contains("row 1 has label 2"));
    assert!(matches!(Rows::new(&[0.0; 3], 1, &[0, 1], 2), Err(Error::Length { .. })));
    let rows = Rows::new(&[0.0, 1.0], 1, &[0, 1], 2).unwrap();
    assert!(
        complaint(rows.weighted(&[1.0, -1.0]).unwrap_err()).contains("row 1 has the weight -1")
    );
    assert!(matches!(rows.weighted(&[1.0]), Err(Error::Length { .. })));
    let solver = Solver::default().check().unwrap();
    let none = rows.weighted(&[0.0, 0.0]).unwrap();
    assert!(matches!(solve(&none, 1.0, None, &solver, &never), Err(Error::NoRows)));
    let error = solve(&rows, 0.0, None, &solver, &never).unwrap_err();
    assert!(error.is_usage() && complaint(error).contains("strength is 0"));
    assert!(matches!(solve(&rows, 1.0, None, &solver, &|| true), Err(Error::Interrupted)));
    for search in [
        Search { folds: 1, ..Search::default() },
        Search { strengths: vec![1.0, 0.1], ..Search::default() },
        Search { strengths: vec![], ..Search::default() },
        Search { slack: -0.1, ..Search::default() },
        Search { fallback: f64::NAN, ..Search::default() },
        Search { trial: Solver { tolerance: 0.0, ..Solver::default() }, ..Search::default() },
        Search { trial: Solver { excess: -1.0, ..Solver::default() }, ..Search::default() },
        Search { solver: Solver { iterations: 0, ..Solver::default() }, ..Search::default() },
    ] {
        assert!(search.clone().check().unwrap_err().is_usage(), "{search:?}");
    }
}
