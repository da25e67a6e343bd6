//! The recipes that come with the project.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{fs, path::Path};

use taper_lr_finder::Method;
use taper_run::{LearningRate, Recipe};

#[test]
fn all_recipes_are_valid_and_the_quick_one_is_the_default() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut names = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let recipe = Recipe::read(&path).unwrap();
        recipe.clone().check().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "quick" {
            assert_eq!(recipe, Recipe::default());
        } else {
            assert_eq!(name, format!("tutorial-{}", recipe.model));
            assert_eq!((recipe.views, recipe.batch_size, recipe.epochs), (2, 64, 20));
            assert_eq!((recipe.patience, recipe.min_delta), (Some(2), 1e-4));
            assert_eq!(recipe.learning_rate, LearningRate::Auto);
            let finder = recipe.lr_finder;
            assert_eq!((finder.start, finder.end, finder.epochs), (1e-6, 1.0, Some(10)));
            assert_eq!(finder.method, Method::Sma);
        }
        names.push(name);
    }
    names.sort();
    let expected = ["quick", "tutorial-efficientnet-lite0", "tutorial-resnet50", "tutorial-vgg16"];
    assert_eq!(names, expected);
}

#[test]
fn a_resolved_recipe_says_everything_and_reads_back() {
    let text = r#"
        learning_rate = "auto"
        ema = 0.99
        [optimizer.algorithm]
        kind = "sgd"
        nesterov = true
        [[optimizer.groups]]
        prefix = "fc1"
        rate_factor = 0.1
        [schedule]
        shape = { kind = "cosine" }
        warmup = { over = { epochs = 1.5 } }
        [loss]
        class_weights = "balanced"
        label_smoothing = 0.1
        [checkpoints]
        every = { steps = 100 }
        keep = 3
        [reduce_lr]
        patience = 4
    "#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    fs::write(&path, text).unwrap();
    let recipe = Recipe::read(&path).unwrap();
    recipe.clone().check().unwrap();
    let written = toml::to_string(&recipe).unwrap();
    for word in ["learning_rate = \"auto\"", "momentum = 0.9", "steps = 100", "balanced"] {
        assert!(written.contains(word), "{word} in {written}");
    }
    fs::write(&path, written).unwrap();
    assert_eq!(Recipe::read(&path).unwrap(), recipe);
    for (typo, words) in [
        ("learning_rate = \"fast\"", ["learning", "auto"]),
        ("[optimizer.algorithm]\nkind = \"adamm\"", ["adamm", "adamw"]),
        ("[lr_finder]\nmethod = \"deep\"", ["deep", "valley"]),
        ("[schedule.shape]\nkind = \"cosine\"\nrise = 2", ["rise", "end_factor"]),
    ] {
        fs::write(&path, typo).unwrap();
        let error = Recipe::read(&path).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    }
}
