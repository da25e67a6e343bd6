//! `taper inspect`: what a script can rely on, and the manifest that it writes.

use std::fs;

use crate::support::{pictures_from, run};

#[test]
fn findings_are_named_and_the_cleaned_manifest_can_be_read() {
    let folder = pictures_from([0, 20, 40]);
    let here = folder.path();
    let data = here.join("data");
    fs::write(data.join("train/red/empty.jpg"), b"").unwrap();
    fs::copy(data.join("train/red/03.jpg"), data.join("test/red/copy.jpg")).unwrap();
    fs::copy(data.join("train/red/05.jpg"), data.join("train/blue/wrong.jpg")).unwrap();
    let before = fs::read_dir(data.join("train/red")).unwrap().count();

    let arguments = [
        "inspect",
        "--data",
        "data",
        "--no-embeddings",
        "--json",
        "--out",
        "health",
        "--fix",
        "clean",
    ];
    let answer = run(here, &arguments).expect(3).json();
    assert_eq!(answer["pictures"], 45);
    assert_eq!(answer["classes"]["train"]["red"], 12);
    assert_eq!(answer["classes"]["test"]["blue"], 5);
    assert!(answer["imbalance"].as_f64().unwrap() > 1.0);
    assert_eq!(answer["unreadable"][0]["path"], "train/red/empty.jpg");
    assert!(answer["unreadable"][0]["reason"].as_str().unwrap().contains("empty"));
    let pairs = |list: &str, a: &str, b: &str| {
        answer[list].as_array().unwrap().iter().any(|d| d["a"] == a && d["b"] == b)
    };
    assert!(pairs("duplicates", "test/red/copy.jpg", "train/red/03.jpg"), "{answer:#}");
    assert!(pairs("label_conflicts", "train/blue/wrong.jpg", "train/red/05.jpg"), "{answer:#}");
    assert!(answer["advice"].as_array().unwrap().len() >= 3);
    assert!(here.join("health/health.json").is_file());
    assert!(here.join("health/duplicates-across-splits.png").is_file());

    // The originals are unchanged, and the manifest is a data set without the problems.
    assert_eq!(fs::read_dir(data.join("train/red")).unwrap().count(), before);
    let manifest = fs::read_to_string(here.join("clean/manifest.csv")).unwrap();
    assert!(manifest.starts_with("path,label,split\n../data/"), "{manifest}");
    for gone in ["empty.jpg", "train/red/03.jpg", "wrong.jpg", "train/red/05.jpg"] {
        assert!(!manifest.contains(gone), "{gone}");
    }
    let again = ["inspect", "--data", "clean/manifest.csv", "--no-embeddings", "--json"];
    let answer = run(here, &again).expect(0).json();
    assert!(answer["unreadable"].as_array().unwrap().is_empty());
    assert!(answer["label_conflicts"].as_array().unwrap().is_empty(), "{answer:#}");
    assert!(here.join("runs/manifest.csv-health-1/health.json").is_file());
    run(here, &arguments).complains(2, &["clean/manifest.csv", "exists"]);
}

#[test]
fn training_looks_at_counts_and_exact_copies_and_writes_it_down() {
    let folder = pictures_from([0, 20, 40]);
    let here = folder.path();
    fs::copy(here.join("data/train/red/03.jpg"), here.join("data/test/red/copy.jpg")).unwrap();
    let ran = run(here, &crate::support::QUICK).expect(0);
    assert!(ran.stderr.contains("duplicates across splits"), "{ran:#?}");
    let health = fs::read_to_string(here.join("run/health.json")).unwrap();
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!(health["quick"], true);
    assert_eq!(health["duplicates"][0]["across_splits"], true);
}
