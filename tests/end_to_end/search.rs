//! The best classifier within a time.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{pictures, run, taper};

fn search<'a>(preset: &'a str, limit: &'a str, out: &'a str) -> Vec<&'a str> {
    let own = ["train", "--data", "data", "--size", "32", "--preset", preset];
    [&own[..], &["--time-limit", limit, "--out", out]].concat()
}

fn report(here: &Path, run: &str) -> Value {
    let text = fs::read_to_string(here.join(run).join("search.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_search_keeps_the_best_and_its_recipe_repeats_it_without_a_clock() {
    let folder = pictures();
    let here = folder.path();
    let searched = search("balanced", "5m", "found");
    let searched = run(here, &[&searched[..], &["--json"]].concat()).expect(0).json();
    let own = &searched["search"];
    assert_eq!(own["ended"], "complete", "{own}");
    assert_eq!(own["pictures"], 32);
    let names: Vec<&str> =
        own["tried"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["fast", "squash"]);
    assert!(names.iter().any(|name| name.ends_with("4 standard views")), "{names:?}");
    assert!(names.iter().any(|name| name.ends_with("cosine head")), "{names:?}");
    for tried in own["tried"].as_array().unwrap().iter().skip(1) {
        let gain = &tried["gain"];
        let real = gain["brier"].as_f64().unwrap() > gain["standard_error"].as_f64().unwrap()
            && gain["accuracy"].as_f64().unwrap() >= 0.0;
        assert_eq!(tried["kept"], real, "{tried}");
    }
    assert_eq!(own["steps"][0]["name"], "fast");
    let found = here.join("found");
    assert_eq!(report(here, "found"), *own);
    assert_eq!(
        fs::read_to_string(found.join("tried.csv")).unwrap().lines().count(),
        names.len() + 1
    );

    run(here, &["train", "found/recipe.toml", "--out", "again"]).expect(0);
    let model = |run: &str| fs::read(here.join(run).join("model.safetensors")).unwrap();
    assert!(model("found") == model("again"));
    // What was found is a run like any other.
    run(here, &["predict", "found", "data/test/red/00.jpg"]).expect(0);
    let result: Value =
        serde_json::from_slice(&fs::read(found.join("result.json")).unwrap()).unwrap();
    assert_eq!(result["run"], "found");
    // There is nothing left to do.
    let again = run(here, &["train", "--resume", "found", "--json"]).expect(0).json();
    assert_eq!(again["search"]["tried"], own["tried"]);
    assert_eq!(again["search"]["steps"], own["steps"]);
    assert!(model("found") == model("again"));
    // With more time it goes on, also where the folder and its pictures have moved.
    run(here, &["train", "--resume", "found", "--time-limit", "1s"])
        .complains(2, &["--time-limit is 1s: the search has used"]);
    fs::rename(here.join("data"), here.join("moved")).unwrap();
    fs::rename(&found, here.join("elsewhere")).unwrap();
    let resume = ["train", "--resume", "elsewhere", "--time-limit", "10m", "--json"];
    run(here, &resume).complains(2, &["say where to with --data"]);
    let again = run(here, &[&resume[..], &["--data", "moved"]].concat()).expect(0).json();
    assert_eq!(again["run"], "elsewhere");
    let seconds = |tried: &Value| -> Vec<f64> {
        tried.as_array().unwrap().iter().map(|own| own["seconds"].as_f64().unwrap()).collect()
    };
    // Nothing was judged again.
    assert_eq!(seconds(&again["search"]["tried"]), seconds(&own["tried"]));
}

#[test]
fn fine_tuning_is_judged_too_and_other_networks() {
    let folder = pictures();
    let here = folder.path();
    let arguments = search("best", "10m", "found");
    let models = "efficientnet-lite0,resnet18=weights.safetensors";
    let refused = run(here, &[&arguments[..], &["--models", models]].concat());
    refused.complains(2, &["--models is 'resnet18=weights.safetensors': there is no such file"]);
    assert!(!here.join("found").exists());
    // A network whose weights cannot be fetched is left out, and random ones are no better.
    let models = "efficientnet-lite0,resnet18,mobilenet-v4-small=random";
    let arguments = [&arguments[..], &["--models", models, "--json"]].concat();
    let ran = run(here, &arguments).expect(0);
    assert!(ran.stderr.contains("resnet18: left out"), "{ran:#?}");
    let searched = ran.json();
    let own = &searched["search"];
    let tried = own["tried"].as_array().unwrap();
    let other =
        tried.iter().find(|tried| tried["name"].as_str().unwrap().ends_with("mobilenet-v4-small"));
    assert_eq!(other.unwrap()["kept"], false, "{own}");
    let tuned: Vec<&Value> = tried
        .iter()
        .filter(|tried| tried["name"].as_str().unwrap().contains("epochs of all layers"))
        .collect();
    assert!(tuned.len() >= 2, "{own}");
    assert!(tuned.iter().all(|tried| tried["folds"].as_u64() >= Some(1)), "{own}");
}

#[test]
fn a_killed_search_leaves_a_model_and_goes_on() {
    let folder = pictures();
    let here = folder.path();
    let arguments = search("balanced", "5m", "found");
    let mut child = taper(here).args(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let judged = here.join("found/search/judged");
    let deadline = Instant::now() + Duration::from_secs(120);
    let count =
        || fs::read_dir(&judged).map_or(0, |entries| entries.flatten().filter(is_score).count());
    while count() < 7 {
        assert!(Instant::now() < deadline, "nothing is judged");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    run(here, &["predict", "found", "data/test/red/00.jpg"]).expect(0);
    let time = |name: &Path| fs::metadata(name).unwrap().modified().unwrap();
    let done: Vec<_> = fs::read_dir(&judged).unwrap().flatten().filter(is_score).collect();
    let before: Vec<_> = done.iter().map(|entry| time(&entry.path())).collect();
    // With hardly any time, what was judged still counts.
    let used = report(here, "found");
    let limit = format!("{:.3}s", used["seconds"].as_f64().unwrap() + 0.5);
    let brief = ["train", "--resume", "found", "--time-limit", &limit, "--json"];
    let brief = run(here, &brief).expect(0).json();
    let rows = |report: &Value| report["tried"].as_array().unwrap().len();
    assert!(rows(&brief["search"]) >= rows(&used), "{brief}");
    let resume = ["train", "--resume", "found", "--time-limit", "5m", "--json"];
    let resumed = run(here, &resume).expect(0).json();
    // What was judged is not judged again.
    let after: Vec<_> = done.iter().map(|entry| time(&entry.path())).collect();
    assert_eq!(before, after);
    let whole = [&search("balanced", "5m", "whole")[..], &["--json"]].concat();
    let whole = run(here, &whole).expect(0).json();
    assert_eq!(resumed["search"]["chosen"], whole["search"]["chosen"]);
    assert_eq!(resumed["val_loss"], whole["val_loss"]);
    let scores = |run: &str| {
        let judged = here.join(run).join("search/judged");
        fs::read_dir(judged).unwrap().flatten().filter(is_score).count()
    };
    assert_eq!(scores("found"), scores("whole"));
}

fn is_score(entry: &fs::DirEntry) -> bool {
    entry.path().extension().is_some_and(|ending| ending == "json")
}

#[test]
fn near_copies_stay_together_and_the_time_is_kept() {
    let folder = pictures();
    let here = folder.path();
    // Of each picture a copy that only differs in its bytes.
    for class in ["blue", "red"] {
        for n in 0..12 {
            let own = here.join(format!("data/train/{class}/{n:02}.jpg"));
            let picture = image::open(&own).unwrap();
            picture.save(own.with_file_name(format!("copy-{n:02}.png"))).unwrap();
        }
    }
    let begun = Instant::now();
    let arguments = [&search("best", "6s", "found")[..], &["--json"]].concat();
    let searched = run(here, &arguments).expect(0).json();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let own = &searched["search"];
    assert_eq!(own["pictures"], 56);
    assert!(own["groups"].as_u64().unwrap() <= 32, "{own}");
    assert!(here.join("found/model.safetensors").is_file());
}

#[test]
fn what_a_search_decides_is_refused_as_an_option() {
    let folder = pictures();
    let here = folder.path();
    let refused = |others: &[&str], words: &[&str]| {
        run(here, &[&["train", "--data", "data"], others].concat()).complains(2, words);
    };
    let best = ["--preset", "best"];
    let with = |others: &[&'static str]| [&best[..], others].concat();
    refused(&with(&["--epochs", "3"]), &["--epochs is 3: the preset chooses it"]);
    refused(&with(&["--head", "linear"]), &["--head is linear"]);
    refused(&with(&["--seeds", "3"]), &["--seeds is 3: a search has folds of its own"]);
    refused(&with(&["--precision", "bf16"]), &["--precision is bf16: a search does not take it"]);
    refused(&with(&["--recipe", "lp-ft"]), &["--recipe is lp-ft: a search begins with"]);
    refused(&with(&["--models", "resnet18,"]), &["a name is missing"]);
    fs::write(here.join("no-weights"), "text").unwrap();
    let damaged = ["--models", "efficientnet-lite0,resnet18=no-weights"];
    let damaged = [&["train", "--data", "data"], &with(&damaged)[..]].concat();
    run(here, &damaged).complains(1, &["no-weights", "are damaged"]);
    refused(&with(&["--unfreeze", "all"]), &["--unfreeze is all"]);
    refused(&with(&["--time-limit", "1s"]), &["--time-limit is 1s: use 5s or more"]);
    refused(&with(&["--val", "test"]), &["--val is test"]);
    refused(&with(&["--models", "resnet51"]), &["resnet51"]);
    let twice = "resnet18,resnet18";
    refused(&with(&["--models", twice]), &["--models is 'resnet18': it is there twice"]);
    let named = ["--models", "resnet18", "--model", "resnet18"];
    refused(&with(&named), &["--model is resnet18: --models names the networks"]);
    refused(&["--time-limit", "3m"], &["--time-limit is 3m: only a search has it"]);
    refused(&with(&["--time-limit", "3"]), &["'3'", "it is no time: use a number with its unit"]);
    let goes_on = |folder: &str, code: i32, words: &[&str]| {
        run(here, &["train", "--resume", folder, "--time-limit", "8s"]).complains(code, words);
    };
    goes_on("nowhere", 2, &["nowhere", "no such folder"]);
    goes_on("data", 2, &["--time-limit is 8s: only a search goes on within a time"]);
    refused(&["--preset", "fast", "--models", "resnet18"], &["--models is resnet18"]);
    refused(&["--preset", "bst"], &["fast, balanced, best"]);
    run(here, &["train", "--data", "none", "--preset", "best"]).complains(2, &["--data is 'none'"]);
}
