//! `taper augment`: what the views look like, and how many there are.

use std::fs;

use taper_testing::pictures::picture_sets;

use crate::support::{pictures, run};

#[test]
fn draws_a_sheet_and_counts() {
    let folder = pictures();
    let here = folder.path();
    let arguments = ["augment", "--data", "data", "--views", "3", "--size", "64", "--json"];
    let drawn = |extra: &[&str]| run(here, &[&arguments, extra].concat());
    let answer = drawn(&["--augment", "standard", "--out", "a.png"]).expect(0).json();
    assert_eq!(answer["before"], 24);
    assert_eq!(answer["after"], 72);
    assert_eq!(answer["sheet"], "a.png");
    assert_eq!(answer["augment"], "standard");
    assert_eq!(answer["classes"], serde_json::json!({"blue": 12, "red": 12}));
    assert_eq!(answer["unreadable"], serde_json::json!([]));
    let sheet = image::open(here.join("a.png")).unwrap().into_rgb8();
    assert_eq!(sheet.width(), 800);
    // Both classes are shown.
    let share = |of: fn([u8; 3]) -> bool| {
        sheet.pixels().filter(|p| of(p.0)).count() as f64
            / f64::from(sheet.width() * sheet.height())
    };
    assert!(share(|[r, g, b]| r > 90 && g < 80 && b < 80) > 0.1);
    assert!(share(|[r, g, b]| b > 90 && g < 80 && r < 80) > 0.1);

    // The same seed gives the same sheet, another seed and another policy another one.
    let bytes = |extra: &[&str]| {
        drawn(&[&["--out", "b.png", "--overwrite"], extra].concat()).expect(0);
        fs::read(here.join("b.png")).unwrap()
    };
    let first = fs::read(here.join("a.png")).unwrap();
    assert_eq!(bytes(&["--augment", "standard"]), first);
    assert_ne!(bytes(&["--augment", "standard", "--seed", "1"]), first);
    assert_ne!(bytes(&["--augment", "rand-augment:2,20"]), first);
    assert_ne!(bytes(&["--augment", "trivial-augment"]), first);

    // As text.
    let said = run(here, &["augment", "--data", "data"]).expect(0).stdout;
    assert!(said.contains("24 → 48 pictures") && said.contains("augment.png"), "{said}");
    assert!(here.join("augment.png").exists());
}

#[test]
fn broken_pictures_are_named_and_nonsense_is_refused() {
    let folder = pictures();
    let here = folder.path();
    for n in 0..12 {
        fs::write(here.join(format!("data/train/red/{n:02}.jpg")), [0xff, 0xd8, 0xff]).unwrap();
    }
    let ran = run(here, &["augment", "--data", "data", "--json"]).expect(3);
    assert_eq!(ran.json()["unreadable"].as_array().unwrap().len(), 12);

    let refuse = |extra: &[&str], words: &[&str]| {
        let arguments = [&["augment", "--data", "data", "--out", "no.png"], extra].concat();
        run(here, &arguments).complains(2, words);
        assert!(!here.join("no.png").exists());
    };
    refuse(&["--augment", "standart"], &["standard", "trivial-augment", "rand-augment:N,M"]);
    refuse(&["--augment", "rand-augment:0,9"], &["rand-augment:2,9"]);
    refuse(&["--views", "0"], &["--views"]);
    refuse(&["--augment", "none"], &["--augment is none", "--views 1", "another policy"]);
    refuse(&["--size", "16"], &["at least 32"]);
    run(here, &["augment", "--data", "nowhere"]).complains(2, &["nowhere", "no such folder"]);
    run(here, &["augment", "--data", "synthetic", "--out", "no/folder/a.png"])
        .complains(2, &["--out", "no/folder"]);
}

/// For rock-paper-scissors 2,520 and 5,040, the tutorial's figures.
#[test]
fn two_views_of_real_pictures() {
    for set in picture_sets() {
        let folder = tempfile::tempdir().unwrap();
        let data = set.folder.to_str().unwrap();
        let answer = run(folder.path(), &["augment", "--data", data, "--views", "2", "--json"]);
        let answer = answer.expect(0).json();
        // What a training takes: validation pictures are drawn first.
        let val = (0.15 * set.train as f64).round() as usize;
        let train = 3 * (set.train - val);
        assert_eq!((&answer["before"], &answer["after"]), (&train.into(), &(2 * train).into()));
    }
}

/// Training takes the automatic policies too, and makes the same views again.
#[test]
fn training_takes_every_policy() {
    let folder = pictures();
    let here = folder.path();
    let train = |out: &str| {
        let arguments =
            ["train", "--data", "data", "--size", "64", "--epochs", "2", "--head", "linear"];
        let views = ["--views", "3", "--augment", "rand-augment:2,9", "--out", out, "--json"];
        let answer = run(here, &[&arguments[..], &views].concat()).expect(0).json();
        assert_eq!(answer["pictures"], serde_json::json!([72, 8, 10]));
        fs::read(here.join(out).join("history.csv")).unwrap()
    };
    assert_eq!(train("one"), train("two"));
    let recipe = fs::read_to_string(here.join("one/recipe.toml")).unwrap();
    assert!(recipe.contains("augment = \"rand-augment:2,9\""), "{recipe}");
}
