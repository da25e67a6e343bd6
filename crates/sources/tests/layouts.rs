//! What the folders of a data set are: splits or classes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::Path};

use taper_core::Split;
use taper_data::{Dataset, fixture};
use taper_sources::{
    Error, FolderUse, LayoutChoice, Reading, Result, SourceOptions, open_path, split_named,
};
use tempfile::TempDir;

/// A folder with these pictures, by path.
fn folder(paths: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (n, path) in paths.iter().enumerate() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = fixture::jpeg(&fixture::picture(n % 3, n, 24, 20)).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

fn open(root: &Path, change: impl FnOnce(&mut SourceOptions)) -> Result<Dataset> {
    let mut options = SourceOptions::default();
    change(&mut options);
    open_path(root, Reading::new(FolderUse::Train, options))
}

fn read(paths: &[&str]) -> Result<Dataset> {
    open(folder(paths).path(), |_| {})
}

fn classes(dataset: &Dataset) -> Vec<&str> {
    dataset.classes().iter().collect()
}

fn counts(dataset: &Dataset) -> [usize; 3] {
    [Split::Train, Split::Val, Split::Test].map(|split| dataset.indices(Some(split)).len())
}

#[test]
fn splits_have_many_names() {
    for [train, val, test] in [
        ["Training", "Validation", "Testing"],
        ["training_set", "dev", "test_set"],
        ["seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"],
        ["TRAIN", "VALID", "holdout"],
        ["train2017", "val2017", "evaluation"],
        ["flowers-train/images", "flowers-dev/images", "flowers-eval/images"],
    ] {
        let paths: Vec<String> = [train, train, val, test]
            .iter()
            .enumerate()
            .flat_map(|(n, split)| ["cat", "dog"].map(|class| format!("{split}/{class}/{n}.jpg")))
            .collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let dataset = read(&paths).unwrap();
        assert_eq!(classes(&dataset), ["cat", "dog"], "{train}");
        assert_eq!(counts(&dataset), [4, 2, 2], "{train}");
        assert!(dataset.remarks().is_empty(), "{:?}", dataset.remarks());
    }
}

#[test]
fn folders_that_all_have_the_same_folders_are_not_classes() {
    for names in [["fold_a", "fold_b"], ["one", "two"], ["part1", "part2"]] {
        let paths = names.map(|n| ["cat", "dog"].map(|class| format!("{n}/{class}/1.jpg")));
        let paths: Vec<&str> = paths.iter().flatten().map(String::as_str).collect();
        let error = read(&paths).unwrap_err();
        assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
        assert!(error.to_string().contains("`layout`"), "{error}");
        let root = folder(&paths);
        let dataset = open(root.path(), |o| o.layout = LayoutChoice::Classes).unwrap();
        assert_eq!(classes(&dataset), names);
    }
    // One folder of pictures in each class says nothing.
    let dataset = read(&["n01/images/1.jpg", "n02/images/2.jpg"]).unwrap();
    assert_eq!(classes(&dataset), ["n01", "n02"]);
}

#[test]
fn a_class_may_have_the_name_of_a_split() {
    for name in ["train", "test", "val"] {
        let paths = ["bus/1.jpg", "car/2.jpg", &format!("{name}/3.jpg")];
        let dataset = read(&paths).unwrap();
        assert_eq!(dataset.classes().len(), 3);
        assert_eq!(counts(&dataset), [0; 3]);
        assert!(dataset.remarks()[0].contains(&format!("'{name}' is taken as a class")));
    }
    let dataset = read(&["bullet_train/1.jpg", "freight_train/2.jpg"]).unwrap();
    assert_eq!(classes(&dataset), ["bullet_train", "freight_train"]);
    // Nothing beside it tells.
    let paths = ["train/freight/1.jpg", "train/local/2.jpg", "bus/3.jpg", "car/4.jpg"];
    assert!(matches!(read(&paths), Err(Error::Ambiguous { .. })));
    let root = folder(&paths);
    let dataset = open(root.path(), |o| o.layout = LayoutChoice::Classes).unwrap();
    assert_eq!(classes(&dataset), ["bus", "car", "train"]);
    let dataset = open(root.path(), |o| o.layout = LayoutChoice::Splits).unwrap();
    assert_eq!(classes(&dataset), ["freight", "local"]);
    assert_eq!(dataset.remarks().len(), 2, "{:?}", dataset.remarks());
    assert!(matches!(read(&["train/1.jpg", "test/2.jpg"]), Err(Error::Ambiguous { .. })));
}

#[test]
fn splits_may_lie_in_classes_or_beside_them() {
    let dataset = read(&["cat/train/1.jpg", "cat/test/2.jpg", "dog/train/3.jpg", "dog/test/4.jpg"]);
    let dataset = dataset.unwrap();
    assert_eq!((classes(&dataset), counts(&dataset)), (vec!["cat", "dog"], [2, 0, 2]));
    let dataset = read(&["cat/1.jpg", "dog/2.jpg", "test/cat/3.jpg", "test/dog/4.jpg"]).unwrap();
    assert_eq!((classes(&dataset), counts(&dataset)), (vec!["cat", "dog"], [2, 0, 2]));
    assert_eq!(dataset.remarks().len(), 1, "{:?}", dataset.remarks());
}

#[test]
fn pictures_without_labels_in_test_are_passed_over() {
    for test in ["test/9.jpg", "test1/9.jpg", "test/images/9.jpg", "test/unknown/9.jpg"] {
        let dataset =
            read(&["train/cat/1.jpg", "train/dog/2.jpg", "train/dog/3.jpg", test]).unwrap();
        assert_eq!(counts(&dataset), [3, 0, 0], "{test}");
        assert!(dataset.remarks()[0].contains("taper predict"), "{:?}", dataset.remarks());
    }
    assert!(matches!(read(&["train/1.jpg", "train/cat/2.jpg"]), Err(Error::LoosePictures { .. })));
}

#[test]
fn labels_in_names_are_read_with_an_expression() {
    let label_from = |paths: &[&str], expression: &str| {
        let root = folder(paths);
        open(root.path(), |o| o.label_from = Some(expression.into()))
    };
    let paths = ["train/cat.0.jpg", "train/dog.1.jpg", "train/dog.2.jpg", "test/1.jpg"];
    let dataset = label_from(&paths, r"([a-z]+)\.\d+\.jpg$").unwrap();
    assert_eq!((classes(&dataset), counts(&dataset)), (vec!["cat", "dog"], [3, 0, 0]));
    assert!(dataset.remarks()[0].contains("'test/1.jpg'"), "{:?}", dataset.remarks());
    let dataset = label_from(&["rose_001.png", "tulip_002.png", "x/rose_3.png"], r"([a-z]+)_\d+");
    assert_eq!(classes(&dataset.unwrap()), ["rose", "tulip"]);
    let dataset = label_from(&["a/s1/1-anna.jpg", "a/s1/2-bob.jpg"], "(anna|bob)").unwrap();
    assert_eq!(classes(&dataset), ["anna", "bob"]);
    for expression in ["(", "nothing like it"] {
        let error = label_from(&["a/1.jpg", "b/2.jpg"], expression).unwrap_err();
        assert!(matches!(error, Error::LabelFrom { .. } | Error::NoMatch { .. }), "{error}");
    }
}

#[test]
fn what_taper_wrote_is_passed_over() {
    let root = folder(&["cat/1.jpg", "dog/2.jpg", "runs/photos-1/curves.png"]);
    let run = root.path().join("runs/photos-1");
    fs::write(run.join("recipe.toml"), "").unwrap();
    fs::write(run.join("history.csv"), "").unwrap();
    fs::create_dir_all(root.path().join("runs/photos-lr-1")).unwrap();
    fs::write(root.path().join("runs/photos-lr-1/lr_find.json"), "{}").unwrap();
    let figure = [&b"\x89PNG\r\n\x1a\n________"[..], taper_core::file::FIGURE_MARK].concat();
    fs::write(root.path().join("augment.png"), figure).unwrap();
    let dataset = open(root.path(), |_| {}).unwrap();
    assert_eq!(classes(&dataset), ["cat", "dog"]);
    let remark = &dataset.remarks()[0];
    assert!(remark.contains("augment.png") && remark.contains("runs/photos-1/"), "{remark}");
    // Somebody else's folder of that name is a class.
    let dataset = read(&["cat/1.jpg", "dog/2.jpg", "runs/3.jpg"]).unwrap();
    assert_eq!(classes(&dataset), ["cat", "dog", "runs"]);
    // A run folder alone is no data set.
    let error = open(&root.path().join("runs"), |_| {}).unwrap_err();
    assert!(error.to_string().contains("no pictures found"), "{error}");
}

#[test]
fn spellings_of_one_name_are_one_class() {
    for [a, b] in [["Cat", "cat"], ["caf\u{e9}", "cafe\u{301}"], ["dog", "dog "]] {
        let paths = [format!("{a}/1.jpg"), format!("{b}/2.jpg"), "x/3.jpg".into()];
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let dataset = read(&paths).unwrap();
        assert_eq!(dataset.classes().len(), 2, "{a} {b}");
        assert!(dataset.remarks()[0].contains("differ only in"), "{:?}", dataset.remarks());
    }
}

#[test]
fn options_of_another_kind_of_source_are_refused() {
    let root = folder(&["a/1.jpg", "b/2.jpg"]);
    let error = open(root.path(), |o| o.label_column = Some("x".into())).unwrap_err();
    assert!(error.to_string().contains("label_column is 'x'"), "{error}");
    let list = root.path().join("list.csv");
    fs::write(&list, "path,label\na/1.jpg,a\nb/2.jpg,b\n").unwrap();
    let error = open(&list, |o| o.layout = LayoutChoice::Splits).unwrap_err();
    assert!(error.to_string().contains("layout is splits"), "{error}");
    assert!(open(&list, |o| o.max_pixels = Some(10)).unwrap().read(0).is_err());
}

#[test]
fn a_manifest_beside_loose_pictures_is_pointed_at() {
    let root = folder(&["1.jpg", "2.jpg"]);
    fs::write(root.path().join("labels.csv"), "path,label\n1.jpg,a\n2.jpg,b\n").unwrap();
    let error = open(root.path(), |_| {}).unwrap_err();
    assert!(matches!(error, Error::ManifestBeside { .. }), "{error}");
    assert!(error.to_string().contains("labels.csv"), "{error}");
}

#[test]
fn to_classify_labels_and_splits_do_not_count() {
    let root = folder(&["1.jpg", "test/2.jpg", "train/cat/3.jpg", "x/y/z/4.jpg"]);
    let dataset = taper_sources::open_folder(root.path(), FolderUse::Classify).unwrap();
    assert_eq!((dataset.len(), classes(&dataset)), (4, vec!["unlabelled"]));
}

#[test]
fn layouts_that_are_split_in_part_are_refused() {
    for paths in [
        &["cat/train/1.jpg", "cat/test/2.jpg", "dog/3.jpg"][..],
        &["cat/train/1.jpg", "cat/test/2.jpg", "cat/3.jpg", "dog/train/4.jpg", "dog/test/5.jpg"],
        &["a/cat/1.jpg", "a/dog/2.jpg", "b/cat/3.jpg", "b/dog/4.jpg", "c/cat/5.jpg"],
        &["a/cat/1.jpg", "a/dog/2.jpg", "b/cat/3.jpg", "b/dog/4.jpg", "other/5.jpg"],
        &["a/x/cat/1.jpg", "a/x/dog/2.jpg", "b/x/cat/3.jpg", "b/x/dog/4.jpg"],
        &["train/train/1.jpg", "train/test/2.jpg"],
        &["images/1.jpg", "thumbs/1.jpg"],
        &["images/1.jpg", "labels/1.jpg"],
        &["bus/a/1.jpg", "car/a/2.jpg", "train/a/3.jpg"],
        &["learning/cat/1.jpg", "learning/dog/2.jpg", "test/cat/3.jpg", "test/dog/4.jpg"],
        &["train_val/cat/1.jpg", "train_val/dog/2.jpg", "test/cat/3.jpg", "test/dog/4.jpg"],
        &["train/steam/1.jpg", "train/electric/2.jpg", "bus/a/3.jpg", "car/b/4.jpg"],
    ] {
        let error = read(paths).map(|dataset| classes(&dataset).join(", ")).unwrap_err();
        assert!(matches!(error, Error::Ambiguous { .. }), "{paths:?}: {error}");
        assert!(error.to_string().contains("`layout`"), "{error}");
    }
}

#[test]
fn folders_in_common_are_compared_as_classes_are_spelled() {
    for [train, test] in
        [["Ja,Nein", "ja,nein"], ["neg,pos", "neg ,POS"], ["caf\u{e9},x1", "cafe\u{301},x1"]]
    {
        let of = |name: &str, inner: &str| -> Vec<String> {
            inner.split(',').map(|class| format!("{name}/{class}/1.jpg")).collect()
        };
        let paths = [of("tren", train), of("pr\u{fc}f", test)].concat();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let error = read(&paths).unwrap_err();
        assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    }
    // One in common says little, but not nothing.
    for paths in [
        &["treino/good/1.jpg", "teste/good/2.jpg", "teste/scratch/3.jpg"][..],
        &["2021/cat/1.jpg", "2021/dog/2.jpg", "2022/cat/3.jpg", "2022/emu/4.jpg"],
        &["part1/cat/1.jpg", "part2/cat/2.jpg"],
        &["entreno/neg/1.jpg", "entreno/pos/2.jpg", "prueba/Pos/3.jpg"],
    ] {
        let dataset = read(paths).unwrap();
        assert!(dataset.remarks()[0].contains("as splits do"), "{:?}", dataset.remarks());
    }
    for paths in [
        &["n01/images/1.jpg", "n02/images/2.jpg"][..],
        &["cat/2020/1.jpg", "dog/2021/2.jpg"],
        &["cat/images/1.jpg", "dog/images/2.jpg", "dog/more/3.jpg"],
    ] {
        assert!(read(paths).unwrap().remarks().is_empty(), "{paths:?}");
    }
}

#[test]
fn errors_say_what_was_passed_over() {
    let root = folder(&["cat/1.jpg", "dog/2.jpg"]);
    for (place, mark) in [("dog", ".taper-output"), ("cat", "CACHEDIR.TAG")] {
        fs::write(root.path().join(place).join(mark), "").unwrap();
        let error = open(root.path(), |_| {}).unwrap_err().to_string();
        assert!(error.contains(&format!("'{place}/'")), "{error}");
    }
    let error = open(root.path(), |_| {}).unwrap_err().to_string();
    assert!(error.contains("no pictures") && error.contains("'dog/': written by Taper"), "{error}");
    assert!(error.contains("'cat/': marked as a cache"), "{error}");
}

#[test]
fn the_manifest_of_the_training_pictures_is_pointed_at() {
    let root = folder(&["train/1.jpg", "test/2.jpg"]);
    for name in ["sample_submission.csv", "labels.csv", "train.csv"] {
        fs::write(root.path().join(name), "id,label\n1,a\n").unwrap();
    }
    let error = open(root.path(), |_| {}).unwrap_err().to_string();
    assert!(error.contains("/train.csv'"), "{error}");
}

#[test]
fn sources_of_several_kinds_in_one_folder_are_never_dropped_in_silence() {
    let root = folder(&["train/cat/1.jpg", "train/dog/2.jpg"]);
    fs::write(root.path().join("test.zip"), "").unwrap();
    let dataset = open(root.path(), |_| {}).unwrap();
    assert!(dataset.remarks()[0].contains("'test.zip'"), "{:?}", dataset.remarks());
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("train")).unwrap();
    fs::write(root.path().join("train/cat.zip"), "").unwrap();
    let error = open(root.path(), |_| {}).unwrap_err();
    assert!(matches!(error, Error::Mixed { .. }), "{error}");
    assert!(error.to_string().contains("train/cat.zip"), "{error}");
    let root = folder(&["cat/1.jpg", "dog/2.jpg"]);
    fs::write(root.path().join("test-0.parquet"), "").unwrap();
    if cfg!(feature = "parquet") {
        let error = open(root.path(), |_| {}).unwrap_err();
        assert!(matches!(error, Error::Mixed { .. }), "{error}");
    }
}

#[test]
fn a_given_test_split_stays_the_only_one() {
    let root = folder(&["1.jpg"]);
    let mut text = String::from("path,label,split\n");
    for n in 0..30 {
        let class = ["cat", "dog"][n % 2];
        let bytes = fixture::jpeg(&fixture::picture(n % 2, n, 24, 20)).unwrap();
        fs::write(root.path().join(format!("p{n}.jpg")), bytes).unwrap();
        text += &format!("p{n}.jpg,{class},{}\n", if n >= 24 { "test" } else { "" });
    }
    let list = root.path().join("list.csv");
    fs::write(&list, &text).unwrap();
    let dataset = open(&list, |_| {}).unwrap();
    let splits = dataset.splits(taper_data::ValChoice::Auto, 0).unwrap();
    assert_eq!(splits.test, dataset.indices(Some(Split::Test)));
    assert_eq!(splits.train.len() + splits.val.len(), 24);
    // The column is found by its values, too.
    fs::write(&list, text.replace("label,split", "label,fold")).unwrap();
    let dataset = open(&list, |_| {}).unwrap();
    assert_eq!(dataset.indices(Some(Split::Test)).len(), 6);
    assert!(dataset.remarks()[0].contains("'fold'"), "{:?}", dataset.remarks());
}

#[test]
fn words_are_found_between_separators_in_any_case() {
    let names = [
        ("Training", Split::Train),
        ("TRAIN", Split::Train),
        ("seg_train", Split::Train),
        ("training_set", Split::Train),
        ("train2017", Split::Train),
        ("TrainImages", Split::Train),
        ("train-00000-of-00002", Split::Train),
        ("rps-train", Split::Train),
        ("Valid", Split::Val),
        ("my.validation.set", Split::Val),
        ("dev", Split::Val),
        ("Testing", Split::Test),
        ("seg test", Split::Test),
        ("eval-00000-of-00001", Split::Test),
        ("evaluation", Split::Test),
        ("Holdout", Split::Test),
        ("hold_out", Split::Test),
        ("traindata", Split::Train),
        ("trainset", Split::Train),
        ("TESTIMAGES", Split::Test),
        ("my_valdata", Split::Val),
        ("evalset", Split::Test),
    ];
    for (name, split) in names {
        assert_eq!(split_named(name), Some(split), "{name}");
    }
    for name in
        ["contest", "restrain", "devil", "cat", "", "train_val", "evaluated", "2017", "testpilot"]
    {
        assert_eq!(split_named(name), None, "{name}");
    }
}

#[test]
fn a_table_beside_the_folders_is_pointed_at() {
    let root = tempfile::tempdir().unwrap();
    fixture::write_folder(root.path(), &[("", 4)], &["part_1", "part_2"]).unwrap();
    std::fs::write(root.path().join("labels.csv"), "path,label\npart_1/00.jpg,x\n").unwrap();
    let dataset = taper_sources::open_path(root.path(), FolderUse::Train).unwrap();
    let remarks = dataset.remarks().join("\n");
    assert!(remarks.contains("'labels.csv' beside the folders is not read"), "{remarks}");
    std::fs::remove_dir_all(root.path().join("part_2")).unwrap();
    let error = taper_sources::open_path(root.path(), FolderUse::Train).unwrap_err().to_string();
    assert!(error.contains("only one class") && error.contains("labels.csv"), "{error}");
}
