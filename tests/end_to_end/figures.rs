//! What figures are measured on is said, in `remarks` too.

use std::fs;

use serde_json::Value;

use crate::support::{pictures, pictures_from, run};

const TRAIN: [&str; 12] = [
    "train", "--data", "data", "--epochs", "1", "--size", "64", "--out", "run", "--cache", "off",
    "--json",
];

fn remarks(answer: &Value) -> String {
    let all = answer["remarks"].as_array().unwrap().iter();
    all.map(|remark| remark["reason"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_evaluation_on_pictures_of_the_training_says_so() {
    let folder = pictures_from([0, 50, 100]);
    let here = folder.path();
    run(here, &TRAIN).expect(0);
    let evaluate = |data: &str, model: &str, more: &[&str]| {
        let arguments = [&["evaluate", model, "--data", data, "--json"][..], more].concat();
        run(here, &arguments).expect(0).json()
    };
    let test = evaluate("data", "run", &[]);
    assert_eq!((test["split"].as_str(), remarks(&test).as_str()), (Some("test"), ""));
    let all = evaluate("data", "run", &["--split", "all"]);
    assert!(remarks(&all).contains("measure memorisation"), "{all}");
    // Under another name, as classes alone, some of them new: the folder of the run knows them.
    fs::rename(here.join("data/train"), here.join("other")).unwrap();
    let moved = evaluate("other", "run", &[]);
    assert!(remarks(&moved).contains("are among those that the model was made with"), "{moved}");
    // Where there is no test split, the validation pictures come before all of them.
    fs::rename(here.join("other"), here.join("data/train")).unwrap();
    fs::remove_dir_all(here.join("data/test")).unwrap();
    let val = evaluate("data", "run", &[]);
    assert_eq!(val["split"], "val");
    // The model alone knows its data set as a whole.
    run(here, &["train", "--data", "data", "--epochs", "1", "--size", "64", "--out", "two"])
        .expect(0);
    fs::copy(here.join("two/model.safetensors"), here.join("alone.safetensors")).unwrap();
    let alone = evaluate("data", "alone.safetensors", &["--split", "train"]);
    assert!(remarks(&alone).contains("measure memorisation"), "{alone}");
}

#[test]
fn pictures_that_no_split_uses_are_counted() {
    for choice in ["0.25", "test"] {
        let folder = pictures();
        let arguments = [&TRAIN[..], &["--val", choice]].concat();
        let answer = run(folder.path(), &arguments).expect(0).json();
        assert!(remarks(&answer).contains("of the split val are not used"), "{answer}");
        assert_eq!(remarks(&answer).contains("on the test split"), choice == "test", "{answer}");
    }
}

#[test]
fn what_makes_figures_misleading_is_among_the_remarks() {
    let folder = pictures_from([0, 50, 100]);
    let here = folder.path();
    let answer = run(here, &TRAIN).expect(0).json();
    assert_eq!(remarks(&answer), "");
    fs::remove_dir_all(here.join("run")).unwrap();
    for class in ["blue", "red"] {
        for picture in fs::read_dir(here.join("data/test").join(class)).unwrap() {
            let path = picture.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            fs::copy(&path, here.join("data/train").join(class).join(format!("copy-{name}")))
                .unwrap();
        }
    }
    let answer = run(here, &TRAIN).expect(0).json();
    assert!(remarks(&answer).contains("duplicates across splits"), "{answer}");
}

#[test]
fn the_sheet_of_views_counts_what_is_trained_on() {
    let folder = pictures();
    let here = folder.path();
    fs::rename(here.join("data/train"), here.join("classes")).unwrap();
    let arguments = ["train", "--data", "classes", "--views", "2", "--epochs", "1", "--size", "64"];
    let trained =
        run(here, &[&arguments[..], &["--out", "run", "--json"]].concat()).expect(0).json();
    let sheet = ["augment", "--data", "classes", "--views", "2", "--out", "sheet.png", "--json"];
    let sheet = run(here, &sheet).expect(0).json();
    assert_eq!(sheet["after"], trained["pictures"][0]);
}
