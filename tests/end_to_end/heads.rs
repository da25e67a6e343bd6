//! The heads that are not trained as `linear` and `tutorial` are: `logistic`, which is solved, and
//! `cosine`.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{pictures, run};

const LOGISTIC: [&str; 7] = ["train", "--data", "data", "--size", "64", "--head", "logistic"];

fn solved(here: &Path, extra: &[&str]) -> Value {
    run(here, &[&LOGISTIC[..], &["--json"], extra].concat()).expect(0).json()
}

/// The model works as any other.
fn works(here: &Path, run_folder: &str, answer: &Value) {
    let model = format!("{run_folder}/model.safetensors");
    let arguments = ["evaluate", &model, "--data", "data", "--split", "test", "--json"];
    let evaluated = run(here, &arguments).expect(0).json();
    for figure in ["accuracy", "loss"] {
        let [a, b] = [&evaluated[figure], &answer["test"][figure]].map(|v| v.as_f64().unwrap());
        assert!((a - b).abs() < 1e-5, "{figure}: {a} {b}");
    }
    let predicted = run(here, &["predict", &model, "data/test/red", "--json"]).expect(0).stdout;
    assert_eq!(predicted.matches("\"red\"").count().min(5), 5, "{predicted}");
    let said = run(here, &["info", &model]).expect(0).stdout;
    assert!(said.contains(answer["head"].as_str().unwrap()), "{said}");
}

#[test]
fn a_logistic_head_is_solved_says_how_and_works_everywhere() {
    let folder = pictures();
    let here = folder.path();
    let answer = solved(here, &["--out", "run"]);
    let own = &answer["logistic"];
    assert_eq!((own["folds"].as_u64(), own["converged"].as_bool()), (Some(5), Some(true)), "{own}");
    assert!(own["gradient"].as_f64().unwrap() <= 1e-6 && own["iterations"].as_u64().unwrap() > 0);
    let tried = own["tried"].as_array().unwrap();
    assert!(tried.iter().any(|tried| tried["strength"] == own["strength"]), "{own}");
    assert_eq!((&answer["epochs"], &answer["best_epoch"]), (&Value::from(0), &Value::Null));
    assert_eq!(answer["test"]["accuracy"], 1.0);
    works(here, "run", &answer);
    for file in ["recipe.toml", "result.json", "confusion.png", "evaluation.json"] {
        assert!(here.join("run").join(file).is_file(), "{file}");
    }
    // The recipe repeats it to the byte; with another number of threads too.
    let model = |run: &str| fs::read(here.join(run).join("model.safetensors")).unwrap();
    run(here, &["train", "run/recipe.toml", "--out", "again", "-q"]).expect(0);
    assert!(model("run") == model("again"));
    let mut command = crate::support::taper(here);
    command.args([&LOGISTIC[..], &["--out", "single", "-q"]].concat());
    let single = command.env("RAYON_NUM_THREADS", "1").output().unwrap();
    assert!(single.status.success() && model("run") == model("single"));

    let said = run(here, &[&LOGISTIC[..], &["--out", "told"]].concat()).expect(0).stdout;
    assert!(said.contains("strength") && said.contains("in 5 folds"), "{said}");
    let resumed = run(here, &["train", "--resume", "run"]).expect(0);
    assert!(resumed.stderr.contains("nothing left to do"), "{resumed:?}");
    run(here, &["train", "--resume", "run", "--epochs", "40"])
        .complains(2, &["--epochs is 40", "solved", "nothing to prolong"]);
    // As if it had been killed after the features were computed.
    fs::remove_file(here.join("run/result.json")).unwrap();
    fs::remove_file(here.join("run/model.safetensors")).unwrap();
    run(here, &["train", "--resume", "run", "-q"]).expect(0);
    assert!(model("run") == model("again"));
}

#[test]
fn what_has_an_effect_on_a_logistic_head_has_it_and_the_rest_is_refused() {
    let folder = pictures();
    let here = folder.path();
    let model = |run: &str| fs::read(here.join(run).join("model.safetensors")).unwrap();
    solved(here, &["--out", "plain"]);
    for (out, extra) in [
        ("views", &["--views", "2", "--augment", "standard"][..]),
        ("weights", &["--class-weights", "1,3"]),
        ("drawn", &["--sampling", "weighted:1,3"]),
        ("seed", &["--seed", "2", "--val", "0.3"]),
    ] {
        let answer = solved(here, &[extra, &["--out", out]].concat());
        assert!(model(out) != model("plain"), "{out}");
        assert_eq!(answer["logistic"]["converged"], true, "{out}");
    }
    // Ids are like train/blue/07.jpg: of two groups of a class, one is validated on.
    let grouped = ["--group-by", r"^(\w+/\w+/\d)", "--val", "0.4", "--out", "grouped"];
    let own = &solved(here, &grouped)["logistic"];
    assert_eq!((own["folds"].as_u64(), own["strength"].as_f64()), (Some(0), Some(1.0)), "{own}");
    let crossed = solved(here, &["--folds", "2", "--out", "crossed"]);
    assert_eq!(crossed["folds"].as_array().unwrap().len(), 2);

    for (extra, flag) in [
        (&["--epochs", "5"][..], "--epochs is 5"),
        (&["--learning-rate", "0.1"], "--learning-rate is 0.1"),
        (&["--learning-rate", "auto"], "--learning-rate is auto"),
        (&["--batch-size", "8"], "--batch-size is 8"),
        (&["--accumulate", "2"], "--accumulate is 2"),
        (&["--optimizer", "sgd"], "--optimizer is sgd"),
        (&["--schedule", "cosine"], "--schedule is cosine"),
        (&["--warmup", "2"], "--warmup is 2"),
        (&["--patience", "2"], "--patience is 2"),
        (&["--reduce-lr", "2"], "--reduce-lr is 2"),
        (&["--ema", "0.9"], "--ema is 0.9"),
        (&["--clip-norm", "1"], "--clip-norm is 1"),
        (&["--checkpoint-every", "2"], "--checkpoint-every is 2"),
        (&["--tensorboard"], "--tensorboard is set"),
        (&["--dropout", "0.2"], "--dropout is 0.2"),
        (&["--label-smoothing", "0.1"], "--label-smoothing is 0.1"),
        (&["--focal-gamma", "2"], "--focal-gamma is 2"),
        (&["--fresh-views", "--augment", "flip"], "--fresh-views is set"),
        (&["--views", "2", "--mix", "mixup"], "--mix is mixup"),
    ] {
        let arguments = [&LOGISTIC[..], &["--out", "refused"], extra].concat();
        run(here, &arguments).complains(2, &[flag, "logistic"]);
        assert!(!here.join("refused").exists());
    }
    run(here, &[&["lr-find"], &LOGISTIC[1..]].concat()).complains(2, &["--head is logistic"]);
}

#[test]
fn layers_are_trained_after_a_logistic_head_from_its_weights() {
    let folder = pictures();
    let here = folder.path();
    let tune = ["--unfreeze", "blocks.6", "--fine-tune-epochs", "2", "--fine-tune-batch", "8"];
    let answer = solved(here, &[&tune[..], &["--out", "run"]].concat());
    let head = solved(here, &["--out", "head"]);
    assert_eq!(answer["logistic"], head["logistic"]);
    assert_eq!(answer["fine_tune"]["probe_val_accuracy"], head["val_accuracy"]);
    assert_eq!(answer["fine_tune"]["probe_val_loss"], head["val_loss"]);
    assert_eq!(answer["fine_tune"]["epochs"], 2);
    works(here, "run", &answer);
    let said = run(here, &[&LOGISTIC[..], &tune, &["--ema", "0.9"]].concat());
    said.complains(2, &["--ema is 0.9", "logistic"]);
    let find = [&["lr-find"], &LOGISTIC[1..], &["--unfreeze", "blocks.6", "--end", "0.001"]];
    let found = run(here, &[&find.concat()[..], &["--json"]].concat()).expect(0).json();
    assert!(found["chosen"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_cosine_head_is_trained_in_epochs_and_works_everywhere() {
    let folder = pictures();
    let here = folder.path();
    let arguments = ["train", "--data", "data", "--size", "64", "--head", "cosine", "--json"];
    let short = ["--epochs", "10", "--learning-rate", "0.01", "--out", "run"];
    let answer = run(here, &[&arguments[..], &short].concat()).expect(0).json();
    assert_eq!(answer["test"]["accuracy"], 1.0);
    assert_eq!(answer["parameters"]["head"]["trainable"], 2 * 1280 + 1);
    assert!(answer.get("logistic").is_none());
    works(here, "run", &answer);
    // Another dropout has an effect.
    let dropped = ["--epochs", "2", "--dropout", "0.3", "--out", "dropped"];
    run(here, &[&arguments[..], &dropped].concat()).expect(0);
    let tuned = ["--epochs", "2", "--unfreeze", "blocks.6", "--fine-tune-epochs", "1"];
    let answer = run(here, &[&arguments[..], &tuned].concat()).expect(0).json();
    assert_eq!(answer["fine_tune"]["epochs"], 1);
}
