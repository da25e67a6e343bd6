//! Calibrated probabilities, conformal sets and unfamiliar pictures, from the training to the
//! prediction.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use image::{Rgb, RgbImage};
use serde_json::Value;
use taper_model::{Artefact, Classifier, OpenOptions};
use taper_picture::{DecodeOptions, Preparer, decode_file};
use tempfile::TempDir;

use crate::support::{QUICK, Ran, pictures, quick_with, run, taper};

const MODEL: &str = "run/model.safetensors";

fn trained(others: &[&str]) -> (TempDir, Value) {
    let folder = pictures();
    let answer = run(folder.path(), &[&quick_with(others)[..], &["--json"]].concat());
    (folder, answer.expect(0).json())
}

fn number(value: &Value, at: &str) -> f64 {
    let found = value.pointer(at).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number {at} in {value}"))
}

fn predicted(here: &Path, arguments: &[&str]) -> Vec<Value> {
    let ran = run(here, &[&["predict", MODEL, "--json"], arguments].concat()).expect(0);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The probability of each class, by name.
fn probabilities(line: &Value) -> Vec<f64> {
    let all = line["probabilities"].as_object().unwrap();
    ["blue", "red"].iter().map(|class| all[*class].as_f64().unwrap()).collect()
}

#[test]
fn a_training_says_what_its_probabilities_are_worth() {
    let (folder, answer) = trained(&[]);
    let here = folder.path();
    let own = &answer["calibrated"];
    assert!(number(own, "/temperature") > 0.0);
    for (part, n) in [("validation", 8.0), ("test", 10.0)] {
        for when in ["before", "after"] {
            assert_eq!(number(own, &format!("/{part}/{when}/n")), n);
            let error = number(own, &format!("/{part}/{when}/calibration/expected_error"));
            assert!((0.0..=1.0).contains(&error));
        }
        // Raw figures are those that the answer has anyway.
        for figure in ["/loss", "/brier", "/calibration/expected_error"] {
            let before = number(&own[part]["before"], figure);
            let raw = number(&answer[part], figure);
            assert!((before - raw).abs() < 1e-9, "{part}{figure}: {before}, {raw}");
        }
    }
    let read = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(here.join("run").join(name)).unwrap()).unwrap()
    };
    assert_eq!(read("result.json")["calibrated"], *own);
    assert_eq!(read("evaluation.json")["calibrated"], *own);
    for drawn in ["run/reliability.png", "run/reliability.svg"] {
        assert!(here.join(drawn).exists(), "{drawn}");
    }
    // `evaluate` and `info` know the same.
    let evaluated = run(here, &["evaluate", MODEL, "--data", "data", "--json"]).expect(0).json();
    assert_eq!(evaluated["calibrated"]["temperature"], own["temperature"]);
    for figure in ["/before/loss", "/after/loss", "/after/calibration/expected_error"] {
        let (here, there) =
            (number(&evaluated["calibrated"], figure), number(&own["test"], figure));
        assert!((here - there).abs() < 1e-5, "{figure}: {here}, {there}");
    }
    let info = run(here, &["info", MODEL, "--json"]).expect(0).json();
    assert_eq!(info["calibration"]["temperature"], own["temperature"]);
    assert_eq!((&info["scores"], &info["reference"]), (&8.into(), &24.into()));
    assert_eq!(info["calibration"]["familiarity"]["training_pictures"], 24);
    let words = run(here, &["info", MODEL]).expect(0).stdout;
    for word in ["temperature", "8 validation pictures", "24 of 24 kept"] {
        assert!(words.contains(word), "{word}: {words}");
    }
}

#[test]
fn probabilities_are_calibrated_unless_raw_ones_are_asked_for() {
    let (folder, answer) = trained(&[]);
    let here = folder.path();
    let temperature = number(&answer, "/calibrated/temperature");
    assert!((temperature - 1.0).abs() > 1e-3, "nothing to see: {temperature}");
    let (calibrated, raw) =
        (predicted(here, &["data/test"]), predicted(here, &["data/test", "--raw"]));
    assert_eq!(calibrated.len(), 10);
    let mut changed = 0;
    for (calibrated, raw) in calibrated.iter().zip(&raw) {
        assert_eq!(calibrated["label"], raw["label"]);
        assert_eq!(calibrated["distance"], raw["distance"]);
        let logits: Vec<f64> = probabilities(raw).iter().map(|p| p.ln() / temperature).collect();
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        for (p, z) in probabilities(calibrated).iter().zip(&logits) {
            assert!((p - z.exp() / sum).abs() < 1e-9, "{calibrated} {raw}");
        }
        changed += u32::from(calibrated["probability"] != raw["probability"]);
    }
    assert_eq!(changed, 10);
}

#[test]
fn sets_are_those_of_the_scores_and_evaluation_counts_them() {
    let (folder, _) = trained(&[]);
    let here = folder.path();
    let (artefact, _) = Artefact::open(&here.join(MODEL)).unwrap();
    let scores = artefact.calibration.unwrap().scores;
    assert_eq!(scores.len(), 8);
    // ⌈(8 + 1) · 0.8⌉ = 8: the largest.
    let threshold = scores[7];
    let lines = predicted(here, &["data/test", "--coverage", "0.8"]);
    let (mut covered, mut sizes) = (0, 0);
    for line in &lines {
        let set: HashSet<&str> =
            line["set"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        for (class, p) in ["blue", "red"].into_iter().zip(probabilities(line)) {
            assert_eq!(set.contains(class), (1.0 - p) as f32 <= threshold, "{line}");
        }
        let truth = if line["path"].as_str().unwrap().contains("/red/") { "red" } else { "blue" };
        covered += u32::from(set.contains(truth));
        sizes += set.len();
    }
    assert!(covered > 0, "{lines:?}");
    let evaluate = ["evaluate", MODEL, "--data", "data", "--coverage", "0.8", "--json"];
    let evaluated = run(here, &evaluate).expect(0).json();
    let sets = &evaluated["calibrated"]["sets"];
    assert_eq!((number(sets, "/asked"), number(sets, "/n")), (0.8, 10.0));
    assert_eq!(number(sets, "/coverage"), f64::from(covered) / 10.0);
    assert_eq!(number(sets, "/mean_size"), sizes as f64 / 10.0);
    // Nine validation pictures are needed for 0.9, and there are eight.
    for command in [&["predict", MODEL, "data/test"][..], &evaluate[..4]] {
        let ran = run(here, &[command, &["--coverage", "0.9"]].concat());
        ran.complains(2, &["--coverage", "9 validation pictures", "has 8"]);
    }
    // Without asking, evaluation leaves them out.
    let plain = run(here, &[&evaluate[..4], &["--json"]].concat()).expect(0).json();
    assert!(plain["calibrated"].get("sets").is_none(), "{plain}");
    let said = run(here, &["predict", MODEL, "data/test/red/00.jpg", "--coverage", "0.8"]);
    assert!(said.expect(0).stdout.contains("; 80 %: "));
}

#[test]
fn a_picture_of_another_kind_is_unfamiliar() {
    let (folder, answer) = trained(&[]);
    let here = folder.path();
    // The threshold is the farthest validation picture.
    assert_eq!(number(&answer, "/calibrated/validation/unfamiliar/pictures"), 0.0);
    RgbImage::from_fn(90, 90, |x, y| {
        let far = (x as i32 - 45).pow(2) + (y as i32 - 45).pow(2);
        if far < 900 { Rgb([250, 240, 60]) } else { Rgb([10, 140, 30]) }
    })
    .save(here.join("ball.png"))
    .unwrap();
    let lines = predicted(here, &["ball.png", "data/train/red/00.jpg", "data/val"]);
    assert_eq!(lines[0]["unfamiliar"], true, "{lines:?}");
    let (ball, own) = (number(&lines[0], "/distance"), number(&lines[1], "/distance"));
    assert!(ball > own, "{lines:?}");
    assert!(lines[1..].iter().all(|line| line["unfamiliar"] == false), "{lines:?}");
    let said = run(here, &["predict", MODEL, "ball.png", "data/train/red/00.jpg"]).expect(0).stdout;
    let said: Vec<&str> = said.lines().collect();
    assert!(said[0].ends_with("; unfamiliar") && !said[1].contains("unfamiliar"), "{said:?}");
    // Evaluation counts it.
    fs::create_dir_all(here.join("other/blue")).unwrap();
    fs::create_dir_all(here.join("other/red")).unwrap();
    fs::copy(here.join("ball.png"), here.join("other/blue/ball.png")).unwrap();
    fs::copy(here.join("data/train/red/00.jpg"), here.join("other/red/00.jpg")).unwrap();
    let evaluated = run(here, &["evaluate", MODEL, "--data", "other", "--json"]).expect(0).json();
    assert_eq!(number(&evaluated, "/calibrated/unfamiliar/pictures"), 1.0);
    assert_eq!(number(&evaluated, "/calibrated/unfamiliar/share"), 0.5);
}

#[test]
fn tables_have_what_the_lines_have() {
    let (folder, _) = trained(&[]);
    let here = folder.path();
    let asked = ["data/test", "--coverage", "0.8"];
    let lines = predicted(here, &asked);
    let table = |out: &str| {
        run(here, &[&["predict", MODEL, "--out", out], &asked[..]].concat()).expect(0);
        here.join(out)
    };
    let text = fs::read_to_string(table("p.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["path", "label", "probability", "blue", "red", "set", "unfamiliar"]);
    assert_eq!(rows.len(), 11);
    for (row, line) in rows[1..].iter().zip(&lines) {
        let set = line["set"].as_array().unwrap().iter().map(|c| c.as_str().unwrap());
        assert_eq!(row[5], set.collect::<Vec<_>>().join(" | "));
        assert_eq!(row[6], line["unfamiliar"].to_string());
    }
    let text = fs::read_to_string(table("p.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, lines);

    use parquet::{file::reader::SerializedFileReader, record::RowAccessor};
    let file = fs::File::open(table("p.parquet")).unwrap();
    let rows = parquet::file::reader::FileReader::get_row_iter(
        &SerializedFileReader::new(file).unwrap(),
        None,
    )
    .unwrap()
    .map(Result::unwrap)
    .collect::<Vec<_>>();
    assert_eq!(rows.len(), 10);
    for (row, line) in rows.iter().zip(&lines) {
        let set = line["set"].as_array().unwrap().iter().map(|c| c.as_str().unwrap());
        assert_eq!(*row.get_string(5).unwrap(), set.collect::<Vec<_>>().join(" | "));
        assert_eq!(row.get_bool(6).unwrap(), line["unfamiliar"].as_bool().unwrap());
    }
}

#[test]
fn models_of_earlier_programs_open_and_what_they_lack_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let old: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../model/tests/fixtures/version-1.safetensors"]
            .iter()
            .collect();
    let old = old.to_str().unwrap();
    RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8, y as u8, 9])).save(here.join("a.png")).unwrap();
    let line = run(here, &["predict", old, "a.png", "--json"]).expect(0).json();
    for field in ["set", "unfamiliar", "distance"] {
        assert!(line.get(field).is_none(), "{line}");
    }
    run(here, &["predict", old, "a.png", "--raw"]).complains(2, &["--raw", "earlier program"]);
    let sets = ["predict", old, "a.png", "--coverage", "0.9"];
    run(here, &sets).complains(2, &["--coverage", "train the model again"]);
    let info = run(here, &["info", old, "--json"]).expect(0).json();
    assert_eq!(info["calibration"], Value::Null);
    // Networks as they are have neither.
    for flag in [&["--raw"][..], &["--coverage", "0.9"]] {
        let known = ["predict", "--model", "efficientnet-lite0", "a.png"];
        run(here, &[&known, flag].concat()).complains(2, &[flag[0], "--model"]);
    }
    for coverage in ["0", "1", "x"] {
        let sets = ["predict", old, "a.png", "--coverage", coverage];
        run(here, &sets).complains(2, &["--coverage", "above 0 and below 1"]);
    }
}

/// Of the training pictures whose features a model keeps, the one that differs most from all
/// pictures as the network of another model, or its own, sees them: its cosine.
fn least_alike(here: &Path, model: &str, network: &str) -> f64 {
    let (artefact, _) = Artefact::open(&here.join(model)).unwrap();
    let kept = artefact.calibration.unwrap().familiarity.unwrap().rows;
    let classifier = Classifier::open(here.join(network), &OpenOptions::default()).unwrap();
    let width = classifier.backbone().width();
    assert_eq!(kept.len(), 24 * width);
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for class in ["blue", "red"] {
        for n in 0..12 {
            let path = here.join(format!("data/train/{class}/{n:02}.jpg"));
            let picture = decode_file(&path, &DecodeOptions::default()).unwrap();
            let mut preparer = Preparer::new(*classifier.preprocessing()).unwrap();
            let mut pixels = vec![0; preparer.len()];
            preparer.prepare_into(&picture.pixels, &mut pixels).unwrap();
            seen.push(classifier.backbone().forward(&pixels, 1).unwrap());
        }
    }
    let product = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    let cosine = |a: &[f32], b: &[f32]| product(a, b) / (product(a, a) * product(b, b)).sqrt();
    let nearest = |row: &[f32]| seen.iter().map(|own| cosine(row, own)).fold(-1.0, f64::max);
    kept.chunks_exact(width).map(nearest).fold(1.0, f64::min)
}

#[test]
fn a_fine_tuned_model_compares_with_features_of_its_own() {
    let (folder, answer) = trained(&[
        "--unfreeze",
        "blocks.6",
        "--fine-tune-epochs",
        "3",
        "--fine-tune-batch",
        "8",
        "--fine-tune-rate",
        "0.003",
    ]);
    let here = folder.path();
    assert!(number(&answer, "/fine_tune/alpha") > 0.0, "nothing was trained: {answer}");
    run(here, &quick_with(&["--out", "frozen"])).expect(0);
    let (own, other) =
        (least_alike(here, MODEL, MODEL), least_alike(here, MODEL, "frozen/model.safetensors"));
    assert!(own > 0.9999 && other < 0.999, "{own} {other}");
}

#[test]
fn views_are_compared_with_the_pictures_as_they_are() {
    for views in [&["--fresh-views", "--views", "2"][..], &["--views", "3"]] {
        let (folder, _) = trained(views);
        let own = least_alike(folder.path(), MODEL, MODEL);
        assert!(own > 0.9999, "{views:?}: {own}");
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let folder = pictures();
    let here = folder.path();
    let model = |threads: &str| {
        let out = format!("run-{threads}");
        let mut arguments = QUICK.to_vec();
        let at = arguments.iter().position(|a| *a == "run").unwrap();
        arguments[at] = &out;
        let mut command = taper(here);
        command.args(&arguments).env("RAYON_NUM_THREADS", threads).env("TAPER_CACHE", "off");
        Ran::of(command.output().unwrap()).expect(0);
        fs::read(here.join(out).join("model.safetensors")).unwrap()
    };
    assert_eq!(model("1"), model("3"));
}
