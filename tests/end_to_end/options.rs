//! Training options that decide which pictures are used, and how often: groups, folds, sampling,
//! mixing, fresh views.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{pictures, run};

const QUICK: [&str; 8] = ["train", "--data", "data", "--size", "64", "--head", "linear", "--json"];
const THREE: [&str; 2] = ["--epochs", "3"];

fn train(here: &Path, extra: &[&str]) -> Value {
    // A flag that is given twice is an error.
    let epochs = if extra.contains(&"--epochs") { &[][..] } else { &THREE };
    run(here, &[&QUICK[..], epochs, extra].concat()).expect(0).json()
}

fn history(here: &Path, run: &str) -> String {
    fs::read_to_string(here.join(run).join("history.csv")).unwrap()
}

#[test]
fn every_fold_validates_once_and_can_be_trained_alone() {
    let folder = pictures();
    let here = folder.path();
    let answer = train(here, &["--folds", "3", "--out", "cross"]);
    let folds = answer["folds"].as_array().unwrap();
    assert_eq!(folds.len(), 3);
    let number = |value: &Value| value.as_f64().unwrap();
    let validated: f64 = folds.iter().map(|fold| number(&fold["validation"]["n"])).sum();
    // The splits train and val together; test stays what it is.
    assert_eq!(validated, 32.0);
    assert!(folds.iter().all(|fold| number(&fold["test"]["n"]) == 10.0));
    let mean = folds.iter().map(|fold| number(&fold["val_loss"])).sum::<f64>() / 3.0;
    assert!((number(&answer["val_loss"]["mean"]) - mean).abs() < 1e-9);
    assert!(number(&answer["val_loss"]["std"]) > 0.0);
    assert!(folds[1]["cached"].as_u64().unwrap() >= 42, "the backbone saw the pictures again");
    assert!(here.join("cross/folds.json").is_file());
    let recipe = fs::read_to_string(here.join("cross/fold-1/recipe.toml")).unwrap();
    assert!(recipe.contains("folds = 3") && recipe.contains("fold = 1"), "{recipe}");

    // As if it had been killed in the second fold.
    let before = history(here, "cross/fold-2");
    fs::remove_file(here.join("cross/folds.json")).unwrap();
    fs::remove_file(here.join("cross/fold-1/result.json")).unwrap();
    fs::remove_dir_all(here.join("cross/fold-2")).unwrap();
    for _ in 0..2 {
        let resumed = run(here, &["train", "--resume", "cross", "--json"]).expect(0).json();
        for figure in ["val_loss", "val_accuracy", "test_accuracy"] {
            assert_eq!(resumed[figure], answer[figure], "{figure}");
        }
        assert_eq!(history(here, "cross/fold-2"), before);
        assert!(here.join("cross/folds.json").is_file());
    }

    let alone = train(here, &["--folds", "3", "--fold", "1", "--out", "alone"]);
    assert_eq!(history(here, "alone"), history(here, "cross/fold-1"));
    assert_eq!(alone["validated_on"], "fold 1 of 3, from 0");
    let said =
        run(here, &["train", "--data", "data", "--size", "64", "--epochs", "1", "--folds", "2"]);
    let said = said.expect(0).stdout;
    assert!(said.contains("accuracy") && said.contains(" ± "), "{said}");
    run(here, &[&QUICK[..], &["--folds", "3", "--fold", "3"]].concat())
        .complains(2, &["--fold", "0 to 2"]);
    run(here, &[&QUICK[..], &["--folds", "20"]].concat()).complains(2, &["16", "20 folds"]);
}

#[test]
fn seeds_are_trainings_of_their_own() {
    let folder = pictures();
    let here = folder.path();
    let answer = train(here, &["--seeds", "3", "--seed", "5", "--val", "0.3", "--out", "three"]);
    let seeds = answer["seeds"].as_array().unwrap();
    assert!(answer.get("folds").is_none() && seeds.len() == 3, "{answer}");
    let number = |value: &Value| value.as_f64().unwrap();
    let losses: Vec<f64> = seeds.iter().map(|own| number(&own["test"]["loss"])).collect();
    let mean = losses.iter().sum::<f64>() / 3.0;
    assert!((number(&answer["test_loss"]["mean"]) - mean).abs() < 1e-9);
    assert!(number(&answer["val_loss"]["std"]) > 0.0 && losses[0] != losses[1], "{losses:?}");

    // Each is what it would be alone.
    train(here, &["--seed", "6", "--val", "0.3", "--out", "six"]);
    assert_eq!(history(here, "six"), history(here, "three/seed-6"));
    let model = |run: &str| fs::read(here.join(run).join("model.safetensors")).unwrap();
    assert_eq!(model("six"), model("three/seed-6"));
    // As if it had been killed in the second one.
    fs::remove_file(here.join("three/seeds.json")).unwrap();
    fs::remove_file(here.join("three/seed-6/result.json")).unwrap();
    fs::remove_dir_all(here.join("three/seed-7")).unwrap();
    let resumed = run(here, &["train", "--resume", "three", "--json"]).expect(0).json();
    assert_eq!(resumed["test_loss"], answer["test_loss"]);
    assert_eq!(model("six"), model("three/seed-6"));
    // Its recipe repeats it, and the folder is no class.
    let again = run(here, &["train", "three/recipe.toml", "--out", "again", "--json"]).expect(0);
    assert_eq!(again.json()["test_loss"], answer["test_loss"]);

    for (extra, words) in [
        (&["--seeds", "1"][..], &["--seeds is 1", "2 to 1000"][..]),
        (&["--seeds", "2", "--folds", "2"], &["--seeds is 2", "--folds", "one of the two"]),
    ] {
        run(here, &[&QUICK[..], extra].concat()).complains(2, words);
    }
    let find = ["lr-find", "--data", "data", "--size", "64", "--seeds", "2"];
    run(here, &find).complains(2, &["--seeds is 2", "does not train"]);
    let tune = ["tune", "data", "--size", "64", "--trials", "2", "--seeds", "2"];
    run(here, &tune).complains(2, &["--seeds is set", "one training"]);
}

#[test]
fn groups_stay_together() {
    let folder = pictures();
    let here = folder.path();
    // Ids are like train/blue/07.jpg: two groups of a class, by the first digit.
    let group = r"^(\w+/\w+/\d)";
    let answer = train(here, &["--val", "0.4", "--group-by", group, "--out", "run"]);
    // Each class has a group of ten and one of two pictures; one group is drawn, not the five
    // pictures that 0.4 of twelve would give.
    let n = answer["validation"]["n"].as_f64().unwrap();
    assert!([4.0, 12.0, 20.0].contains(&n), "{n}");
    let complain = |code, extra: &[&str], words: &[&str]| {
        run(here, &[&QUICK[..], extra].concat()).complains(code, words);
    };
    complain(2, &["--group-by", "("], &["--group-by"]);
    complain(2, &["--group-by", "nothing"], &["--group-by", "matches no picture", "blue"]);
    complain(2, &["--group-by", "^train", "--val", "0.2"], &["group(s)"]);
    // The split val validates as it is.
    complain(2, &["--group-by", group], &["--group-by", "no split is drawn", "--val"]);
}

#[test]
fn sampling_changes_the_training_and_says_what_it_knows() {
    let folder = pictures();
    let here = folder.path();
    for n in 2..12 {
        fs::remove_file(here.join(format!("data/train/red/{n:02}.jpg"))).unwrap();
    }
    for sampling in ["shuffled", "balanced", "weighted", "weighted:1,9"] {
        train(here, &["--sampling", sampling, "--batch-size", "4", "--out", sampling]);
    }
    assert_ne!(history(here, "shuffled"), history(here, "balanced"));
    assert_ne!(history(here, "balanced"), history(here, "weighted"));
    assert_ne!(history(here, "weighted"), history(here, "weighted:1,9"));
    let recipe = fs::read_to_string(here.join("weighted:1,9/recipe.toml")).unwrap();
    assert!(recipe.contains("sampling = \"weighted:1,9\""), "{recipe}");
    run(here, &[&QUICK[..], &["--sampling", "fair"]].concat()).complains(2, &["balanced"]);
    run(here, &[&QUICK[..], &["--sampling", "weighted:1,2,3"]].concat())
        .complains(2, &["each of the 2 classes"]);
    let weighted = train(here, &["--class-weights", "balanced", "--out", "balanced-loss"]);
    assert_eq!(weighted["pictures"][0], 14);
    assert_ne!(history(here, "balanced-loss"), history(here, "shuffled"));
}

#[test]
fn mixed_views_have_mixed_labels_and_are_the_same_every_time() {
    let folder = pictures();
    let here = folder.path();
    let views = ["--views", "3", "--epochs", "12", "--out"];
    let plain = train(here, &[&views[..], &["plain"]].concat());
    let mixed = train(here, &[&views[..], &["mixed", "--mix", "mixup"]].concat());
    assert_eq!(mixed["pictures"][0], plain["pictures"][0]);
    // From the cache, with a different number of threads, and computed again.
    let again = train(here, &[&views[..], &["again", "--mix", "mixup:1"]].concat());
    assert_eq!(again["cached"], 72 + 18);
    train(here, &[&views[..], &["anew", "--mix", "mixup", "--cache", "off"]].concat());
    assert_eq!(history(here, "again"), history(here, "mixed"));
    assert_eq!(history(here, "anew"), history(here, "mixed"));
    let loss = |run: &str| -> f64 {
        history(here, run).lines().last().unwrap().split(',').nth(3).unwrap().parse().unwrap()
    };
    // Red and blue stripes are easy to distinguish; purple ones are both.
    assert!(loss("mixed") > loss("plain") + 0.05, "{} {}", loss("mixed"), loss("plain"));
    train(here, &[&views[..], &["cut", "--mix", "cutmix", "--augment", "none"]].concat());
    assert_ne!(history(here, "cut"), history(here, "mixed"));
    run(here, &[&QUICK[..], &["--mix", "mixup"]].concat()).complains(2, &["2 or more --views"]);
    run(here, &[&QUICK[..], &["--views", "2", "--mix", "mixup:0"]].concat())
        .complains(2, &["mixup:0.2"]);
}

#[test]
fn fresh_views_are_new_in_every_epoch() {
    let folder = pictures();
    let here = folder.path();
    let fresh = train(here, &["--fresh-views", "--out", "fresh"]);
    assert_eq!(fresh["pictures"], serde_json::json!([24, 8, 10]));
    // The first epoch's views came in the sweep, those of the two others in their epochs.
    let again = train(here, &["--fresh-views", "--out", "again", "--cache", "off"]);
    assert_eq!(again["cached"], 0);
    assert_eq!(history(here, "again"), history(here, "fresh"));
    train(here, &["--out", "fixed"]);
    assert_ne!(history(here, "fixed"), history(here, "fresh"));
    run(here, &[&QUICK[..], &["--fresh-views", "--augment", "none"]].concat())
        .complains(2, &["--fresh-views"]);
}
