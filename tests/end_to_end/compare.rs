//! `taper compare`: two trained models on the same pictures, and two series of trainings.

use std::fs;

use serde_json::Value;

use crate::{
    layouts::write,
    support::{pictures, quick_with, run},
};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn models_are_compared_on_their_untouched_pictures() {
    let folder = pictures();
    let here = folder.path();
    let train = |out: &str, extra: &[&str]| {
        let answer = run(here, &quick_with(&[&["--out", out, "--json"], extra].concat()));
        answer.expect(0).json()
    };
    let (one, two) = (train("one", &["--epochs", "1"]), train("two", &["--epochs", "20"]));
    let compared = run(here, &["compare", "one", "two", "--json"]).expect(0).json();
    assert_eq!(compared["compared"], "pictures");
    let paired = &compared["paired"];
    assert_eq!(paired["n"], 10);
    for (side, answer) in [("first", &one), ("second", &two)] {
        let (own, test) = (&compared[side]["evaluation"], &answer["test"]);
        assert_eq!(own["accuracy"], test["accuracy"], "{side}");
        assert!((number(&own["loss"]) - number(&test["loss"])).abs() < 1e-6, "{side}");
    }
    let accuracy = |answer: &Value| number(&answer["test"]["accuracy"]);
    let difference = accuracy(&one) - accuracy(&two);
    assert!((number(&paired["difference"]) - difference).abs() < 1e-9, "{paired}");
    let alone = |side: &str| paired[side].as_u64().unwrap() as usize;
    let differ = compared["differ"].as_array().unwrap();
    assert_eq!(differ.len(), alone("first_alone") + alone("second_alone"), "{compared}");
    assert!(differ.iter().all(|own| own["path"].as_str().unwrap().starts_with("test/")));

    // With itself, as text, by the files of the models; and on other pictures.
    let ran = run(here, &["compare", "one/model.safetensors", "one"]).expect(0);
    assert!(ran.stdout.contains("+0.0000") && ran.stdout.contains("it may be chance"), "{ran:#?}");
    write(&here.join("more/blue"), "blue", 40, 6);
    write(&here.join("more/red"), "red", 60, 6);
    let more = run(here, &["compare", "one", "two", "--data", "more", "--json"]).expect(0).json();
    assert_eq!((&more["paired"]["n"], &more["split"]), (&12.into(), &"all".into()));
    assert_eq!(more["remarks"], serde_json::json!([]));
    // Pictures that they were trained on.
    let seen = ["compare", "one", "two", "--data", "data", "--split", "train", "--json"];
    let seen = run(here, &seen).expect(0).json();
    assert_eq!(seen["remarks"].to_string().matches("measure memorisation").count(), 2, "{seen}");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let folder = pictures();
    let here = folder.path();
    let quick = |extra: &[&str]| run(here, &quick_with(extra)).expect(0);
    quick(&["--out", "one"]);
    // Drawn test pictures with two seeds; other data; other classes; no model.
    for class in ["blue", "red"] {
        write(&here.join("all").join(class), class, 0, 20);
        write(&here.join("named").join(format!("{class}ish")), class, 0, 20);
    }
    quick(&["--data", "all", "--seed", "1", "--out", "seed1"]);
    quick(&["--data", "all", "--seed", "2", "--out", "seed2"]);
    quick(&["--data", "named", "--out", "named-run"]);
    for (arguments, words) in [
        (&["seed1", "seed2"][..], &["drawn at random", "--data", "same seed"][..]),
        (&["one", "seed1"], &["other pictures", "--data"]),
        (&["one", "named-run"], &["different classes", "blueish"]),
        (&["one", "nothing"], &["'nothing'", "no such file"]),
        (&["one", "one", "--data", "missing"], &["--data is 'missing'"]),
        (&["one", "one", "--layout", "classes"], &["--layout is set", "--data"]),
        (&["one", "one", "--data", "all", "--split", "val"], &["no pictures of the split val"]),
        (&["one", "one", "--split", "val"], &["--data"]),
        (&["one"], &["RUN"]),
    ] {
        run(here, &[&["compare"], arguments].concat()).complains(2, words);
    }
    quick(&["--data", "all", "--seed", "1", "--epochs", "1", "--out", "seed1-again"]);
    let same = run(here, &["compare", "seed1", "seed1-again", "--json"]).expect(0).json();
    assert_eq!((&same["paired"]["n"], &same["split"]), (&6.into(), &"test".into()));
}

#[test]
fn series_of_trainings_are_compared_pair_by_pair() {
    let folder = pictures();
    let here = folder.path();
    let quick = |extra: &[&str]| run(here, &quick_with(extra)).expect(0);
    for (out, epochs) in [("short", "1"), ("long", "8")] {
        quick(&["--seeds", "3", "--epochs", epochs, "--out", out]);
    }
    quick(&["--folds", "3", "--epochs", "1", "--out", "folds"]);
    let read = |run: &str| -> Value {
        serde_json::from_slice(&fs::read(here.join(run).join("seeds.json")).unwrap()).unwrap()
    };
    let compared = run(here, &["compare", "short", "long", "--json"]).expect(0).json();
    assert_eq!((&compared["by"], &compared["on"]), (&"seeds".into(), &"test".into()));
    let mean = |run: &str| number(&read(run)["test_loss"]["mean"]);
    let difference = mean("short") - mean("long");
    assert!(difference > 0.0);
    assert!((number(&compared["loss"]["difference"]) - difference).abs() < 1e-9);
    let ran = run(here, &["compare", "short", "long"]).expect(0);
    assert!(ran.stdout.contains("3 pairs of seeds, on test pictures"), "{ran:#?}");
    run(here, &["compare", "folds", "folds", "-q"]).expect(0);
    run(here, &["compare", "short", "folds"]).complains(2, &["several trainings", "seeds.json"]);
    run(here, &["compare", "short", "short/seed-0"]).complains(2, &["several trainings"]);
}
