//! Interruptions of every kind, the cache of features, and the learning-rate finder.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Ran, pictures, run, taper, varied};

/// A training run that is long enough to be killed, with every component that has state.
const LONG: [&str; 22] = [
    "train",
    "--data",
    "data",
    "--size",
    "64",
    "--epochs",
    "60",
    "--head",
    "tutorial",
    "--views",
    "3",
    "--batch-size",
    "8",
    "--learning-rate",
    "auto",
    "--schedule",
    "cosine",
    "--reduce-lr",
    "2",
    "--ema",
    "0.9",
    "--checkpoint-every=2",
];

fn spawn(here: &Path, arguments: &[&str], out: &str) -> std::process::Child {
    let mut command = taper(here);
    command.args(arguments).args(out.split(' '));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn same_bytes(here: &Path, a: &str, b: &str) {
    for file in ["model.safetensors", "history.csv", "history.jsonl"] {
        let read = |run: &str| fs::read(here.join(run).join(file)).unwrap();
        assert!(read(a) == read(b), "{file} of {b} differs");
    }
}

/// `TAPER_KILLS` says how many times in all; CI is content with a few.
#[cfg(unix)]
#[test]
fn killed_at_any_moment_a_run_resumes_to_the_same_bytes() {
    let kills: u32 = std::env::var("TAPER_KILLS").map_or(5, |n| n.parse().unwrap());
    let folder = pictures();
    let here = folder.path();
    let start = Instant::now();
    let mut command = taper(here);
    command.args(LONG).args(["--out", "whole"]).env("TAPER_CACHE", "off");
    let whole = Ran::of(command.output().unwrap()).expect(0);
    let time = start.elapsed();
    println!("uninterrupted: {time:?}, {}", whole.stderr);

    // Moments spread over the run by the golden ratio; each run is killed and resumed until it
    // finishes.
    let mut done = 0;
    let mut runs = 0;
    while done < kills {
        runs += 1;
        let name = format!("killed-{runs}");
        let mut ended = false;
        while !ended {
            let exists = here.join(&name).exists();
            let resume = ["train", "--resume"];
            let arguments = if exists { &resume[..] } else { &LONG[..] };
            let out = if exists { name.clone() } else { format!("--out {name}") };
            let mut child = spawn(here, arguments, &out);
            let share = (f64::from(done + 1) * 0.618_034).fract();
            // After the last kill, the run continues undisturbed.
            if done < kills {
                std::thread::sleep(time.mul_f64(share * 0.9));
            }
            if done < kills && child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                child.wait().unwrap();
                done += 1;
                continue;
            }
            let ran = Ran::of(child.wait_with_output().unwrap());
            ended = true;
            ran.expect(0);
        }
        same_bytes(here, "whole", &name);
        // No partial files are left, except those that a kill left in the cache's folder.
        let partial = fs::read_dir(here.join(&name)).unwrap().flatten().find(|f| {
            let name = f.file_name().to_string_lossy().into_owned();
            name.contains("tmp")
        });
        assert!(partial.is_none(), "{partial:?}");
    }
    println!("{done} kills in {runs} runs");
}

#[cfg(unix)]
#[test]
fn a_request_to_end_is_followed_within_two_seconds_and_the_run_goes_on() {
    let folder = pictures();
    let here = folder.path();
    run(here, &[&LONG[..], &["--out", "whole", "--cache", "off"]].concat()).expect(0);
    // While features are computed, and in training.
    for (signal, wait, code) in [("-TERM", "", 143), ("-INT", "checkpoints", 130)] {
        let name = format!("run{signal}");
        let child = spawn(here, &LONG, &format!("--cache off --out {name}"));
        let there = here.join(&name).join(wait);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !there.exists() {
            assert!(Instant::now() < deadline, "{} does not appear", there.display());
            std::thread::sleep(Duration::from_millis(2));
        }
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
        let asked = Instant::now();
        let ended = Ran::of(child.wait_with_output().unwrap());
        let took = asked.elapsed();
        // The target is for the released program; this one is not optimised.
        assert!(took < Duration::from_secs(4), "{took:?} after {signal}: {ended:#?}");
        assert!(ended.stderr.contains(&format!("taper train --resume {name}")), "{ended:#?}");
        assert_eq!(ended.code, Some(code), "{ended:#?}");
        let resumed = run(here, &["train", "--resume", &name, "--json"]).expect(0).json();
        assert_eq!(resumed["stopped"], "completed");
        same_bytes(here, "whole", &name);
    }
}

#[test]
fn only_what_was_interrupted_is_resumed() {
    let folder = pictures();
    let here = folder.path();
    let quick = ["train", "--data", "data", "--size", "64", "--epochs", "2", "--head", "linear"];
    let trained = run(here, &[&quick[..], &["--out", "run", "--json"]].concat()).expect(0).json();
    // Resuming a complete run returns its answer again, and changes nothing.
    let before = fs::metadata(here.join("run/model.safetensors")).unwrap().modified().unwrap();
    let again = run(here, &["train", "--resume", "run", "--json"]).expect(0);
    assert!(again.stderr.contains("complete"), "{again:#?}");
    assert!(again.stderr.contains("no picture was read again"), "{again:#?}");
    assert_eq!(again.json(), trained);
    let after = fs::metadata(here.join("run/model.safetensors")).unwrap().modified().unwrap();
    assert_eq!(before, after);
    run(here, &["train", "--resume", "nowhere"]).complains(2, &["'nowhere'", "no such folder"]);
    run(here, &["train", "--resume", "data"]).complains(2, &["'data'", "no recipe.toml"]);
    run(here, &["train", "--resume", "run", "--views", "2"])
        .complains(2, &["--views is 2", "--resume"]);
    run(here, &["train", "--resume", "run", "--epochs", "1"]).complains(2, &["--epochs", "more"]);
    // If pictures have changed since, training does not continue with the old weights.
    fs::remove_file(here.join("run/result.json")).unwrap();
    let long = ["--epochs", "5", "--checkpoint-every", "1", "--out", "changed"];
    run(here, &varied(&quick, &long)).expect(0);
    fs::remove_file(here.join("changed/result.json")).unwrap();
    let picture = here.join("data/train/red/03.jpg");
    let bytes = fs::read(&picture).unwrap();
    fs::remove_file(&picture).unwrap();
    run(here, &["train", "--resume", "changed"])
        .complains(2, &["not the pictures of the run", "missing (train/red/03.jpg)"]);
    // Nothing is lost by that.
    fs::write(&picture, bytes).unwrap();
    run(here, &["train", "--resume", "changed"]).expect(0);
}

#[test]
fn cached_features_give_the_same_model_and_damage_costs_only_time() {
    let folder = pictures();
    let here = folder.path();
    let arguments =
        ["train", "--data", "data", "--size", "64", "--epochs", "3", "--views", "2", "--json"];
    let train = |more: &[&str]| run(here, &varied(&arguments, more)).expect(0).json();
    let count = |answer: &Value| answer["cached"].as_u64().unwrap();
    let first = train(&["--out", "first"]);
    assert_eq!(count(&first), 0);
    let second = train(&["--out", "second"]);
    assert_eq!(count(&second), 48 + 8 + 10);
    same_bytes(here, "first", "second");
    assert_eq!(first["val_loss"], second["val_loss"]);
    let off = train(&["--out", "off", "--cache", "off"]);
    assert_eq!(count(&off), 0);
    same_bytes(here, "first", "off");
    // Another seed makes other views, of the same pictures; another policy too.
    let other = train(&["--out", "seed", "--seed", "7"]);
    assert_eq!(count(&other), 24 + 8 + 10);
    let other = train(&["--out", "policy", "--augment", "flip"]);
    assert_eq!(count(&other), 24 + 8 + 10);
    assert_eq!(count(&train(&["--out", "size", "--size", "96"])), 0);
    assert_eq!(count(&train(&["--out", "precision", "--precision", "bf16"])), 0);
    // The finder and the evaluation read the same cache.
    let rest = &arguments[1..5];
    let found = run(here, &[&["lr-find", "--views", "2", "--json"], rest].concat()).expect(0);
    assert_eq!(count(&found.json()), 48 + 8 + 10);
    let evaluate = ["evaluate", "first/model.safetensors", "--data", "data", "--json"];
    let evaluated = run(here, &evaluate).expect(0);
    assert!(evaluated.stderr.contains("10 of 10 features from the cache"), "{evaluated:#?}");

    // Every cached file damaged somewhere: the features are computed again.
    let mut damaged = 0;
    let sets = fs::read_dir(here.join("features")).unwrap().flatten();
    for set in sets.filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(set.path()).unwrap().flatten() {
            let mut bytes = fs::read(file.path()).unwrap();
            // Two neighbouring rows: the same picture is in several splits here, but its views
            // differ.
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            bytes[middle + 4 + 4 * 1280] ^= 0xff;
            fs::write(file.path(), bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged >= 5, "{damaged}");
    let repaired = train(&["--out", "repaired"]);
    assert!(count(&repaired) < 66, "{repaired}");
    same_bytes(here, "first", "repaired");
    assert_eq!(count(&train(&["--out", "whole-again"])), 66);
    // A cache that cannot be used is no reason to fail.
    fs::write(here.join("file"), "").unwrap();
    let unusable = run(here, &[&arguments[..], &["--out", "last", "--cache", "file"]].concat());
    assert!(unusable.stderr.contains("feature cache 'file"), "{unusable:#?}");
    unusable.expect(0);
    same_bytes(here, "first", "last");
}

#[test]
fn the_finder_answers_and_its_rate_is_set() {
    let folder = pictures();
    let here = folder.path();
    let common = ["--data", "data", "--size", "64", "--head", "linear", "--json"];
    let find = [&["lr-find", "--out", "found", "--sweeps", "3"], &common[..]].concat();
    let found = run(here, &find).expect(0).json();
    let chosen = found["chosen"].as_f64().unwrap();
    assert!((1e-6..1.0).contains(&chosen), "{found:#}");
    assert_eq!(found["suggestions"]["valley"].as_f64().unwrap(), chosen);
    assert_eq!(found["points"], 300);
    for method in ["valley", "sma", "minimum", "steep", "slide"] {
        assert!(found["suggestions"].get(method).is_some(), "{found:#}");
    }
    assert_eq!(found["plot"], "found/lr_find.png");
    for file in ["lr_find.png", "lr_find.svg", "lr_find.json"] {
        assert!(fs::metadata(here.join("found").join(file)).unwrap().len() > 100, "{file}");
    }
    run(here, &find).complains(2, &["'found' exists"]);
    // Training with `auto` makes one sweep; its rate is the one that the optimizer uses.
    let find = [&["lr-find", "--out", "one"], &common[..]].concat();
    let chosen = run(here, &find).expect(0).json()["chosen"].as_f64().unwrap();
    let train = ["train", "--learning-rate", "auto", "--epochs", "2", "--out", "run"];
    let trained = run(here, &[&train[..], &common[..]].concat()).expect(0).json();
    assert_eq!(trained["learning_rate"].as_f64().unwrap(), chosen);
    let history = fs::read_to_string(here.join("run/history.csv")).unwrap();
    let rate = history.lines().nth(1).unwrap().split(',').nth(2).unwrap();
    assert_eq!(rate.parse::<f64>().unwrap(), chosen);
    assert!(here.join("run/lr_find.png").is_file());
    run(here, &["lr-find", "--data", "data", "--steps", "5"]).complains(2, &["26"]);
    let few = ["lr-find", "--data", "data", "--start", "1e-12", "--end", "1e-11", "--size", "64"];
    run(here, &few).complains(1, &["learning-rate finder", "descent"]);
    assert!(!here.join("runs").exists(), "a search that found nothing leaves nothing");
}

/// A file system without room, as far as a process can have one: no file may grow beyond 100 KB.
#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_what_was_written_before_stays() {
    let folder = pictures();
    let here = folder.path();
    let line = format!(
        "trap '' XFSZ; ulimit -f 200; exec {} train --data data --size 64 --epochs 4 \
         --checkpoint-every 1 --cache off --out run",
        env!("CARGO_BIN_EXE_taper")
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &line]).current_dir(here).env("HF_HUB_OFFLINE", "1");
    let ran = Ran::of(command.output().unwrap());
    ran.complains(1, &["cannot write", "epoch-0000-step", "too large"]);
    // The first checkpoint did not fit: nothing can be resumed, so only the folder's own files are
    // left.
    let left = fs::read_dir(here.join("run/checkpoints")).map_or(0, |d| d.count());
    assert_eq!(left, 0, "a torn checkpoint");
}

#[test]
fn events_for_tensorboard_are_written() {
    let folder = pictures();
    let here = folder.path();
    let arguments =
        ["train", "--data", "data", "--size", "64", "--epochs", "3", "--tensorboard", "--out"];
    run(here, &[&arguments[..], &["run"]].concat()).expect(0);
    let events = fs::read_dir(here.join("run"))
        .unwrap()
        .flatten()
        .find(|f| f.file_name().to_string_lossy().starts_with("events.out.tfevents."));
    let bytes = fs::read(events.unwrap().path()).unwrap();
    let times = bytes.windows(8).filter(|w| w == b"val_loss").count();
    assert_eq!(times, 3);
}
