//! What lies beside pictures and says something else than people think: masks, parts, columns of
//! zeros and ones, annotations.

use std::fs;

use crate::{
    layouts::{classes, remarks, train},
    unclear::{folders, label, list, put, remarked, train_on},
};

#[test]
fn masks_and_thumbnails_beside_pictures_are_remarked() {
    for ending in ["_mask", "_seg", "-thumb", ".mask", "_mask_1"] {
        let root = tempfile::tempdir().unwrap();
        for n in 0..16 {
            put(root.path(), &format!("{}/{n}.png", label(n)), n);
            put(root.path(), &format!("{}/{n}{ending}.png", label(n)), 20 + n);
        }
        let said = ["16 picture(s) of 2 class(es)", &format!("cat/0{ending}.png"), "masks"];
        remarked(train(root.path(), &[]), &said);
    }
    let root = folders(&["cat/images", "cat/masks", "dog/images", "dog/masks"]);
    train(root.path(), &[]).complains(2, &["'masks'", "no pictures to learn from", "--layout"]);
    remarked(train(root.path(), &["--layout", "classes"]), &["'cat/masks', 'dog/masks'"]);
}

#[test]
fn one_hot_columns_are_labels() {
    for [columns, one, zero] in [
        ["path,cat,dog", "1", "0"],
        ["filename, cat, dog", " 1", " 0"],
        ["image,cat,dog", "1.0", "0.0"],
    ] {
        let row = |path: &str, n: u32| match n % 2 {
            0 => format!("{path},{one},{zero}"),
            _ => format!("{path},{zero},{one}"),
        };
        let root = list(["a/", "b/"], columns, row);
        let said = ["the classes are the columns 'cat', 'dog'"];
        let answer = remarked(train_on(root.path(), "data/list.csv", &[]), &said);
        assert_eq!(classes(&answer), ["cat", "dog"]);
        // Several labels, or none.
        for other in [one, zero] {
            let root = list(["a/", "b/"], columns, |path, n| match n {
                3 => format!("{path},{other},{other}"),
                _ => row(path, n),
            });
            let ran = train_on(root.path(), "data/list.csv", &[]);
            ran.complains(2, &["line 5", "multi-label", "'cat', 'dog'"]);
        }
    }
}

#[test]
fn labels_in_tables_that_mean_none_are_left_out() {
    let with = |third: &'static str, others: [&'static str; 2]| {
        list(["a/", "b/"], "path,label", move |path, n| match n % 3 {
            2 => format!("{path},{third}"),
            _ => format!("{path},{}", others[(n % 3) as usize]),
        })
    };
    for (third, others) in
        [("-1", ["0", "1"]), ("unlabeled", ["cat", "dog"]), ("Unlabelled", ["x", "y"])]
    {
        let root = with(third, others);
        let said = ["6 picture(s)", &format!("the label '{third}'"), "left out"];
        let answer = remarked(train_on(root.path(), "data/list.csv", &[]), &said);
        assert_eq!(classes(&answer), others);
    }
    let root = with("-", ["cat", "dog"]);
    remarked(train_on(root.path(), "data/list.csv", &[]), &["'-' is used as a class", "no value"]);
    let root = with("-1", ["a", "b"]);
    assert_eq!(classes(&train_on(root.path(), "data/list.csv", &[]).expect(0).json()).len(), 3);
}

#[test]
fn numbered_parts_of_a_split_are_read_as_one() {
    for [a, b] in [["train_1", "train_2"], ["Training 1", "Training 2"], ["train2019", "train2020"]]
    {
        let both = |part: &str| ["cat", "dog"].map(|class| format!("{part}/{class}"));
        let all: Vec<String> = [a, b, "test"].iter().flat_map(|part| both(part)).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let answer = remarked(train(folders(&all).path(), &[]), &[a, b, "read as one"]);
        assert_eq!(answer["pictures"][2], 12);
        let sum: u64 = [0_usize, 1].iter().map(|n| answer["pictures"][n].as_u64().unwrap()).sum();
        assert_eq!(sum, 24);
        // Other classes in one of them, or folds.
        let bird = format!("{b}/bird");
        let mut other = all.clone();
        other.push(&bird);
        train(folders(&other).path(), &[]).complains(2, &[a, b, "into those of the other"]);
        let folds: Vec<String> = all.iter().map(|path| path.replace(a, "test_1")).collect();
        let folds: Vec<&str> = folds.iter().map(String::as_str).chain(all[..2].to_vec()).collect();
        train(folders(&folds).path(), &[]).complains(2, &["both mean the split"]);
    }
    let root = folders(&["train/a", "train/b", "train_aug/a", "train_aug/b", "test/a", "test/b"]);
    train(root.path(), &[]).complains(2, &["'train' and 'train_aug'", "move one out"]);
}

#[test]
fn labels_with_folders_in_them_are_remarked() {
    for [expression, better] in [
        [r"^(.+)_\d+\.png$", r"([^/]+)_\d+\.png$"],
        [r"(.*)_\d+", r"([^/]*)_\d+"],
        [r"^([a-z/]+)_\d", "[^/]"],
    ] {
        let root = tempfile::tempdir().unwrap();
        for n in 0..24 {
            let place = ["garden", "kitchen"][(n / 2 % 2) as usize];
            put(root.path(), &format!("{place}/{}_{n}.png", label(n)), n);
        }
        let said = ["4 label(s)", "'garden/cat'", better];
        remarked(train(root.path(), &["--label-from", expression]), &said);
        if better.starts_with('(') {
            let answer = train(root.path(), &["--label-from", better]).expect(0).json();
            assert_eq!(classes(&answer), ["cat", "dog"]);
        }
    }
}

#[test]
fn labelled_pictures_beside_unlabelled_ones_are_the_data_set() {
    for [labelled, other] in
        [["labeled", "unlabeled"], ["labelled", "unlabelled"], ["Labeled images", "unsup"]]
    {
        let classes_of = ["cat", "dog"].map(|class| format!("{labelled}/{class}"));
        let root = folders(&[&classes_of[0], &classes_of[1], other]);
        let said = ["taper predict MODEL data", &format!("'{other}' beside '{labelled}'")];
        let answer = remarked(train(root.path(), &[]), &said);
        assert_eq!(classes(&answer), ["cat", "dog"]);
        assert_eq!(remarks(&answer).lines().count(), 1, "{}", remarks(&answer));
    }
}

#[test]
fn unlabelled_pictures_within_a_split_are_passed_over() {
    for [labelled, other] in
        [["labeled", "unlabeled"], ["labelled", "unlabelled"], ["Labeled images", "unsup"]]
    {
        let within = |split: &str| ["cat", "dog"].map(|c| format!("{split}/{labelled}/{c}"));
        let mut paths: Vec<String> = within("train").into();
        paths.push(format!("train/{other}"));
        paths.extend(["cat", "dog"].map(|class| format!("test/{class}")));
        let folder = format!("train/{other}");
        let said = [&format!("'{folder}' is no class")[..], &format!("MODEL data/{folder}")];
        let list =
            |paths: &[String]| folders(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        let answer = remarked(train(list(&paths).path(), &[]), &said);
        assert_eq!(classes(&answer), ["cat", "dog"]);
        assert_eq!(answer["pictures"][2], 12);
        assert_eq!(remarks(&answer).lines().count(), 1, "{}", remarks(&answer));
        // In each split, and among the packaging.
        paths.truncate(3);
        paths.extend(within("test"));
        paths.push(format!("test/{other}/a"));
        let inner: Vec<String> =
            paths.iter().map(|path| path.replacen('/', "/images/", 1)).collect();
        for paths in [&paths, &inner] {
            let answer =
                remarked(train(list(paths).path(), &[]), &["taper predict MODEL data/train"]);
            assert_eq!(classes(&answer), ["cat", "dog"]);
            assert_eq!(answer["pictures"][2], 12);
        }
    }
}

#[test]
fn folders_of_systems_and_ordinary_names_are_no_remark() {
    for names in [
        ["cat", "dog", "System Volume Information"],
        ["cat", "dog", "$RECYCLE.BIN"],
        ["cat", "dog", "lost+found"],
        ["beaker", "flask", "test tube"],
        ["negative", "unclear", "positive test"],
        ["airport", "harbour", "train_station"],
        ["Class 1-samples", "Class 2-samples", "Class 3-samples"],
    ] {
        let root = folders(&names);
        let answer = train(root.path(), &[]).expect(0).json();
        assert_eq!(remarks(&answer), "", "{names:?}");
        let hidden = ["System Volume Information", "$RECYCLE.BIN", "lost+found"];
        let count = if hidden.contains(&names[2]) { 2 } else { 3 };
        assert_eq!(classes(&answer).len(), count);
    }
    // As some cameras write it.
    let root = folders(&["cat", "dog"]);
    let from = root.path().join("data/cat/00.jpg");
    fs::rename(from, root.path().join("data/cat/00.mpo")).unwrap();
    let answer = train(root.path(), &["--strict"]).expect(0).json();
    assert_eq!(remarks(&answer), "");
}

#[test]
fn annotations_of_other_tasks_and_pointers_are_explained() {
    for [pictures, annotations] in [
        ["train/images", "train/labels/0.txt"],
        ["JPEGImages", "Annotations/0.xml"],
        ["images", "annotations/instances.json"],
    ] {
        let root = folders(&[pictures]);
        let path = root.path().join("data").join(annotations);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "0 0.5 0.5 0.1 0.1\n").unwrap();
        train(root.path(), &[]).complains(2, &["detection", "one class for each picture"]);
    }
    let root = folders(&["cat", "dog"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n";
    fs::write(root.path().join("data/cat/00.jpg"), pointer).unwrap();
    train(root.path(), &["--strict"]).complains(1, &["git lfs pull"]);
    for name in ["all.zip", "all.tar", "all.csv", "all.parquet"] {
        fs::write(root.path().join(name), pointer).unwrap();
        train_on(root.path(), name, &[]).complains(1, &["git lfs pull"]);
    }
}

#[test]
fn columns_and_paths_that_cannot_be_used_are_explained() {
    let root = list(["a/", "b/"], "path,label", |path, n| format!("{path},{}", label(n)));
    let ran = train_on(root.path(), "data/list.csv", &["--label-column", "path"]);
    ran.complains(2, &["'path' is the only column", "--label-column"]);
    let root = list(["a/", "b/"], "path,label", |path, n| format!("file:///x/{path},{}", label(n)));
    train_on(root.path(), "data/list.csv", &[]).complains(1, &["write the path alone", "'/x/a/0"]);
}
