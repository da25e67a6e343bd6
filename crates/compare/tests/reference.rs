//! Tests of significance against scipy (reference.py).

use serde::Deserialize;
use taper_compare::{Paired, PairedMeans};

#[derive(Deserialize)]
struct Reference {
    pairs: Vec<Pair>,
    means: Vec<Means>,
}

#[derive(Deserialize)]
struct Pair {
    counts: [usize; 4],
    p: f64,
    interval: [f64; 2],
}

#[derive(Deserialize)]
struct Means {
    first: Vec<f64>,
    second: Vec<f64>,
    p: f64,
    interval: [f64; 2],
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference.json")).expect("a valid file")
}

#[track_caller]
fn near(ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0), "{ours} and {theirs}");
}

#[test]
fn pictures_are_judged_as_by_scipy() {
    let pairs = reference().pairs;
    assert!(pairs.len() > 40);
    for Pair { counts: [a, b, c, d], p, interval } in pairs {
        let paired = Paired::of(a, b, c, d).expect("there are pictures");
        near(paired.p_value, p);
        near(paired.low, interval[0]);
        near(paired.high, interval[1]);
    }
    // Newcombe's own example, table II, to the digits printed there.
    let paired = Paired::of(36, 12, 2, 0).expect("there are pictures");
    assert_eq!(format!("{:.4} {:.4}", paired.low, paired.high), "0.0569 0.3404");
    assert_eq!(Paired::of(0, 0, 0, 0), None);
}

#[test]
fn trainings_are_judged_as_by_scipy() {
    for Means { first, second, p, interval } in reference().means {
        let paired = PairedMeans::of(&first, &second).expect("two pairs or more");
        near(paired.p_value, p);
        near(paired.low, interval[0]);
        near(paired.high, interval[1]);
    }
    let same = PairedMeans::of(&[0.5, 0.6], &[0.5, 0.6]).expect("two pairs");
    assert_eq!((same.p_value, same.difference), (1.0, 0.0));
    assert_eq!(PairedMeans::of(&[0.5], &[0.5]), None);
}

#[test]
fn pictures_are_counted() {
    let right = [(true, true), (true, false), (true, false), (false, true), (false, false)];
    let paired = Paired::from_pictures(right).expect("there are pictures");
    assert_eq!(
        [paired.both, paired.first_alone, paired.second_alone, paired.neither],
        [1, 2, 1, 1]
    );
}
