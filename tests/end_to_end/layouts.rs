//! Layouts of data sets: each is read as people mean it, or refused; never misread in silence.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ran, picture, run};

const COLOURS: [&str; 2] = ["blue", "red"];

/// Writes pictures of a colour, whatever the folder's name says.
pub(crate) fn write(folder: &Path, colour: &str, first: u32, count: u32) {
    fs::create_dir_all(folder).unwrap();
    for n in first..first + count {
        picture(colour, n).save(folder.join(format!("{n:02}.jpg"))).unwrap();
    }
}

/// `data/FOLDER/CLASS/…`: eight pictures of each class in the first folder, three in each other.
fn splits(folders: &[&str], classes: [&str; 2]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (n, folder) in (0..).zip(folders) {
        for (class, colour) in classes.iter().zip(COLOURS) {
            let count = if n == 0 { 8 } else { 3 };
            write(&root.path().join("data").join(folder).join(class), colour, 10 * n, count);
        }
    }
    root
}

pub(crate) fn train(root: &Path, more: &[&str]) -> Ran {
    let mut arguments = vec![
        "train", "--data", "data", "--size", "64", "--epochs", "1", "--head", "linear", "--json",
        "--quiet", "--cache", "off",
    ];
    arguments.extend(more);
    run(root, &arguments)
}

pub(crate) fn classes(answer: &Value) -> Vec<&str> {
    let all = answer["validation"]["per_class"].as_array().unwrap();
    all.iter().map(|class| class["label"].as_str().unwrap()).collect()
}

pub(crate) fn remarks(answer: &Value) -> String {
    let all = answer["remarks"].as_array().unwrap();
    let texts = all.iter().map(|remark| remark["reason"].as_str().unwrap());
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn split_folders_under_other_names_are_splits() {
    for folders in [
        &["Training", "Testing"][..],
        &["seg_train/seg_train", "seg_test/seg_test", "seg_val/seg_val"],
        &["training_set", "holdout", "dev"],
        &["TRAIN", "evaluation"],
    ] {
        let root = splits(folders, COLOURS);
        let answer = train(root.path(), &[]).expect(0).json();
        assert_eq!(classes(&answer), COLOURS, "{folders:?}");
        // The test pictures are those of the test folder, and stay untouched.
        assert_eq!(answer["pictures"][2], 6, "{folders:?}");
        assert_eq!(answer["remarks"].as_array().unwrap().len(), 0, "{folders:?}");
    }
}

#[test]
fn folders_that_look_like_splits_under_unknown_names_are_refused() {
    for folders in [["one", "two"], ["fold_a", "fold_b"], ["mine", "yours"]] {
        let root = splits(&folders, COLOURS);
        let words = ["look like splits", "--layout", folders[0], folders[1]];
        train(root.path(), &[]).complains(2, &words);
        let answer = train(root.path(), &["--layout", "classes"]).expect(0).json();
        assert_eq!(classes(&answer), folders);
    }
}

#[test]
fn a_second_training_does_not_learn_the_output_of_the_first() {
    let root = splits(&[""], COLOURS);
    let data = root.path().join("data");
    let quick = ["--size", "64", "--quiet"];
    let of = |arguments: &[&str]| run(&data, &[arguments, &quick].concat()).expect(0);
    of(&["train", "--data", ".", "--epochs", "1", "--head", "linear"]);
    of(&["augment", "--data", "."]);
    of(&["lr-find", "--data", ".", "--steps", "30"]);
    run(&data, &["inspect", "--data", ".", "--no-embeddings", "--quiet"]).expect(0);
    let second = of(&["train", "--data", ".", "--epochs", "1", "--head", "linear", "--json"]);
    let answer = second.json();
    assert_eq!(classes(&answer), COLOURS);
    assert!(remarks(&answer).contains("augment.png"), "{}", remarks(&answer));
    assert!(remarks(&answer).contains("written by Taper"), "{}", remarks(&answer));
}

#[test]
fn what_other_commands_wrote_among_the_classes_is_passed_over() {
    let root = splits(&[""], COLOURS);
    let data = root.path().join("data");
    let quick = ["--size", "64", "--quiet"];
    run(&data, &[&["train", "--data", ".", "--epochs", "1", "--out", "r"][..], &quick].concat())
        .expect(0);
    let model = "r/model.safetensors";
    run(&data, &["predict", model, "red", "--copy-to", "sorted", "--quiet"]).expect(0);
    run(&data, &["evaluate", model, "--data", ".", "--out", "ev", "--quiet"]).expect(0);
    run(&data, &["augment", "--data", ".", "--out", "b.jpg", "--quiet"]).expect(0);
    run(&data, &["summary", "--svg", "net.svg"]).expect(0);
    run(&data, &["inspect", "--data", ".", "--no-embeddings", "--fix", "fixed", "--quiet"])
        .expect(0);
    // Where a folder has files of the user's own, nothing is written into it.
    run(&data, &["inspect", "--data", ".", "--no-embeddings", "--fix", "red", "--quiet"])
        .complains(2, &["--fix"]);
    let folds = ["train", "--data", ".", "--epochs", "1", "--folds", "2", "--json"];
    let folds = run(&data, &[&folds[..], &quick].concat()).expect(0).json();
    assert_eq!(classes(&folds["folds"][0]), COLOURS);
    let again = ["train", "--data", ".", "--epochs", "1", "--json"];
    let answer = run(&data, &[&again[..], &quick].concat()).expect(0).json();
    assert_eq!(classes(&answer), COLOURS);
    let pictures = answer["pictures"].as_array().unwrap();
    assert_eq!(pictures.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 16);
}

#[test]
fn a_limit_of_pixels_holds_for_cached_features_too() {
    let root = splits(&[""], COLOURS);
    let all = ["train", "--data", "data", "--size", "64", "--epochs", "1", "--quiet"];
    run(root.path(), &all).expect(0);
    let strict = [&all[..], &["--max-pixels", "10", "--strict"]].concat();
    run(root.path(), &strict).complains(1, &["limit of 10", "--max-pixels"]);
}

fn zip(path: &Path, folder: &Path) {
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (class, colour) in ["blue", "red"].into_iter().zip(COLOURS) {
        for entry in fs::read_dir(folder.join(class)).unwrap() {
            let entry = entry.unwrap();
            zip.start_file(format!("{colour}/{}", entry.file_name().display()), options).unwrap();
            zip.write_all(&fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    zip.finish().unwrap();
}

#[test]
fn archives_whose_names_say_the_split_keep_it() {
    for [first, second] in [
        ["train.zip", "test.zip"],
        ["rps-train.zip", "rps-test-set.zip"],
        ["a_training.zip", "eval.zip"],
    ] {
        let root = splits(&["Training", "Testing"], COLOURS);
        let data = root.path().join("data");
        zip(&root.path().join(first), &data.join("Training"));
        zip(&root.path().join(second), &data.join("Testing"));
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir(&data).unwrap();
        for name in [first, second] {
            fs::rename(root.path().join(name), data.join(name)).unwrap();
        }
        let answer = train(root.path(), &[]).expect(0).json();
        assert_eq!((classes(&answer), &answer["pictures"][2]), (COLOURS.into(), &6.into()));
    }
}

fn table(columns: &str, rows: impl Fn(&str, &Path) -> String) -> TempDir {
    let root = splits(&[""], COLOURS);
    let mut text = format!("{columns}\n");
    for class in COLOURS {
        let mut files: Vec<PathBuf> = fs::read_dir(root.path().join("data").join(class))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            let path = Path::new("data").join(class).join(file.file_name().unwrap());
            text += &(rows(class, &path) + "\n");
        }
    }
    fs::write(root.path().join("list.csv"), text).unwrap();
    root
}

#[test]
fn several_columns_of_labels_are_a_question() {
    for columns in ["image,fine_label,coarse_label", "path,label,class", "file_name,target,breed"] {
        let root = table(columns, |class, path| format!("{},{class},thing", path.display()));
        let (first, second) = columns.split_once(',').unwrap().1.split_once(',').unwrap();
        let list = ["--data", "list.csv"];
        let all = |more: &[&str]| {
            let mut arguments = vec!["train", "--size", "64", "--epochs", "1", "--json", "--quiet"];
            arguments.extend(list.iter().chain(more));
            run(root.path(), &arguments)
        };
        all(&[]).complains(2, &[first, second, "--label-column"]);
        assert_eq!(classes(&all(&["--label-column", first]).expect(0).json()), COLOURS);
        all(&["--label-column", "nothing"]).complains(2, &["'nothing'", "--label-column"]);
    }
}

#[test]
fn a_class_may_be_called_train() {
    for class in ["train", "test", "val"] {
        let root = splits(&[""], COLOURS);
        write(&root.path().join("data").join(class), "blue", 30, 8);
        let answer = train(root.path(), &[]).expect(0).json();
        assert_eq!(classes(&answer).len(), 3, "{class}");
        assert!(remarks(&answer).contains("is taken as a class"), "{}", remarks(&answer));
    }
}

#[test]
fn pictures_without_labels_in_test_are_passed_over_with_a_remark() {
    for test in ["test", "test/images", "Testing"] {
        let root = splits(&["train"], COLOURS);
        write(&root.path().join("data").join(test), "red", 40, 2);
        let answer = train(root.path(), &[]).expect(0).json();
        assert_eq!(answer["pictures"][2], 0, "{test}");
        assert!(remarks(&answer).contains("taper predict MODEL"), "{}", remarks(&answer));
    }
}

#[test]
fn labels_come_from_names() {
    type Name = fn(&str, u32) -> String;
    let names: [(&str, Name); 3] = [
        (r"([a-z]+)\.\d+\.jpg$", |class, n| format!("{class}.{n}.jpg")),
        (r"([A-Z]+)_\d+", |class, n| format!("{}_{n}.jpg", class.to_uppercase())),
        (r"\d+-([a-z]+)", |class, n| format!("deep/er/{n}-{class}.jpg")),
    ];
    for (expression, name) in names {
        let root = tempfile::tempdir().unwrap();
        for class in COLOURS {
            for n in 0..8 {
                let path = root.path().join("data").join(name(class, n));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                picture(class, n).save(path).unwrap();
            }
        }
        let answer = train(root.path(), &["--label-from", expression]).expect(0).json();
        let found: Vec<String> = classes(&answer).iter().map(|c| c.to_lowercase()).collect();
        assert_eq!(found, COLOURS);
        train(root.path(), &["--label-from", "("]).complains(2, &["--label-from"]);
    }
}

#[test]
fn one_name_in_two_spellings_is_one_class() {
    for [a, b] in [["caf\u{e9}", "cafe\u{301}"], ["Red", "red"], ["red", " red"]] {
        let root = tempfile::tempdir().unwrap();
        for (n, class) in (0..).zip([a, b]) {
            write(&root.path().join("data").join(class), "red", 10 * n, 6);
        }
        write(&root.path().join("data/blue"), "blue", 0, 6);
        let answer = train(root.path(), &[]).expect(0).json();
        assert_eq!(classes(&answer).len(), 2, "{a} {b}");
        assert!(remarks(&answer).contains("differ only in"), "{}", remarks(&answer));
    }
}

#[test]
fn formats_beyond_jpeg_are_read_and_foreign_ones_named() {
    let root = splits(&[""], COLOURS);
    let data = root.path().join("data/red");
    for (n, extension) in (20..).zip(["ppm", "pgm", "qoi", "tga", "bmp"]) {
        picture("red", n).save(data.join(format!("{n}.{extension}"))).unwrap();
    }
    let icon = image::DynamicImage::ImageRgb8(picture("red", 25)).into_rgba8();
    icon.save(data.join("25.ico")).unwrap();
    let jpeg = fs::read(data.join("00.jpg")).unwrap();
    fs::write(data.join("30.jfif"), [jpeg, b"its own".into()].concat()).unwrap();
    let answer = train(root.path(), &[]).expect(0).json();
    let pictures = answer["pictures"].as_array().unwrap();
    assert_eq!(pictures.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 23);
    for name in ["x.heic", "x.avif", "x.jxl"] {
        fs::write(data.join(name), b"whatever").unwrap();
    }
    let answer = train(root.path(), &[]).expect(3).json();
    assert_eq!(answer["unreadable"].as_array().unwrap().len(), 3);
    assert!(answer["unreadable"][0]["reason"].as_str().unwrap().contains("not supported"));
}

#[test]
fn manifests_as_people_write_them_are_read() {
    let rows = |class: &str, path: &Path| format!("0;{};{class}", path.display());
    let root = table(";image_path;label", rows);
    let list = |root: &TempDir| {
        run(
            root.path(),
            &["train", "--data", "list.csv", "--size", "64", "--epochs", "1", "--json", "--quiet"],
        )
    };
    assert_eq!(classes(&list(&root).expect(0).json()), COLOURS);
    // Without extensions.
    let root =
        table("id,breed", |class, path| format!("{},{class}", path.with_extension("").display()));
    assert_eq!(classes(&list(&root).expect(0).json()), COLOURS);
    // UTF-16, as spreadsheets write it.
    let root = table("path,label", |class, path| format!("{},{class}é", path.display()));
    let text = fs::read_to_string(root.path().join("list.csv")).unwrap();
    let utf16 =
        format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    fs::write(root.path().join("list.csv"), utf16).unwrap();
    assert_eq!(classes(&list(&root).expect(0).json()), ["blueé", "redé"]);
    // Files that are nowhere.
    let root = table("path,label", |class, path| format!("nowhere/{},{class}", path.display()));
    list(&root).complains(2, &["none of its 16 file(s) exists", "nowhere/data/blue/00.jpg"]);
    // Several labels.
    let root = table("path,label", |_, path| format!("{},\"['blue', 'red']\"", path.display()));
    list(&root).complains(1, &["line 2", "multi-label"]);
}

#[test]
fn archives_that_may_be_splits_are_refused_or_remarked() {
    for ([first, second], refused) in [
        (["train.zip", "unseen.zip"], true),
        (["xtrain.zip", "xtest.zip"], true),
        (["entrenamiento.zip", "prueba.zip"], false),
    ] {
        let root = splits(&["Training", "Testing"], COLOURS);
        let data = root.path().join("data");
        zip(&root.path().join(first), &data.join("Training"));
        zip(&root.path().join(second), &data.join("Testing"));
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir(&data).unwrap();
        for name in [first, second] {
            fs::rename(root.path().join(name), data.join(name)).unwrap();
        }
        if refused {
            train(root.path(), &[])
                .complains(2, &[first.trim_end_matches(".zip"), "train, val or test"]);
        } else {
            let answer = train(root.path(), &[]).expect(0).json();
            assert!(remarks(&answer).contains("read as one set"), "{}", remarks(&answer));
        }
    }
}

#[test]
fn a_sheet_among_the_pictures_of_a_class_is_not_learned() {
    for name in ["sheet.jpg", "sheet.png", "z/sheet.jpeg"] {
        let root = splits(&[""], COLOURS);
        fs::create_dir_all(root.path().join("data/red/z")).unwrap();
        let out = format!("data/red/{name}");
        run(root.path(), &["augment", "--data", "data", "--size", "64", "--out", &out, "-q"])
            .expect(0);
        fs::write(
            root.path().join("data/red/z/0.jpg"),
            fs::read(root.path().join("data/red/00.jpg")).unwrap(),
        )
        .unwrap();
        let answer = train(root.path(), &[]).expect(3).json();
        let named = &answer["unreadable"][0];
        assert!(named["path"].as_str().unwrap().ends_with(name), "{named}");
        assert!(named["reason"].as_str().unwrap().contains("figure that Taper drew"), "{named}");
    }
}

#[test]
fn an_output_folder_where_none_can_be_made_is_wrong_usage() {
    let root = splits(&[""], COLOURS);
    fs::write(root.path().join("file"), "").unwrap();
    for out in ["/proc/none/run", "file/run", "file/a/b"] {
        train(root.path(), &["--out", out]).complains(2, &[out, "choose another place"]);
    }
}

/// The remarks of a training that ends well, together.
fn remarked(root: &Path, more: &[&str]) -> String {
    remarks(&train(root, more).expect(0).json())
}

#[test]
fn a_folder_with_the_same_classes_among_them_is_refused() {
    for extra in ["augmented", "new", "data"] {
        let root = splits(&["", extra], COLOURS);
        let name = format!("'{extra}' contains folders");
        train(root.path(), &[]).complains(2, &[&name, "'blue', 'red'", "--layout"]);
        let answer = train(root.path(), &["--layout", "classes"]).expect(0).json();
        assert_eq!(classes(&answer).len(), 3, "{extra}");
    }
}

#[test]
fn folders_that_are_hardly_classes_are_passed_over_or_remarked() {
    for (name, count) in [("unlabeled", 2), ("_unsure", 2), ("thumbs", 3), ("old", 3)] {
        let root = splits(&[""], COLOURS);
        write(&root.path().join("data").join(name), "red", 40, 8);
        let answer = train(root.path(), &[]).expect(0).json();
        assert_eq!(classes(&answer).len(), count, "{name}");
        assert!(remarks(&answer).contains(&format!("'{name}' is")), "{}", remarks(&answer));
    }
    // A data set beside other pictures: a question, or a remark.
    let root = splits(&["data"], COLOURS);
    write(&root.path().join("data/samples"), "red", 40, 8);
    train(root.path(), &[]).complains(2, &["one folder deeper", "data/data"]);
    fs::rename(root.path().join("data/samples"), root.path().join("data/garden")).unwrap();
    let text = remarked(root.path(), &[]);
    assert!(text.contains("'blue', 'red' in 'data' are merged"), "{text}");
}

#[test]
fn combinations_of_labels_are_refused() {
    for (first, second) in [("scab rust", "scab"), ("a+b", "a"), ("1 3", "1")] {
        let other = first[first.len() - second.len()..].trim_start_matches(['+', ' ']).to_owned();
        let root = table("image,labels", |class, path| {
            let label = match (class, path.to_string_lossy().contains("00")) {
                ("blue", true) => first,
                ("blue", false) => second,
                _ => other.as_str(),
            };
            format!("{},{label}", path.display())
        });
        let list = ["train", "--data", "list.csv", "--size", "64", "--epochs", "1", "--json"];
        run(root.path(), &list).complains(1, &["multi-label"]);
    }
}

#[test]
fn columns_of_truth_values_say_the_splits_and_others_are_remarked() {
    let train = |root: &TempDir| {
        let list = ["train", "--data", "list.csv", "--size", "64", "--epochs", "1", "--json", "-q"];
        run(root.path(), &list).expect(0).json()
    };
    for (column, held, rest) in
        [("is_train", "0", "1"), ("is_test", "True", "False"), ("test", "1", "0")]
    {
        let root = table(&format!("image,label,{column}"), |class, path| {
            let held_out = path.to_string_lossy().contains("07");
            format!("{},{class},{}", path.display(), if held_out { held } else { rest })
        });
        let answer = train(&root);
        assert_eq!(answer["pictures"][2], 2, "{column}");
        assert!(remarks(&answer).contains(&format!("'{column}'")), "{}", remarks(&answer));
    }
    for column in ["fold", "stage", "mode"] {
        let root = table(&format!("image,label,{column}"), |class, path| {
            format!("{},{class},{}", path.display(), path.to_string_lossy().len() % 2)
        });
        let text = remarks(&train(&root));
        assert!(text.contains("--split-column") && text.contains(column), "{text}");
    }
}

#[test]
fn lists_of_splits_and_inner_archives_are_remarked() {
    for name in ["train_test_split.txt", "meta/test.txt", "splits/1.txt", "more.zip"] {
        let root = splits(&["images"], COLOURS);
        let path = root.path().join("data").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "blue/00.jpg\n").unwrap();
        let text = remarked(root.path(), &[]);
        assert!(text.contains(name) && text.contains("not read"), "{text}");
    }
}

#[test]
fn equal_class_weights_are_refused_and_names_stay_on_one_line() {
    let root = splits(&[""], ["bl\nue", "red"]);
    train(root.path(), &["--class-weights", "1,1"]).complains(2, &["--class-weights", "equal"]);
    let plain = ["train", "--data", "data", "--size", "64", "--epochs", "1", "-q"];
    let answer = run(root.path(), &plain).expect(0).stdout;
    assert!(answer.lines().any(|line| line.starts_with("bl\\nue ")), "{answer}");
}
