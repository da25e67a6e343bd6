//! Every flag that is given has an effect, or is refused together with the flag that takes its
//! effect away. docs/command-line.md lists the pairs.

use std::fs;

use serde_json::Value;

use crate::support::{QUICK, pictures, pictures_from, quick_with, run, varied};

/// Augmentation without a number of views is not dropped: there are two.
#[test]
fn a_policy_alone_gives_two_views() {
    let folder = pictures();
    let here = folder.path();
    let train = |extra: &[&str], out: &str| -> Value {
        let arguments = quick_with(&[&["--out", out, "--json"], extra].concat());
        run(here, &arguments).expect(0).json()
    };
    let plain = train(&[], "plain");
    assert_eq!(plain["pictures"][0], 24);
    let history = |run: &str| fs::read_to_string(here.join(run).join("history.csv")).unwrap();
    for (out, extra, pictures) in [
        ("standard", &["--augment", "standard"][..], 48),
        ("light", &["--augment", "light"], 48),
        ("fresh", &["--augment", "flip", "--fresh-views"], 24),
        ("mixed", &["--augment", "light", "--mix", "mixup"], 48),
    ] {
        assert_eq!(train(extra, out)["pictures"][0], pictures, "{out}");
        assert_ne!(history(out), history("plain"), "{out}");
    }
    assert_eq!(train(&["--augment", "none"], "none")["pictures"][0], 24);

    // The same in a recipe file that somebody wrote; what runs have written stays valid.
    fs::write(here.join("own.toml"), "data = 'data'\nsize = 64\nepochs = 2\naugment = 'flip'\n")
        .unwrap();
    let own = run(here, &["train", "own.toml", "--out", "own", "--json"]).expect(0).json();
    assert_eq!(own["pictures"][0], 48);
    let written = fs::read_to_string(here.join("plain/recipe.toml")).unwrap();
    assert!(written.contains("augment = \"light\"") && written.contains("views = 1"), "{written}");
    let again = run(here, &["train", "plain/recipe.toml", "--out", "again", "--json"]).expect(0);
    assert_eq!(again.json()["pictures"][0], 24);
    assert_eq!(history("again"), history("plain"));
    let more = ["train", "plain/recipe.toml", "--augment", "flip", "--out", "more", "--json"];
    assert_eq!(run(here, &more).expect(0).json()["pictures"][0], 48);
}

/// What is given to the command, and what the message must name.
type Case<'a> = (&'a [&'a str], &'a [&'a str]);

#[track_caller]
fn refused(command: &[&str], cases: &[Case<'_>]) {
    let folder = pictures();
    let here = folder.path();
    for (extra, words) in cases {
        let ran = run(here, &varied(command, extra));
        assert!(!ran.stderr.contains("features:"), "before anything is computed: {ran:#?}");
        ran.complains(2, words);
        let mut left: Vec<_> =
            fs::read_dir(here).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.retain(|name| name != "data" && name != "features");
        assert!(left.is_empty(), "{extra:?} leaves {left:?}");
    }
}

/// What is wrong in a recipe is said of the recipe, not of flags that nobody gave.
#[test]
fn errors_name_the_recipe_or_the_flag_that_was_given() {
    let folder = pictures();
    let here = folder.path();
    let recipe = "data = 'data'\nsize = 64\nbatch_size = 0\n[fine_tune]\nepochs = 0\n";
    fs::write(here.join("own.toml"), recipe).unwrap();
    let cases: [Case<'_>; 4] = [
        (&["own.toml"], &["error: recipe 'own.toml': batch_size is 0: use 1 or more"]),
        (&["own.toml", "--batch-size", "0"], &["error: --batch-size is 0: use 1 or more"]),
        (&["own.toml", "--batch-size", "8"], &["recipe 'own.toml': fine_tune.epochs is 0"]),
        (&["data", "--recipe", "bit", "--unfreeze", "none"], &["recipe 'bit': epochs is 0"]),
    ];
    for (arguments, words) in cases {
        run(here, &[&["train"], arguments].concat()).complains(2, words);
    }
    let few = ["--recipe", "autogluon", "--unfreeze", "last:1", "--fine-tune-epochs", "2"];
    let ran = run(here, &quick_with(&[&few[..], &["--out", "few"]].concat())).expect(0);
    let words = "with 2 epochs of fine-tuning, it never stops early, and 2 sets of weights are";
    assert!(ran.stderr.contains(words), "{ran:#?}");
}

#[test]
fn training_refuses_what_would_change_nothing() {
    refused(
        &QUICK,
        &[
            (&["--augment", "standard", "--views", "1"], &["--augment is standard", "--views"]),
            (&["--min-delta", "0.1"], &["--min-delta", "--patience"]),
            (&["--patience", "3"], &["--patience is 3", "--epochs"]),
            (&["--reduce-lr", "5"], &["--reduce-lr is 5", "--epochs"]),
            (&["--checkpoint-every", "4"], &["--checkpoint-every is 4", "--epochs"]),
            (&["--fold", "1"], &["--fold is 1", "--folds"]),
            (&["--folds", "2", "--val", "0.2"], &["--val", "--folds"]),
            (&["--views", "2", "--augment", "none"], &["--views is 2", "--augment"]),
            (&["--warmup", "3"], &["--warmup is 3", "--epochs"]),
            (&["--warmup", "0"], &["--warmup is 0", "--epochs"]),
            (&["--cache", "off", "--cache-size", "2"], &["--cache-size", "--cache"]),
            (&["--group-by", "blue|red"], &["--group-by", "--val"]),
            (&["other", "--data", "data"], &["'other'", "--data"]),
            (&["--resume", "run"], &["--resume"]),
        ],
    );
}

#[test]
fn nothing_can_be_given_twice() {
    refused(
        &QUICK,
        &[
            (&["--data", "data", "--data", "other"], &["--data", "multiple times"]),
            (&["--epochs", "2", "--epochs", "3"], &["--epochs", "multiple times"]),
            (&["--views", "2", "--views", "3"], &["--views", "multiple times"]),
        ],
    );
    refused(
        &["lr-find", "--data", "data"],
        &[(&["--data", "data", "--data", "other"], &["--data", "multiple times"])],
    );
}

#[test]
fn the_finder_refuses_what_steers_a_training() {
    refused(
        &["lr-find", "--data", "data", "--size", "64"],
        &[
            (&["--epochs", "5"], &["--epochs is 5", "--passes"]),
            (&["--learning-rate", "0.1"], &["--learning-rate", "--start", "--end"]),
            (&["--learning-rate", "auto"], &["--learning-rate"]),
            (&["--schedule", "cosine"], &["--schedule"]),
            (&["--warmup", "1"], &["--warmup"]),
            (&["--reduce-lr", "2"], &["--reduce-lr"]),
            (&["--patience", "2"], &["--patience", "taper train"]),
            (&["--ema", "0.9"], &["--ema", "taper train"]),
            (&["--tensorboard"], &["--tensorboard", "taper train"]),
            (&["--checkpoint-every", "2"], &["--checkpoint-every", "taper train"]),
            (&["--augment", "light", "--views", "1"], &["--augment", "--views"]),
            (&["--steps", "50", "--passes", "2"], &["--steps", "--passes"]),
        ],
    );
    let help = run(std::env::temp_dir().as_path(), &["lr-find", "--help"]).expect(0).stdout;
    assert!(!help.contains("--patience") && help.contains("--passes"), "{help}");
}

#[test]
fn the_other_commands_refuse_it_too() {
    let inspect = ["inspect", "--data", "data"];
    let without = ["--no-embeddings"];
    let of = |extra: &'static [&'static str]| [&without[..], extra].concat();
    for (extra, flag) in [
        (of(&["--model", "resnet50"]), "--model"),
        (of(&["--weights", "w.safetensors"]), "--weights"),
        (of(&["--device", "cpu"]), "--device"),
        (of(&["--kernels", "portable"]), "--kernels"),
        (of(&["--cache", "off"]), "--cache"),
        (of(&["--cache-size", "1"]), "--cache-size"),
        (of(&["--text", "clip-vit-b32"]), "--text"),
    ] {
        refused(&inspect, &[(&extra, &[flag, "--no-embeddings"])]);
    }
    for extra in [["--text-weights", "w.safetensors"], ["--prompts", "name"]] {
        refused(&inspect, &[(&extra, &[extra[0], "--text: give that as well"])]);
    }
    refused(
        &["embed", "--data", "data", "--out", "e.safetensors"],
        &[
            (&["--through", "candle", "--kernels", "portable"], &["--kernels", "--through"]),
            (&["--through", "candle", "--precision", "auto"], &["--precision", "--through"]),
            (&["--cache", "off", "--cache-size", "2"], &["--cache-size", "--cache"]),
            (&["--out", "e.npy"], &["--out is e.npy", ".safetensors"]),
        ],
    );
    refused(
        &["augment", "--data", "data"],
        &[
            (&["--augment", "standard", "--views", "1"], &["--augment", "--views"]),
            (&["--augment", "none", "--views", "2"], &["--augment", "--views"]),
            (&["--augment", "none"], &["--augment is none", "--views 1", "another policy"]),
        ],
    );
    refused(
        &["summary", "--model", "resnet50"],
        &[
            (&["--classes", "9"], &["--classes is 9", "--head"]),
            (&["--dropout", "0.2"], &["--dropout is 0.2", "--head"]),
            (&["--overwrite"], &["--overwrite", "--svg"]),
            (&["--svg", "drawing.png"], &["--svg is drawing.png", ".svg"]),
        ],
    );
}

/// Whoever follows advice is not given it again.
#[test]
fn advice_that_is_followed_is_not_repeated() {
    let folder = pictures();
    let here = folder.path();
    for n in 2..12 {
        fs::remove_file(here.join(format!("data/train/red/{n:02}.jpg"))).unwrap();
    }
    for (extra, expected) in [
        (&[][..], true),
        (&["--class-weights", "balanced"], false),
        (&["--sampling", "balanced"], false),
        (&["--class-weights", "1,5"], false),
    ] {
        let said = run(here, &quick_with(extra)).expect(0).stderr;
        assert_eq!(said.contains("imbalance"), expected, "{extra:?}: {said}");
        assert_eq!(said.contains("--class-weights balanced"), expected, "{extra:?}: {said}");
        fs::remove_dir_all(here.join("run")).unwrap();
    }
    let few = run(here, &quick_with(&["--views", "4", "--augment", "standard"])).expect(0).stderr;
    assert!(few.contains("few pictures") && !few.contains("--views 4"), "{few}");
}

/// Advice names options of the command that was called, or says which command has them.
#[test]
fn advice_names_the_command_that_has_the_option() {
    let folder = pictures();
    let here = folder.path();
    fs::copy(here.join("data/train/red/03.jpg"), here.join("data/test/red/copy.jpg")).unwrap();
    let said = run(here, &QUICK).expect(0).stderr;
    assert!(said.contains("taper inspect --fix"), "{said}");
    assert!(!said.contains(": --fix"), "{said}");
    for n in 2..12 {
        fs::remove_file(here.join(format!("data/train/red/{n:02}.jpg"))).unwrap();
    }
    let inspect = ["inspect", "--data", "data", "--no-embeddings"];
    let said = run(here, &inspect).expect(0).stdout;
    assert!(said.contains("taper train --class-weights balanced"), "{said}");
    // A search on a handful of pictures carries nothing, and says so.
    let find = ["lr-find", "--data", "data", "--size", "64", "--head", "linear", "--json"];
    let found = run(here, &find).expect(0);
    let about = found.json()["about"][0].as_str().unwrap().to_owned();
    assert!(about.contains("only 14 pictures") && about.contains("carries nothing"), "{about}");
    assert!(found.stderr.contains("carries nothing"), "{found:#?}");
    // A search on one of several folds says which, unless it was asked for.
    for (folds, fold, said) in [("2", None, true), ("3", None, true), ("2", Some("1"), false)] {
        let fold: Vec<&str> = fold.into_iter().flat_map(|fold| ["--fold", fold]).collect();
        let out = format!("found-{folds}-{said}");
        let arguments = [&find[..], &["--folds", folds, "--out", &out], &fold].concat();
        let found = run(here, &arguments).expect(0);
        let about = found.json()["about"].to_string();
        let words = format!("one of the {folds} folds, without the pictures of fold 0: --fold");
        assert_eq!(about.contains(&words.replace("--fold", "")), said, "{about}");
        assert_eq!(found.stderr.contains(&words), said, "{found:#?}");
    }
}

/// A table beside class folders is remarked by every command that reads labels.
#[test]
fn a_table_beside_class_folders_is_remarked() {
    for table in ["labels.csv", "notes.tsv", "train.jsonl"] {
        let folder = pictures();
        let here = folder.path();
        fs::rename(here.join("data/train"), here.join("classes")).unwrap();
        fs::write(here.join("classes").join(table), "path,label\n").unwrap();
        let out = ["--no-embeddings", "--out", "health", "--json"];
        let said = run(here, &[&["inspect", "--data", "classes"][..], &out].concat()).expect(0);
        assert!(said.stderr.contains(&format!("'{table}' beside the folders")), "{said:#?}");
        assert!(said.json()["remarks"].to_string().contains(table), "{said:#?}");
    }
}

/// `taper train photos` is `taper train --data photos`.
#[test]
fn data_can_be_given_without_a_flag() {
    let folder = pictures();
    let here = folder.path();
    let quick = ["--size", "64", "--epochs", "1", "--head", "linear", "--json"];
    let with = |first: &[&str]| run(here, &[&["train"], first, &quick].concat());
    assert_eq!(with(&["data"]).expect(0).json()["run"], "runs/data-efficientnet-lite0-1");
    let path = here.join("data").display().to_string();
    assert_eq!(with(&[&path]).expect(0).json()["data"], path);
    let find = ["lr-find", "data", "--size", "64", "--head", "linear", "--json"];
    run(here, &find).expect(0);
    with(&["photos"]).complains(2, &["--data is 'photos'", "no such folder"]);
    with(&["missing.toml"]).complains(2, &["missing.toml", "no such file"]);
    with(&["runs/data-efficientnet-lite0-1"])
        .complains(2, &["folder of a run", "recipe.toml", "--resume"]);
    with(&["data", "--data", "data"]).complains(2, &["--data", "one of the two"]);
}

/// A class whose pictures are all broken does not leave a split without a remark.
#[test]
fn a_class_that_vanishes_from_a_split_is_a_remark() {
    for (split, count) in [("val", 4), ("test", 5)] {
        let folder = pictures();
        let here = folder.path();
        for n in 0..count {
            fs::write(here.join(format!("data/{split}/red/{n:02}.jpg")), "no picture").unwrap();
        }
        let ran = run(here, &[&QUICK[..], &["--json"]].concat()).expect(3);
        let answer = ran.json();
        let remarks = answer["remarks"].as_array().unwrap();
        let place = format!("{split}/red");
        let found = remarks.iter().find(|remark| remark["path"] == *place);
        let reason = found.unwrap_or_else(|| panic!("{ran:#?}"))["reason"].as_str().unwrap();
        assert!(
            reason.contains("class 'red'") && reason.contains(&format!("{count} pic")),
            "{reason}"
        );
        assert!(ran.stderr.contains(&place), "{ran:#?}");
    }
    // In train it is an error, and where some are left it is none.
    let folder = pictures_from([0, 50, 100]);
    let here = folder.path();
    let first = fs::read_dir(here.join("data/val/red")).unwrap().next().unwrap().unwrap().path();
    fs::write(first, "no picture").unwrap();
    let answer = run(here, &[&QUICK[..], &["--json"]].concat()).expect(3).json();
    assert_eq!(answer["remarks"], serde_json::json!([]));
}

#[test]
fn settings_that_could_never_act_are_refused() {
    refused(
        &QUICK,
        &[
            (&["--ema", "0"], &["--ema is 0"]),
            (&["--reduce-lr", "0"], &["--reduce-lr is 0", "1 or more"]),
            (&["--reduce-lr", "2", "--patience", "1"], &["--reduce-lr", "--patience"]),
            (&["--accumulate", "2", "--batch-size", "64"], &["--accumulate is 2", "one batch"]),
            (&["--data", "synthetic", "--max-pixels", "9"], &["--max-pixels is 9"]),
            (&["--group-by", "(.*)", "--val", "0.2"], &["--group-by", "group of its own"]),
        ],
    );
}

#[test]
fn a_group_expression_that_matches_only_some_says_so() {
    let folder = pictures();
    let some = ["--group-by", r"red/(\d)\d", "--val", "0.3", "--json"];
    let answer = run(folder.path(), &quick_with(&some)).expect(0).json();
    let remarks = answer["remarks"].to_string();
    assert!(remarks.contains("do not match --group-by"), "{remarks}");
}
