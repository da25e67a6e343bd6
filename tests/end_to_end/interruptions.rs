//! What comes late or is lost: usage errors before the work, names of folders taken by several
//! processes at once, files that exist, data that have moved, runs that are prolonged, signals.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Ran, pictures, pictures_from, run, taper, zip};

const QUICK: [&str; 7] = ["train", "--data", "data", "--size", "64", "--head", "linear"];

#[test]
fn usage_errors_come_before_the_features() {
    let folder = pictures();
    let here = folder.path();
    zip(&here.join("data"), &here.join("data.zip"));
    let find = ["lr-find", "--data", "data", "--size", "64", "--head", "linear"];
    let embed = ["embed", "--data", "data", "--size", "64"];
    let inspect = ["inspect", "--data", "data"];
    fs::write(here.join("file"), "").unwrap();
    fs::create_dir(here.join("there")).unwrap();
    for (command, extra, words) in [
        (&QUICK[..], &["--class-weights", "1,2,3"][..], &["--class-weights", "2 classes"][..]),
        (&QUICK, &["--class-weights", "0,0"], &["--class-weights", "2 classes"]),
        (&QUICK, &["--sampling", "weighted:1"], &["--sampling", "2 classes"]),
        (&QUICK, &["--sampling", "weighted:1,2,3"], &["--sampling", "2 classes"]),
        (&QUICK, &["--warmup", "40"], &["--warmup is 40", "--epochs"]),
        (&QUICK, &["--out", "there"], &["'there' exists", "--out"]),
        (&find, &["--passes", "1"], &["--passes is 1", "26", "--batch-size"]),
        (&find, &["--steps", "9"], &["--steps is 9", "26"]),
        (&find, &["--out", "there"], &["'there' exists", "--out"]),
        (&embed, &["--out", "file"], &["'file' exists", "--overwrite"]),
        (&embed, &["--out", "none/e.safetensors"], &["--out", "no folder none"]),
        (&embed, &["--out", "there"], &["--out is there", "a folder"]),
        (&inspect, &["--out", "there"], &["'there' exists", "--out"]),
        (&inspect, &["--fix", "file"], &["--fix is file", "give a folder"]),
        (&["inspect", "--data", "data.zip"], &["--fix", "clean"], &["data.zip"]),
    ] {
        let ran = run(here, &[command, extra].concat());
        for sign in ["features:", "inspect:"] {
            assert!(!ran.stderr.contains(sign), "{extra:?} comes late: {ran:#?}");
        }
        ran.complains(2, words);
    }
    assert!(!here.join("runs").exists() && !here.join("clean").exists());
    // Under a file nothing can be made.
    let ran = run(here, &[&find[..], &["--out", "file/found"]].concat());
    assert!(!ran.stderr.contains("features:"), "{ran:#?}");
    ran.complains(2, &["file/found", "another place"]);
}

fn spawn(here: &Path, arguments: &[&str]) -> Child {
    let mut command = taper(here);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn names_are_taken_one_after_the_other() {
    let folder = pictures();
    let here = folder.path();
    let train = [&QUICK[..], &["--epochs", "1", "--json"]].concat();
    let find = ["lr-find", "--data", "data", "--size", "64", "--head", "linear", "--json"];
    let inspect = ["inspect", "--data", "data", "--no-embeddings", "--json"];
    for (arguments, key, name) in [
        (&train[..], "run", "runs/data-efficientnet-lite0-"),
        (&find, "plot", "runs/data-efficientnet-lite0-lr-"),
        (&inspect, "out", "runs/data-health-"),
    ] {
        let children: Vec<Child> = (0..4).map(|_| spawn(here, arguments)).collect();
        let mut names: Vec<String> = children
            .into_iter()
            .map(|child| Ran::of(child.wait_with_output().unwrap()).expect(0).json())
            .map(|answer: Value| answer[key].as_str().unwrap().replace("/lr_find.png", ""))
            .collect();
        names.sort();
        let expected: Vec<String> = (1..=4).map(|n| format!("{name}{n}")).collect();
        assert_eq!(names, expected);
        for name in names {
            assert!(here.join(&name).is_dir(), "{name}");
        }
    }
    let hidden = fs::read_dir(here.join("runs")).unwrap().flatten();
    let hidden: Vec<_> =
        hidden.filter(|e| e.file_name().to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn files_that_exist_are_not_overwritten_unless_asked() {
    let folder = pictures();
    let here = folder.path();
    let embed = ["embed", "--data", "data", "--size", "64", "--out", "e.safetensors"];
    let augment = ["augment", "--data", "data", "--size", "64", "--out", "sheet.png"];
    let summary = ["summary", "--model", "efficientnet-lite0", "--svg", "drawing.svg"];
    for (arguments, file) in
        [(&embed[..], "e.safetensors"), (&augment, "sheet.png"), (&summary, "drawing.svg")]
    {
        fs::write(here.join(file), "precious").unwrap();
        run(here, arguments).complains(2, &[file, "exists", "--overwrite"]);
        assert_eq!(fs::read(here.join(file)).unwrap(), b"precious");
        run(here, &[arguments, &["--overwrite"]].concat()).expect(0);
        assert_ne!(fs::read(here.join(file)).unwrap(), b"precious");
    }
}

#[test]
fn a_sheet_is_what_its_name_says() {
    let folder = pictures();
    let here = folder.path();
    let augment = ["augment", "--data", "data", "--size", "64", "--out"];
    for (name, format) in [
        ("a.png", image::ImageFormat::Png),
        ("a.jpg", image::ImageFormat::Jpeg),
        ("a.JPEG", image::ImageFormat::Jpeg),
    ] {
        run(here, &[&augment[..], &[name]].concat()).expect(0);
        let bytes = fs::read(here.join(name)).unwrap();
        assert_eq!(image::guess_format(&bytes).unwrap(), format, "{name}");
        assert!(image::load_from_memory(&bytes).unwrap().width() > 300);
    }
    for name in ["a.gif", "a.svg", "a"] {
        run(here, &[&augment[..], &[name]].concat()).complains(2, &["--out", ".png or .jpg"]);
        assert!(!here.join(name).exists());
    }
}

fn same_bytes(here: &Path, a: &str, b: &str) {
    for file in ["history.csv", "history.jsonl"] {
        let read = |run: &str| fs::read(here.join(run).join(file)).unwrap();
        assert!(read(a) == read(b), "{file} of {b} differs");
    }
    let tensors = |run: &str| {
        let bytes = fs::read(here.join(run).join("model.safetensors")).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + length..].to_vec()
    };
    assert!(tensors(a) == tensors(b), "the weights of {b} differ");
}

#[test]
fn data_that_have_moved_are_recognised() {
    let folder = pictures_from([0, 20, 40]);
    let here = folder.path();
    let long =
        [&QUICK[..], &["--epochs", "6", "--checkpoint-every", "2", "--cache", "off"]].concat();
    let train = |out: &str| run(here, &[&long[..], &["--out", out]].concat()).expect(0);
    train("whole");
    let recipe = fs::read_to_string(here.join("whole/recipe.toml")).unwrap();
    let absolute = fs::canonicalize(here).unwrap().join("data");
    assert!(recipe.contains("data = \"data\""), "{recipe}");
    assert!(recipe.contains(&format!("data_path = \"{}\"", absolute.display())), "{recipe}");
    // From any folder, the recipe finds its data.
    let elsewhere = tempfile::tempdir().unwrap();
    let path = here.join("whole/recipe.toml").display().to_string();
    let again = run(elsewhere.path(), &["train", &path, "--out", "again"]);
    again.expect(0);
    let read = |path: &Path| fs::read(path.join("model.safetensors")).unwrap();
    assert!(read(&here.join("whole")) == read(&elsewhere.path().join("again")));

    for out in ["one", "two", "three"] {
        train(out);
        // As if it had been killed.
        fs::remove_file(here.join(out).join("result.json")).unwrap();
    }
    fs::rename(here.join("data"), here.join("moved")).unwrap();
    run(here, &["train", "--resume", "one"]).complains(2, &["data"]);
    run(here, &["train", "--resume", "one", "--data", "moved"]).expect(0);
    same_bytes(here, "whole", "one");
    let recipe = fs::read_to_string(here.join("one/recipe.toml")).unwrap();
    assert!(recipe.contains("data = \"moved\""), "{recipe}");
    // A complete run takes note of it.
    run(here, &["train", "--resume", "one", "--data", "nowhere"]).complains(2, &["--data"]);
    run(here, &["train", "--resume", "whole", "--data", "moved", "--json"]).expect(0);

    // Other pictures are refused, and it is said what differs.
    fs::rename(here.join("moved/train/red/03.jpg"), here.join("moved/train/red/new.jpg")).unwrap();
    run(here, &["train", "--resume", "two", "--data", "moved"])
        .complains(2, &["--data", "missing (train/red/03.jpg)", "new (train/red/new.jpg)"]);
    fs::rename(here.join("moved/train/red/new.jpg"), here.join("moved/train/red/03.jpg")).unwrap();
    fs::write(here.join("moved/train/red/03.jpg"), "other").unwrap();
    run(here, &["train", "--resume", "three", "--data", "moved"])
        .complains(2, &["another size (train/red/03.jpg)"]);
    fs::remove_dir_all(here.join("moved/test")).unwrap();
    run(here, &["train", "--resume", "whole", "--data", "moved"])
        .complains(2, &["10 picture(s) missing"]);
}

/// Names and sizes may be the same, and what is in the files another picture.
#[test]
fn data_with_other_contents_are_not_those_of_the_run() {
    let folder = pictures();
    let here = folder.path();
    let of = |path: &str| here.join("moved").join(path);
    run(here, &[&QUICK[..], &["--epochs", "2", "--out", "run", "-q"]].concat()).expect(0);
    fs::rename(here.join("data"), here.join("moved")).unwrap();
    let again = |more: &[&str]| {
        run(here, &[&["train", "--resume", "run", "--data", "moved", "-q"], more].concat())
    };
    again(&[]).expect(0);
    let swap = || {
        let (a, b) = (of("train/red/01.jpg"), of("train/red/02.jpg"));
        let padded = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            bytes.resize(40_000, 0);
            bytes
        };
        [(a.clone(), padded(&b)), (b, padded(&a))]
    };
    for (path, bytes) in swap() {
        fs::write(path, bytes).unwrap();
    }
    again(&[]).complains(2, &["--data", "of another size (train/red/01.jpg, train/red/02.jpg)"]);
    let new = ["--data", "moved", "--size", "64", "--head", "linear", "--out", "run2", "-q"];
    run(here, &[&["train", "--epochs", "2"], &new[..]].concat()).expect(0);
    // Now they are of one size, and only change places.
    for (path, bytes) in swap() {
        fs::write(path, bytes).unwrap();
    }
    for more in [&[][..], &["--epochs", "4"], &["--data", "moved"]] {
        let arguments = [&["train", "--resume", "run2", "-q"], more].concat();
        let ran = run(here, &arguments);
        if more.is_empty() {
            // A complete run has nothing to read.
            ran.expect(0);
            continue;
        }
        let other = "2 picture(s) with other contents (train/red/01.jpg, train/red/02.jpg)";
        ran.complains(2, &["--data", other]);
    }
}

#[test]
fn a_complete_run_can_be_prolonged() {
    let folder = pictures();
    let here = folder.path();
    let cases: [(&str, &[&str]); 4] = [
        ("constant", &[]),
        ("warm", &["--warmup", "1", "--ema", "0.9", "--checkpoint-every", "1"]),
        // The rates of all epochs depend on how many there are.
        ("cosine", &["--schedule", "cosine"]),
        ("stopped", &["--patience", "1", "--min-delta", "100", "--checkpoint-every", "1"]),
    ];
    for (name, extra) in cases {
        let train = |epochs: &str, out: &str| {
            let own = ["--epochs", epochs, "--batch-size", "8", "--out", out];
            run(here, &[&QUICK[..], &own, extra].concat()).expect(0);
        };
        let (short, whole) = (format!("{name}-short"), format!("{name}-whole"));
        train("7", &short);
        train("12", &whole);
        let prolong = ["train", "--resume", &short, "--epochs", "12", "--json"];
        let ran = run(here, &prolong).expect(0);
        assert_eq!(ran.stderr.contains("from its beginning"), name == "cosine", "{ran:#?}");
        assert_eq!(ran.json()["epochs"], if name == "stopped" { 2 } else { 12 }, "{name}");
        same_bytes(here, &whole, &short);
        // Once more, there is nothing left to do; fewer are refused.
        assert!(run(here, &prolong).expect(0).stderr.contains("complete"));
        run(here, &["train", "--resume", &short, "--epochs", "3"])
            .complains(2, &["--epochs is 3", "12", "--resume"]);
    }
    let folds = [&QUICK[..], &["--epochs", "2", "--folds", "2", "--out", "cross"]].concat();
    run(here, &folds).expect(0);
    let prolong = ["train", "--resume", "cross", "--epochs", "4", "--json"];
    let answer = run(here, &prolong).expect(0).json();
    assert!(answer["folds"].as_array().unwrap().iter().all(|fold| fold["epochs"] == 4), "{answer}");
}

#[cfg(unix)]
fn interrupt(here: &Path, arguments: &[&str], signal: &str, begun: impl Fn() -> bool) -> Ran {
    let child = spawn(here, arguments);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !begun() {
        assert!(Instant::now() < deadline, "{arguments:?} does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    Ran::of(child.wait_with_output().unwrap())
}

#[cfg(unix)]
#[test]
fn a_signal_gives_its_exit_code_and_says_what_was_saved() {
    let folder = pictures();
    let here = folder.path();
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        for quiet in [&[][..], &["-q"]] {
            let out = format!("run{signal}{}", quiet.len());
            let own = ["--epochs", "100000", "--checkpoint-every", "1", "--out", &out];
            let arguments = [&QUICK[..], &own, quiet].concat();
            let history = here.join(&out).join("history.csv");
            let begun = || fs::read_to_string(&history).is_ok_and(|text| text.lines().count() > 3);
            let ran = interrupt(here, &arguments, signal, begun).expect(code);
            let model = format!("{out}/model.safetensors");
            assert!(ran.stderr.contains("saved: ") && ran.stderr.contains(&model), "{ran:#?}");
            assert!(ran.stderr.contains(&format!("--resume {out}")), "{ran:#?}");
            assert!(ran.stdout.contains("interrupted"), "{ran:#?}");
            assert!(here.join(model).is_file());
        }
    }
}

#[cfg(unix)]
#[test]
fn a_script_does_not_go_on_after_an_interruption() {
    let folder = pictures();
    let here = folder.path();
    // A cross-validation, between and within folds, and a search.
    let folds =
        [&QUICK[..], &["--epochs", "3000", "--folds", "2", "--out", "cross", "-q"]].concat();
    let there = here.join("cross/fold-0/history.csv");
    let ran = interrupt(here, &folds, "-TERM", || there.exists()).expect(143);
    assert!(ran.stderr.contains("--resume cross"), "{ran:#?}");
    let find =
        ["lr-find", "--data", "data", "--size", "64", "--steps", "1000000", "--out", "found"];
    let begun = Instant::now();
    let ran =
        interrupt(here, &find, "-INT", || begun.elapsed() > Duration::from_secs(3)).expect(130);
    assert!(ran.stderr.contains("nothing was written"), "{ran:#?}");
    assert!(!here.join("found").exists());
    // What ends by itself before the signal arrives is done.
    run(here, &["models"]).expect(0);
}
