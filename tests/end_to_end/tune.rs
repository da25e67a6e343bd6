//! Studies over recipes.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Ran, pictures, run, taper};

const SPACE: &str = "[space]\n\
    learning_rate = { type = 'float', low = 1e-4, high = 1e-1, log = true }\n\
    head = { type = 'categorical', choices = ['linear', 'cosine'] }\n";

fn study<'a>(here: &Path, others: &[&'a str]) -> Vec<&'a str> {
    fs::write(here.join("space.toml"), SPACE).unwrap();
    let own = ["tune", "--data", "data", "--size", "32", "--space", "space.toml", "--out", "study"];
    [&own[..], &["--batch-size", "8"], others].concat()
}

#[test]
fn the_best_trial_is_kept_and_its_recipe_repeats_it() {
    let folder = pictures();
    let here = folder.path();
    let arguments = study(here, &["--trials", "5", "--epochs", "4", "--json"]);
    let tuned = run(here, &arguments).expect(0).json();
    assert_eq!(tuned["ended"], "complete");
    assert_eq!(tuned["trials"]["complete"], 5, "{tuned}");
    assert_eq!(tuned["epochs"], 20);
    let best = &tuned["best"];
    let value = |number: usize| {
        let file = here.join(format!("study/trials/{number:04}/result.json"));
        let result: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        result["val_loss"].as_f64().unwrap()
    };
    let least = (0..5).map(value).fold(f64::INFINITY, f64::min);
    assert_eq!(best["value"].as_f64().unwrap(), least);
    for file in ["history.png", "parallel.svg", "importance.png", "slice-head.png", "trials.csv"] {
        assert!(here.join("study").join(file).is_file(), "{file}");
    }
    // Only the best one has its weights.
    let number = best["number"].as_u64().unwrap() as usize;
    for trial in 0..5 {
        let own = here.join(format!("study/trials/{trial:04}/model.safetensors"));
        assert_eq!(own.exists(), trial == number, "{trial}");
    }
    let again = ["train", "study/best.toml", "--out", "again", "--json"];
    let again = run(here, &again).expect(0).json();
    assert_eq!(again["val_loss"], best["val_loss"]);

    // More trials: the first ones are as they were.
    let more = ["tune", "--resume", "study", "--trials", "6", "--json"];
    let more = run(here, &more).expect(0).json();
    assert_eq!(more["trials"]["complete"], 6);
    run(here, &["tune", "--resume", "study", "--trials", "3"]).complains(2, &["--trials is 3"]);
    run(here, &["tune", "--resume", "study", "--epochs", "3"]).complains(2, &["--epochs is 3"]);
}

#[test]
fn a_killed_study_goes_on_to_the_same_trials() {
    let folder = pictures();
    let here = folder.path();
    let arguments = study(here, &["--trials", "6", "--epochs", "40"]);
    let mut child = taper(here).args(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let third = here.join("study/trials/0002");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !third.exists() {
        assert!(Instant::now() < deadline, "the third trial does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let tuned = run(here, &["tune", "--resume", "study", "--json"]).expect(0).json();
    assert_eq!(tuned["trials"]["complete"], 6, "{tuned}");
    let mut whole = study(here, &["--trials", "6", "--epochs", "40", "--json"]);
    let out = whole.iter().position(|argument| *argument == "study").unwrap();
    whole[out] = "whole";
    let whole = run(here, &whole).expect(0).json();
    assert_eq!(tuned["best"]["number"], whole["best"]["number"]);
    assert_eq!(tuned["best"]["value"], whole["best"]["value"]);
    assert_eq!(tuned["epochs"], whole["epochs"]);
}

#[test]
fn paused_trials_go_on_and_the_time_is_kept() {
    let folder = pictures();
    let here = folder.path();
    let arguments = study(here, &["--trials", "9", "--epochs", "9", "--pruning", "asha", "--json"]);
    let tuned = run(here, &arguments).expect(0).json();
    let counts = &tuned["trials"];
    assert_eq!(counts["waiting"], 0, "{tuned}");
    assert!(counts["complete"].as_u64().unwrap() >= 1 && counts["pruned"].as_u64().unwrap() >= 3);
    // No epoch was trained twice: those of every trial are in its history once.
    let epochs: usize = (0..9)
        .map(|n| {
            let file = here.join(format!("study/trials/{n:04}/history.csv"));
            fs::read_to_string(file).unwrap().lines().count() - 1
        })
        .sum();
    assert_eq!(tuned["epochs"], epochs);
    assert!(epochs < 60, "{epochs}");

    let mut short = study(here, &["--trials", "1000", "--time-limit", "3s", "--json"]);
    let out = short.iter().position(|argument| *argument == "study").unwrap();
    short[out] = "short";
    let begun = Instant::now();
    let tuned = run(here, &short).expect(0).json();
    assert_eq!(tuned["ended"], "time");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(here.join("short/best.toml").is_file());
}

#[test]
fn a_wrong_study_is_refused_before_anything_is_trained() {
    let folder = pictures();
    let here = folder.path();
    let none = study(here, &[]);
    fs::remove_file(here.join("space.toml")).unwrap();
    run(here, &none).complains(2, &["--space is 'space.toml': there is no such file"]);
    let complain = |space: &str, others: &[&str], words: &[&str]| {
        let arguments = study(here, others);
        fs::write(here.join("space.toml"), space).unwrap();
        run(here, &arguments).complains(2, words);
        assert!(!here.join("study").exists());
    };
    let of = |line: &str| format!("[space]\n{line}\n");
    let float = "{ type = 'float', low = 0.0, high = 2.0 }";
    complain(&of(&format!("dropout = {float}")), &[], &["space.dropout is 2", "less than 1"]);
    complain(&of(&format!("dropuot = {float}")), &[], &["space.dropuot"]);
    let heads = "head = { type = 'categorical', choices = ['linear', 'lineer'] }";
    complain(&of(heads), &[], &["space.head is lineer"]);
    let val = "val = { type = 'categorical', choices = ['0.2', 'test'] }";
    complain(&of(val), &[], &["space.val is set: trials are compared by the same pictures"]);
    complain("learning_rate = 1", &[], &["unknown field `learning_rate`"]);
    complain("[spaces]", &[], &["space"]);
    complain(SPACE, &["--head", "linear"], &["--head is linear", "space.head"]);
    complain(SPACE, &["--trials", "0"], &["--trials is 0"]);
    complain(SPACE, &["--time-limit", "soon"], &["--time-limit"]);
    complain(SPACE, &["--time-limit", "0s"], &["--time-limit is 0s"]);
    complain(SPACE, &["--folds", "3"], &["--folds is"]);
    complain(SPACE, &["--sampler", "best"], &["--sampler", "tpe, random, grid"]);
}

/// What a training says about its data, a study says too.
#[test]
fn pictures_that_cannot_be_used_are_named() {
    let folder = pictures();
    let here = folder.path();
    fs::write(here.join("data/train/red/broken.png"), "no picture").unwrap();
    let arguments = study(here, &["--trials", "2", "--epochs", "1", "--json"]);
    let ran = run(here, &arguments).expect(3);
    assert_eq!(ran.stderr.matches("broken.png").count(), 1, "{}", ran.stderr);
    let tuned = ran.json();
    assert!(tuned["unreadable"][0]["path"].as_str().unwrap().contains("broken.png"), "{tuned}");
}

/// The folder of a study lies among the pictures, while it is made and later.
#[test]
fn a_study_is_no_class() {
    let folder = pictures();
    let data = folder.path().join("data/train");
    fs::write(folder.path().join("space.toml"), SPACE).unwrap();
    let own = ["tune", ".", "--size", "32", "--space", "../../space.toml", "--epochs", "1"];
    for _ in 0..2 {
        run(&data, &[&own[..], &["--trials", "1", "--json"]].concat()).expect(0);
    }
    let train = ["train", ".", "--size", "32", "--head", "linear", "--epochs", "1", "--json"];
    let answer = run(&data, &train).expect(0).json();
    let classes: Vec<&str> = crate::layouts::classes(&answer);
    assert_eq!(classes, ["blue", "red"]);
    assert!(crate::layouts::remarks(&answer).contains("written by Taper"), "{answer}");
}

#[test]
fn two_processes_share_a_study() {
    let folder = pictures();
    let here = folder.path();
    run(here, &study(here, &["--trials", "1", "--epochs", "20"])).expect(0);
    let resume = ["tune", "--resume", "study", "--trials", "8", "--json"];
    let begin = || taper(here).args(resume).stdout(Stdio::piped()).spawn().unwrap();
    let both = [begin(), begin()];
    for child in both {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let whole = run(here, &["tune", "--resume", "study", "--json"]).expect(0).json();
    let complete = whole["trials"]["complete"].as_u64().unwrap();
    // Both may begin what each takes for the last one.
    assert!((8..=9).contains(&complete), "{whole}");
    assert_eq!(whole["trials"]["failed"], 0);
    assert_eq!(whole["epochs"].as_u64().unwrap(), 20 * complete);
}

#[cfg(unix)]
#[test]
fn a_full_disk_says_how_the_study_goes_on() {
    let folder = pictures();
    let here = folder.path();
    let own = ["--trials", "2", "--epochs", "3", "--unfreeze", "blocks.6"];
    let own = [&own[..], &["--fine-tune-epochs", "2", "--fine-tune-batch", "8"]].concat();
    let limited = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
    let mut child = std::process::Command::new("bash");
    child.args(["-c", limited, env!("CARGO_BIN_EXE_taper")]).args(study(here, &own));
    let ran = Ran::of(child.current_dir(here).output().unwrap()).expect(1);
    assert!(ran.stderr.contains("taper tune --resume study"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("taper train"), "{}", ran.stderr);
    run(here, &["tune", "--resume", "study"]).expect(0);
}

#[test]
fn several_processes_train_at_the_same_time() {
    let folder = pictures();
    let here = folder.path();
    let arguments = study(here, &["--trials", "6", "--epochs", "4", "--jobs", "2", "--json"]);
    let tuned = run(here, &arguments).expect(0).json();
    assert_eq!(tuned["ended"], "complete", "{tuned}");
    assert_eq!(tuned["trials"]["complete"], 6, "{tuned}");
    assert_eq!(tuned["epochs"], 24);
    assert!(here.join("study/best.toml").is_file() && here.join("study/history.png").is_file());
    let more = ["tune", "--resume", "study", "--trials", "9", "--jobs", "3", "--json"];
    let more = run(here, &more).expect(0).json();
    assert_eq!(more["trials"]["complete"], 9, "{more}");
    // A study is no run, and its processes end with the first one.
    run(here, &["train", "--resume", "study"]).complains(2, &["go on with it by `taper tune`"]);
    let mut long = study(here, &["--trials", "5000", "--epochs", "40", "--jobs", "2"]);
    let out = long.iter().position(|argument| *argument == "study").unwrap();
    long[out] = "long";
    let mut parent = taper(here).args(&long).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !here.join("long/trials/0002").exists() {
        assert!(Instant::now() < deadline, "the third trial does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
    let journal = || fs::metadata(here.join("long/study.journal")).unwrap().len();
    let mut before = 0;
    while journal() != before {
        assert!(Instant::now() < deadline, "its processes do not end");
        before = journal();
        std::thread::sleep(Duration::from_secs(2));
    }
    let wrong = study(here, &["--jobs", "0"]);
    run(here, &wrong).complains(2, &["--jobs", "1..=64"]);
}
