//! Training the layers of a network after its head.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{Ran, pictures, run, taper, varied};

/// The last stage of EfficientNet-Lite0 after a short training of its head.
const STAGE: [&str; 20] = [
    "train",
    "--data",
    "data",
    "--size",
    "64",
    "--epochs",
    "3",
    "--head",
    "linear",
    "--batch-size",
    "8",
    "--unfreeze",
    "blocks.6",
    "--fine-tune-epochs",
    "3",
    "--fine-tune-batch",
    "8",
    "--out",
    "run",
    "--json",
];

fn stage(others: &[&str]) -> Vec<String> {
    // Switches last: the others come in pairs.
    let pairs = varied(&STAGE[..19], others);
    pairs.into_iter().chain(["--json"]).map(str::to_owned).collect()
}

fn trained(here: &Path, others: &[&str]) -> Value {
    let arguments = stage(others);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(here, &arguments).expect(0).json()
}

/// The tensors of a model, without its description.
fn tensors(model: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(model).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<(String, Vec<u8>)> =
        file.tensors().into_iter().map(|(name, t)| (name, t.data().to_vec())).collect();
    all.sort();
    all
}

fn same(here: &Path, a: &str, b: &str) {
    for file in ["history.csv", "fine-tune/history.csv", "fine-tune/history.jsonl"] {
        let read = |run: &str| fs::read(here.join(run).join(file)).unwrap();
        assert!(read(a) == read(b), "{file} of {b} differs");
    }
    let model = |run: &str| tensors(&here.join(run).join("model.safetensors"));
    assert!(model(a) == model(b), "the weights of {b} differ");
}

#[test]
fn the_last_stage_is_trained_from_the_heads_weights_and_works_everywhere() {
    let folder = pictures();
    let here = folder.path();
    let answer = trained(here, &["--fine-tune-rate", "0.003"]);
    let tuned = &answer["fine_tune"];
    assert_eq!(tuned["from"], "blocks.6.0.conv_pw", "{tuned}");
    assert_eq!(tuned["epochs"], 3);
    assert_eq!(tuned["kept"], "maps");
    assert_eq!(tuned["tried"].as_array().unwrap().len(), 11);
    assert_eq!(answer["epochs"], 3);
    for file in ["history.csv", "fine-tune/history.csv", "fine-tune/history.jsonl", "curves.png"] {
        assert!(here.join("run").join(file).is_file(), "{file}");
    }
    let lines = |file: &str| fs::read_to_string(here.join("run").join(file)).unwrap();
    assert_eq!(lines("history.csv").lines().count(), 4);
    assert_eq!(lines("fine-tune/history.csv").lines().count(), 4);

    // Its own layers are in the model, and what lies below them is as it was.
    run(
        here,
        &[
            "train",
            "--data",
            "data",
            "--size",
            "64",
            "--epochs",
            "3",
            "--head",
            "linear",
            "--batch-size",
            "8",
            "--out",
            "head",
        ],
    )
    .expect(0);
    let (own, frozen) = (here.join("run/model.safetensors"), here.join("head/model.safetensors"));
    let differ: Vec<String> = tensors(&own)
        .into_iter()
        .zip(tensors(&frozen))
        .filter(|(own, frozen)| own.1 != frozen.1)
        .map(|(own, _)| own.0)
        .collect();
    assert_ne!(tuned["alpha"], 0.0, "{tuned}");
    assert!(differ.iter().any(|name| name == "backbone.conv_head.weight"), "{differ:?}");
    let learned = tuned["trained_parameters"].as_u64().unwrap() + 1280 * 2 + 2;
    assert_eq!(answer["parameters"]["trainable"], learned);
    let above = |name: &str| {
        ["backbone.blocks.6.", "backbone.conv_head.", "backbone.bn2.", "head.", "calibration."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    assert!(differ.iter().all(|name| above(name)), "{differ:?}");

    // It is evaluated to the same figures, predicts, and describes itself.
    let model = own.to_str().unwrap();
    let evaluated = run(here, &["evaluate", model, "--data", "data", "--json"]).expect(0).json();
    assert_eq!(evaluated["accuracy"], answer["test"]["accuracy"], "{evaluated}");
    run(here, &["predict", model, "data/test/red/00.jpg"]).expect(0);
    let info = run(here, &["info", model, "--json"]).expect(0).json();
    assert_eq!(info["fine_tuning"]["from"], "blocks.6.0.conv_pw");
    assert_eq!(info["fine_tuning"]["alpha"], tuned["alpha"]);
    let before = &info["fine_tuning"]["before"];
    assert_eq!(before["validation"]["accuracy"], tuned["probe_val_accuracy"]);
    assert_eq!(before["test"]["accuracy"], tuned["probe_test_accuracy"]);
    let told = run(here, &["info", "run"]).expect(0).stdout;
    for words in ["head alone ", "fine-tuned    from 'blocks.6.0.conv_pw' on", "began with"] {
        assert!(told.contains(words), "{words} is missing in {told}");
    }
    let told = run(here, &["info", "head"]).expect(0).stdout;
    assert!(!told.contains("fine-tuned") && told.contains("(the network's weights)"), "{told}");
    for model in ["run", model] {
        let summary = run(here, &["summary", "--model", model, "--json"]).expect(0).json();
        assert_eq!(summary["input"], serde_json::json!([64, 64]));
        for count in ["total", "trainable"] {
            assert_eq!(summary["parameters"][count], answer["parameters"][count]);
        }
    }
    run(here, &["summary", "--model", "run", "--head", "linear"]).complains(2, &["--head", "own"]);
    let embed = ["embed", "--model", "run", "--data", "data", "--out", "f.safetensors"];
    run(here, &embed).complains(2, &["not the name of a network", "--weights"]);

    // And is where further training begins.
    let arguments = ["--weights", "run", "--out", "again", "--unfreeze", "last:2"];
    let again = trained(here, &arguments);
    assert!(again["weights"].as_str().unwrap().contains("model.safetensors"), "{again}");
    assert_eq!(again["fine_tune"]["from"], "blocks.6.0.conv_pwl");
    let further = run(here, &["info", "again", "--json"]).expect(0).json();
    for field in ["licence", "source"] {
        assert!(info[field].is_string() && info[field] == further[field], "{further}");
    }
    let origin = further["weights"].as_str().unwrap();
    assert!(origin.contains("built in") && origin.contains("then fine-tuned from"), "{origin}");
}

/// A disk that becomes full while the network is trained: checkpoints of heads are small.
#[cfg(unix)]
#[test]
fn a_full_disk_in_the_second_phase_keeps_the_run() {
    let folder = pictures();
    let here = folder.path();
    let limited = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
    let mut child = std::process::Command::new("bash");
    child.args(["-c", limited, env!("CARGO_BIN_EXE_taper")]).args(stage(&[])).current_dir(here);
    let ran = Ran::of(child.output().unwrap()).expect(1);
    assert!(ran.stderr.contains("taper train --resume run"), "{}", ran.stderr);
    assert!(ran.stderr.contains("keeps what was trained"), "{}", ran.stderr);
    // What `kill -9` leaves of a file goes, too.
    let unfinished = here.join("run/fine-tune/checkpoints/.taper-0123.partial");
    fs::create_dir_all(unfinished.parent().unwrap()).unwrap();
    fs::write(&unfinished, "half of a checkpoint").unwrap();
    run(here, &["train", "--resume", "run"]).expect(0);
    assert!(!unfinished.exists());
    trained(here, &["--out", "other"]);
    same(here, "run", "other");
}

#[test]
fn each_phase_says_how_it_ended() {
    let folder = pictures();
    let here = folder.path();
    let wild = ["--epochs", "9", "--patience", "1", "--learning-rate", "30"];
    let answer = trained(here, &[&wild[..], &["--fine-tune-epochs", "1"]].concat());
    assert!(answer["epochs"].as_u64().unwrap() < 9, "{answer}");
    assert_eq!(answer["head_stopped"], "early");
    assert_eq!(answer["stopped"], "completed");
    assert_eq!(answer["fine_tune"]["stopped"], "completed");
    let told = run(here, &["train", "--resume", "run"]).expect(0).stdout;
    assert!(told.contains("(stopped early), weights of epoch"), "{told}");
    assert!(told.contains("fine-tuned    1 epoch from"), "{told}");
}

#[test]
fn folds_are_compared_with_their_heads() {
    let folder = pictures();
    let here = folder.path();
    let answer = trained(here, &["--folds", "2", "--fine-tune-epochs", "1"]);
    let folds = answer["folds"].as_array().unwrap();
    let mean =
        folds.iter().map(|f| f["fine_tune"]["probe_val_loss"].as_f64().unwrap()).sum::<f64>()
            / folds.len() as f64;
    let told = answer["head_alone"]["val_loss"]["mean"].as_f64().unwrap();
    assert!((mean - told).abs() < 1e-12, "{mean} and {told}");
    let told = run(here, &["train", "--resume", "run"]).expect(0).stdout;
    assert!(told.contains("before fine-tuning, with the head alone"), "{told}");
}

#[test]
fn fields_of_a_recipe_without_effect_are_refused() {
    let folder = pictures();
    let here = folder.path();
    for (fields, words) in [
        ("epochs = 4\npatience = 4", ["own.toml': fine_tune.patience is 4", "stop early"]),
        ("epochs = 4\nsteps = 30", ["own.toml': fine_tune.epochs is 4", "fine_tune.steps"]),
        ("epochs = 4\nsoup = 5", ["fine_tune.soup is 5", "4 of"]),
        ("from = 'last:x'", ["fine_tune.from is 'last:x'", "last: with a number"]),
        ("zero_head = true", ["own.toml': epochs is 30", "fine_tune.zero_head"]),
        ("steps = 1\npatience = 5", ["own.toml': fine_tune.patience is 5", "1 steps are 1 epoch"]),
        ("steps = 1\nsoup = 2", ["fine_tune.soup is 2", "not so many to average"]),
        (
            "from = 'blocks.6'\n[[fine_tune.optimizer.groups]]\nprefix = 'blocks.6'",
            ["fine_tune.optimizer.groups.prefix is 'blocks.6'", "backbone."],
        ),
        (
            "memory = 0.0001\nbatch_norm = 'train'",
            ["own.toml': fine_tune.batch_size is 32", "0.0001 GiB"],
        ),
    ] {
        let recipe = format!("data = 'data'\n[fine_tune]\n{fields}\n");
        fs::write(here.join("own.toml"), recipe).unwrap();
        run(here, &["train", "own.toml", "--out", "run"]).complains(2, &words);
        assert!(!here.join("run").exists());
    }
    // What a recipe says for more epochs gives way to an option for fewer.
    let few = ["train", "--data", "data", "--recipe", "autogluon", "--size", "32", "--out", "run"];
    run(here, &[&few[..], &["--fine-tune-epochs", "2"]].concat()).expect(0);
    let recipe = fs::read_to_string(here.join("run/recipe.toml")).unwrap();
    let phase = recipe.split_once("[fine_tune]").unwrap().1;
    assert!(phase.contains("soup = 2") && !phase.contains("patience"), "{recipe}");
}

/// What a network or a place has no use for is refused, or fitted where a named recipe asks for it.
#[test]
fn settings_fit_the_network_and_the_place() {
    let folder = pictures();
    let here = folder.path();
    let quick = ["train", "--data", "data", "--size", "32", "--epochs", "1", "--out", "run"];
    let with = |extra: &[&str]| run(here, &[&quick[..], extra].concat());
    for (extra, words) in [
        (&["--unfreeze", "bn2"][..], &["--unfreeze is 'bn2'", "'conv_head'", "--batch-norm"][..]),
        (&["--unfreeze", "blocks.6.0.bn1"], &["'blocks.6.0.conv_pw'"]),
        (&["--unfreeze", "blocks.6", "--precision", "auto"], &["--precision is auto", "f32"]),
    ] {
        with(extra).complains(2, words);
    }
    with(&["--unfreeze", "bn2", "--batch-norm", "train", "--fine-tune-epochs", "1"]).expect(0);
    // Named recipes are for all networks; an option is taken at its word.
    let named = ["train", "--data", "data", "--size", "32", "--recipe", "autogluon"];
    let convnext = ["--model", "convnext-atto", "--weights", "random", "--fine-tune-epochs", "1"];
    let all = |more: &[&str]| run(here, &[&named[..], &convnext, more].concat());
    all(&["--out", "named"]).expect(0);
    let recipe = fs::read_to_string(here.join("named/recipe.toml")).unwrap();
    assert!(recipe.contains("batch_norm = \"frozen\""), "{recipe}");
    all(&["--batch-norm", "train"]).complains(2, &["--batch-norm is train", "use frozen"]);
    // All at one rate, from the first step on.
    let keras = ["train", "--data", "data", "--size", "32", "--recipe", "keras", "--out", "keras"];
    let few = ["--epochs", "1", "--fine-tune-epochs", "2"];
    run(here, &[&keras[..], &few].concat()).expect(0);
    let history = fs::read_to_string(here.join("keras/fine-tune/history.csv")).unwrap();
    assert_eq!(history.matches(",1e-05,").count(), 2, "{history}");
    // The finder's remark on a handful of pictures, in this phase too.
    let found = ["--unfreeze", "last:1", "--fine-tune-epochs", "1", "--fine-tune-rate", "auto"];
    let answer =
        run(here, &[&quick[..5], &["--epochs", "1", "--out", "auto", "--json"], &found].concat());
    let answer = answer.expect(0).json().to_string();
    assert!(answer.contains("how fast these few are memorised") && answer.contains("0.0003"));
}

#[test]
fn maps_that_are_kept_or_made_again_and_any_threads_give_the_same_bytes() {
    let folder = pictures();
    let here = folder.path();
    trained(here, &["--out", "kept"]);
    let recipe = fs::read_to_string(here.join("kept/recipe.toml")).unwrap();
    let without = recipe.replace("cache_memory = 4.0", "cache_memory = 0.0");
    assert_ne!(recipe, without);
    fs::write(here.join("without.toml"), without).unwrap();
    let answer = run(here, &["train", "without.toml", "--out", "made", "--json"]).expect(0).json();
    assert_eq!(answer["fine_tune"]["kept"], "nothing", "{answer}");
    same(here, "kept", "made");
    for threads in ["1", "3", "8"] {
        let name = format!("threads{threads}");
        let mut command = taper(here);
        command.args(stage(&["--out", &name])).env("RAYON_NUM_THREADS", threads);
        Ran::of(command.output().unwrap()).expect(0);
        same(here, "kept", &name);
    }
    // Half precision is rounded the same way in both.
    trained(here, &["--out", "half", "--cache-precision", "f16"]);
    let recipe = fs::read_to_string(here.join("half/recipe.toml")).unwrap();
    let without = recipe.replace("cache_memory = 4.0", "cache_memory = 0.0");
    fs::write(here.join("half.toml"), without).unwrap();
    run(here, &["train", "half.toml", "--out", "half-made"]).expect(0);
    same(here, "half", "half-made");
}

#[cfg(unix)]
#[test]
fn killed_in_either_phase_a_run_goes_on_to_the_same_bytes() {
    let folder = pictures();
    let here = folder.path();
    let all = ["--views", "2", "--ema", "0.9", "--unfreeze", "all", "--batch-norm", "train"];
    let with = |out: &'static str| stage(&[&all[..], &["--out", out]].concat());
    let start = Instant::now();
    let whole = Ran::of(taper(here).args(with("whole")).output().unwrap()).expect(0).json();
    let time = start.elapsed();
    assert_eq!(whole["fine_tune"]["kept"], "pixels");
    let mut kills = 0;
    for (name, share) in [("early", 0.35), ("late", 0.7), ("last", 0.85)] {
        let mut child = taper(here)
            .args(with(name))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(time.mul_f64(share));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
        if here.join(name).exists() {
            run(here, &["train", "--resume", name]).expect(0);
        } else {
            run(here, &with(name).iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
        }
        same(here, "whole", name);
    }
    assert!(kills > 0, "every run was faster than {time:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_fine_tuning_leaves_the_heads_model_and_can_go_on() {
    let folder = pictures();
    let here = folder.path();
    let long = ["--unfreeze", "all", "--fine-tune-epochs", "400", "--fine-tune-patience", "399"];
    let child = taper(here)
        .args(stage(&long))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let there = here.join("run/fine-tune/checkpoints");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !there.exists() {
        assert!(Instant::now() < deadline, "{} does not appear", there.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(130);
    assert!(ran.stderr.contains("--resume run"), "{}", ran.stderr);
    run(here, &["predict", "run", "data/test/red/00.jpg"]).expect(0);
    let result = fs::read_to_string(here.join("run/result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["stopped"], "interrupted");
    assert_eq!(result["fine_tune"]["alpha"], 0.0);
}

#[test]
fn every_kind_of_network_and_view_can_be_tuned() {
    let folder = pictures();
    let here = folder.path();
    let random = ["--weights", "random", "--fine-tune-epochs", "1", "--epochs", "1"];
    for (model, from) in [
        ("resnet18", "layer4"),
        ("mobilenet-v2", "last:3"),
        ("convnext-atto", "stages.3"),
        ("dinov2-small", "blocks.11"),
    ] {
        let name = format!("{model}-run");
        let size = if model == "dinov2-small" { "112" } else { "64" };
        let own = ["--model", model, "--unfreeze", from, "--out", &name, "--size", size];
        let answer = trained(here, &[&random[..], &own[..]].concat());
        assert_eq!(answer["fine_tune"]["epochs"], 1, "{model}");
        run(here, &["evaluate", &name, "--data", "data"]).expect(0);
    }
    // New views in every epoch, mixed, with accumulation.
    let mixed = ["--mix", "mixup", "--views", "2", "--augment", "standard", "--out", "mixed"];
    trained(here, &mixed);
    let fresh = stage(&["--augment", "standard", "--mix", "cutmix", "--out", "fresh"]);
    let mut fresh: Vec<&str> = fresh.iter().map(String::as_str).collect();
    fresh.push("--fresh-views");
    let answer = run(here, &fresh).expect(0).json();
    assert_eq!(answer["fine_tune"]["kept"], "nothing");
}

#[test]
fn named_recipes_are_printed_and_run() {
    let folder = pictures();
    let here = folder.path();
    let listed = run(here, &["recipes"]).expect(0).stdout;
    let few = ["--data", "data", "--size", "32"];
    for name in ["lp-ft", "fastai", "bit", "keras", "autogluon"] {
        assert!(listed.contains(name), "{listed}");
        let printed = run(here, &["recipes", name]).expect(0).stdout;
        let file = format!("{name}.toml");
        fs::write(here.join(&file), &printed).unwrap();
        let mut short = vec!["train", "--recipe", name, "--out", name];
        short.extend(few);
        short.extend(["--fine-tune-epochs", "2", "--fine-tune-batch", "8", "--json"]);
        if name == "bit" {
            // Its schedule is counted in steps.
            let text = printed.replace("{ steps = 100 }", "{ steps = 1 }");
            fs::write(here.join(&file), text).unwrap();
            short.splice(1..3, [file.as_str()]);
        }
        let answer = run(here, &short).expect(0).json();
        assert_eq!(answer["fine_tune"]["epochs"], 2, "{name}: {answer}");
    }
    run(here, &["recipes", "lpft"]).complains(2, &["'lpft'", "lp-ft, fastai"]);
}

#[test]
fn the_finder_searches_where_fine_tuning_begins() {
    let folder = pictures();
    let here = folder.path();
    let mut arguments = vec!["lr-find", "--data", "data", "--size", "32", "--head", "linear"];
    arguments.extend(["--unfreeze", "blocks.6", "--batch-size", "8", "--steps", "80"]);
    arguments.extend(["--start", "1e-6", "--end", "0.1", "--out", "found", "--json"]);
    let found = run(here, &arguments).expect(0).json();
    assert!(found["chosen"].as_f64().unwrap() > 0.0);
    let automatic = trained(here, &["--fine-tune-rate", "auto", "--fine-tune-epochs", "1"]);
    assert!(here.join("run/fine-tune/lr_find.png").is_file());
    assert_ne!(automatic["fine_tune"]["learning_rate"], 3e-4);
}

#[test]
fn what_cannot_be_tuned_is_said_before_anything_is_computed() {
    let folder = pictures();
    let here = folder.path();
    let complain = |others: &[&str], words: &[&str]| {
        let arguments = stage(others);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(here, &arguments).complains(2, words);
        assert!(!here.join("run").exists());
    };
    complain(&["--unfreeze", "block.6"], &["block.6", "blocks.6"]);
    complain(&["--unfreeze", "last:99"], &["--unfreeze is last:99: the network has"]);
    let above = ["--cut", "blocks.3", "--unfreeze", "blocks.5"];
    complain(&above, &["--unfreeze is blocks.5", "cut at 'blocks.3'"]);
    let vgg = ["--model", "vgg11", "--weights", "random", "--unfreeze", "last:1"];
    let vgg = [&vgg[..], &["--batch-norm", "train"]].concat();
    complain(&vgg, &["--batch-norm is train", "nothing that is trained has BatchNorm"]);
    complain(&["--unfreeze", "last:x"], &["'--unfreeze <LAYER|last:N|all>': use none, all"]);
    complain(&["--layer-decay", "0"], &["--layer-decay is 0"]);
    complain(&["--fine-tune-epochs", "0"], &["--fine-tune-epochs is 0"]);
    complain(&["--fine-tune-batch", "0"], &["--fine-tune-batch is 0"]);
    complain(&["--precision", "bf16"], &["--precision is bf16", "f32"]);
    complain(&["--fine-tune-patience", "3"], &["--fine-tune-patience is 3", "3 epochs"]);
    complain(&["--unfreeze", "all", "--cache-precision", "f16"], &["--cache-precision is f16"]);
    complain(&["--epochs", "0", "--batch-size", "8"], &["--batch-size is 8", "0 --epochs"]);
    let head = ["train", "--data", "data", "--layer-decay", "0.5"];
    run(here, &head).complains(2, &["--layer-decay is 0.5", "--unfreeze"]);
}

#[test]
fn a_tuned_part_of_a_network_can_be_tuned_further() {
    let folder = pictures();
    let here = folder.path();
    trained(here, &["--unfreeze", "last:1", "--cut", "blocks.3"]);
    let further = ["--weights", "run", "--unfreeze", "last:2", "--cut", "blocks.3", "--out", "two"];
    trained(here, &further);
    let embed =
        ["embed", "--data", "data", "--size", "64", "--weights", "run", "--cut", "blocks.3"];
    run(here, &[&embed[..], &["--out", "features.safetensors"]].concat()).expect(0);
    // Without the cut, what lies above it is missing.
    let whole = stage(&["--weights", "run", "--out", "three"]);
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    run(here, &whole).complains(2, &["missing", "blocks.4", "'blocks.3.2.bn3'", "--cut"]);
}

#[test]
fn settings_of_the_phase_that_cannot_work_are_found_before_it() {
    let folder = pictures();
    let here = folder.path();
    let bit = ["train", "--data", "data", "--recipe", "bit", "--fine-tune-epochs", "2"];
    run(here, &bit).complains(2, &["fine_tune.schedule.warmup is 100", "--fine-tune-epochs"]);
    let one = stage(&["--head", "tutorial", "--fine-tune-batch", "1", "--batch-norm", "train"]);
    let one: Vec<&str> = one.iter().map(String::as_str).collect();
    run(here, &one).complains(2, &["--fine-tune-batch", "2 or more"]);
    assert!(!here.join("run").exists());
}
