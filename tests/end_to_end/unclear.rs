//! Data sets that leave something open: it is said, or asked, and never settled in silence.

use std::{
    fs::{self, File},
    io::{Cursor, Write},
    path::Path,
    sync::Arc,
};

use parquet::{
    data_type::{ByteArray, ByteArrayType, Int32Type},
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use tempfile::TempDir;

use crate::{
    layouts::{classes, remarks, train, write},
    support::{Ran, picture, run},
};

/// `data/PATH` with a picture of the colour that the number gives.
pub(crate) fn put(root: &Path, path: &str, n: u32) {
    let path = root.join("data").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, png(n)).unwrap();
}

pub(crate) fn png(n: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let class = if n.is_multiple_of(2) { "blue" } else { "red" };
    picture(class, n).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Six pictures in each of these folders.
pub(crate) fn folders(paths: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (k, folder) in (0..).zip(paths) {
        let colour = if k % 2 == 0 { "blue" } else { "red" };
        write(&root.path().join("data").join(folder), colour, 10 * k, 6);
    }
    root
}

/// The same as `data.zip`.
fn zipped(root: &Path) {
    fn add(zip: &mut zip::ZipWriter<File>, root: &Path, folder: &Path) {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(zip, root, &path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                zip.start_file(name, options).unwrap();
                zip.write_all(&fs::read(&path).unwrap()).unwrap();
            }
        }
    }
    let mut zip = zip::ZipWriter::new(File::create(root.join("data.zip")).unwrap());
    add(&mut zip, &root.join("data"), &root.join("data"));
    zip.finish().unwrap();
}

pub(crate) fn train_on(root: &Path, data: &str, more: &[&str]) -> Ran {
    let mut arguments = vec![
        "train", "--data", data, "--size", "64", "--epochs", "1", "--head", "linear", "--json",
        "--quiet", "--cache", "off",
    ];
    arguments.extend(more);
    run(root, &arguments)
}

#[track_caller]
pub(crate) fn remarked(ran: Ran, words: &[&str]) -> serde_json::Value {
    let answer = ran.expect(0).json();
    let text = remarks(&answer);
    for word in words {
        assert!(text.contains(word), "'{word}' is missing: {text}");
    }
    answer
}

const INNER: &str = "([^/]+)/[^/]+$";

#[test]
fn numbered_folders_in_parts_of_a_set_are_a_question() {
    for outer in [["part1", "part2"], ["batchA", "batchB"], ["images_1", "images_2"]] {
        let [a, b] = outer;
        let inner = [[a, "0"], [a, "1"], [b, "2"], [b, "3"]].map(|both| both.join("/"));
        let root = folders(&inner.each_ref().map(String::as_str));
        let here = root.path();
        zipped(here);
        for data in ["data", "data.zip"] {
            train_on(here, data, &[]).complains(2, &[a, b, "'0'", "--label-from", "--layout"]);
            let answer = train_on(here, data, &["--label-from", INNER]).expect(0).json();
            assert_eq!(classes(&answer), ["0", "1", "2", "3"]);
            let answer = train_on(here, data, &["--layout", "classes"]).expect(0).json();
            assert_eq!(classes(&answer), outer);
        }
    }
    let root = folders(&["train/part1/0", "train/part2/1", "test/part1/0", "test/part2/1"]);
    train(root.path(), &[]).complains(2, &["train/part1", "--layout"]);
    let answer = train(root.path(), &["--label-from", INNER]).expect(0).json();
    assert_eq!(classes(&answer), ["0", "1"]);
}

#[test]
fn numbered_folders_in_classes_are_remarked() {
    for paths in [
        ["lower/1", "lower/2", "upper/3", "upper/4"],
        ["left/001", "left/002", "right/003", "right/004"],
        ["a/n01440764", "a/n01443537", "b/n01484850", "b/n01491361"],
        ["first/label 1", "first/label 2", "second/label 3", "second/label 4"],
    ] {
        let root = folders(&paths);
        zipped(root.path());
        for data in ["data", "data.zip"] {
            remarked(train_on(root.path(), data, &[]), &["are merged into the class", INNER]);
        }
    }
    // Within the folders of splits.
    let root = folders(&["train/a/0", "train/a/1", "train/b/2", "test/a/5", "test/b/6"]);
    remarked(train(root.path(), &[]), &["'0', '1' in 'train/a'", "are merged"]);
    // Days and sessions are parts of a class.
    let root = folders(&["cat/2021-05", "cat/2021-06", "dog/s1", "dog/s2"]);
    let answer = train(root.path(), &[]).expect(0).json();
    assert!(!remarks(&answer).contains("merged"), "{}", remarks(&answer));
}

#[test]
fn folders_of_folders_beside_folders_of_pictures_are_remarked() {
    for paths in [["A", "all/0", "all/1"], ["A", "b/0", "b/1"], ["extra", "numbers/0", "numbers/1"]]
    {
        let root = folders(&paths);
        let name = paths[1].split('/').next().unwrap();
        let merged = format!("'0', '1' in '{name}' are merged");
        remarked(train(root.path(), &[]), &[&merged, "move them up"]);
    }
}

#[test]
fn folders_of_what_nobody_sorted_are_remarked() {
    for name in [
        "predict",
        "pred",
        "query",
        "inference",
        "to_sort",
        "no_label",
        "unclassified",
        "misc",
        "all",
        "New folder",
        "New folder (2)",
        "deleted",
        "unknown",
        "other",
    ] {
        let root = folders(&["cat", "dog", name]);
        let said = format!("'{name}' is used as a class");
        remarked(train(root.path(), &[]), &[&said, "rename it or move it away"]);
    }
    // Also where the splits are in the classes.
    let all = ["cat/train", "cat/test", "misc/train", "misc/test"];
    remarked(train(folders(&all).path(), &[]), &["'misc' is used as a class"]);
    for names in [["cat_1", "cat_2", "dog"], ["dog1", "dog2", "cat"], ["owl (1)", "owl (2)", "x"]] {
        remarked(train(folders(&names).path(), &[]), &["differ only in numbers", names[0]]);
    }
    for names in [["type 1", "type 2"], ["class_1", "class_2"], ["0", "1"]] {
        let answer = train(folders(&names).path(), &[]).expect(0).json();
        assert!(!remarks(&answer).contains("numbers"), "{}", remarks(&answer));
    }
}

#[test]
fn what_is_called_by_a_split_and_something_else_is_a_question() {
    for [name, other] in [["training_shoe", "boot"], ["test_tube", "flask"], ["eval board", "x"]] {
        let inner = ["a", "b"];
        let paths = [name, other].map(|outer| inner.map(|inner| format!("{outer}/{inner}")));
        let paths: Vec<&str> = paths.iter().flatten().map(String::as_str).collect();
        train(folders(&paths).path(), &[]).complains(2, &[name, other, "--layout"]);
        let answer = train(folders(&paths).path(), &["--layout", "classes"]).expect(0).json();
        assert_eq!(classes(&answer).len(), 2);
    }
    // Splits are called alike, or one of them by nothing else.
    for splits in [["seg_train", "seg_test"], ["train", "val_hard"]] {
        let paths = splits.map(|split| ["a", "b"].map(|class| format!("{split}/{class}")));
        let paths: Vec<&str> =
            paths.iter().flatten().map(String::as_str).chain(["notes"]).collect();
        remarked(train(folders(&paths).path(), &[]), &["'notes' beside the split folders"]);
    }
    let root = folders(&["train/train/a", "train/train/b", "train/extra", "test/a", "test/b"]);
    train(root.path(), &[]).complains(2, &["'train' contains 'train'", "'extra'", "up into"]);
}

/// A list of pictures, the first two thirds of them in one folder, the others in another one.
pub(crate) fn list(
    [first, second]: [&str; 2],
    columns: &str,
    row: impl Fn(&str, u32) -> String,
) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut text = format!("{columns}\n");
    for n in 0..18 {
        let path = format!("{}{n}.png", if n < 12 { first } else { second });
        put(root.path(), &path, n);
        text += &(row(&path, n) + "\n");
    }
    fs::write(root.path().join("data/list.csv"), text).unwrap();
    root
}

pub(crate) fn label(n: u32) -> &'static str {
    ["cat", "dog"][(n % 2) as usize]
}

#[test]
fn splits_in_the_paths_of_a_list_are_taken_or_asked_for() {
    let plain = |path: &str, n| format!("{path},{}", label(n));
    for parts in [["train/", "test/"], ["x/Training/", "x/holdout/"], ["train_", "test_"]] {
        let root = list(parts, "path,label", plain);
        let answer = remarked(
            train_on(root.path(), "data/list.csv", &[]),
            &["the splits are taken from", "--split-column"],
        );
        assert_eq!(answer["pictures"][2], 6, "{parts:?}");
        // A column wins, even an empty one.
        let root = list(parts, "path,label,split", |path, n| plain(path, n) + ",");
        let answer = train_on(root.path(), "data/list.csv", &[]).expect(0).json();
        assert_ne!(answer["pictures"][2], 6, "{parts:?}");
    }
    // Some are in no split.
    let root = list(["train/", "test/"], "path,label", plain);
    put(root.path(), "more/x.png", 30);
    let path = root.path().join("data/list.csv");
    fs::write(&path, fs::read_to_string(&path).unwrap() + "more/x.png,cat\n").unwrap();
    train_on(root.path(), "data/list.csv", &[])
        .complains(2, &["'test', 'train'", "more/x.png", "--split-column"]);
    // A class may be called so.
    let root = list(["train/", "bus/"], "path,label", |path, _| {
        format!("{path},{}", path.split('/').next().unwrap())
    });
    let answer = train_on(root.path(), "data/list.csv", &[]).expect(0).json();
    assert_eq!(classes(&answer), ["bus", "train"]);
    assert_eq!(remarks(&answer), "");
}

/// A zip with these files.
pub(crate) fn pack(path: &Path, files: &[(String, Vec<u8>)]) {
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in files {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn splits_in_the_names_of_a_shard_are_taken() {
    for [first, second] in [["train/", "test/"], ["a/train/", "a/val/"], ["train_", "test_"]] {
        let root = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for n in 0..18 {
            let key = format!("{}{n:03}", if n < 12 { first } else { second });
            files.push((format!("{key}.png"), png(n)));
            files.push((format!("{key}.cls"), label(n).into()));
        }
        pack(&root.path().join("shard.zip"), &files);
        let answer =
            remarked(train_on(root.path(), "shard.zip", &[]), &["the splits are taken from"]);
        let held_out = if second.contains("val") { 1 } else { 2 };
        assert_eq!(answer["pictures"][held_out], 6, "{second}");
    }
    // Nothing says a label.
    let mut files = Vec::new();
    for n in 0..6 {
        files.push((format!("{n}.png"), png(n)));
        files.push((format!("{n}.json"), format!("{{\"kind\": {}, \"w\": 3}}", n % 2).into()));
    }
    let root = tempfile::tempdir().unwrap();
    pack(&root.path().join("shard.zip"), &files);
    train_on(root.path(), "shard.zip", &[]).complains(2, &["'kind', 'w'", "--label-column"]);
    let answer = train_on(root.path(), "shard.zip", &["--label-column", "kind"]).expect(0).json();
    assert_eq!(classes(&answer), ["0", "1"]);
}

/// A Parquet file with pictures, their paths and a column of labels; with names for the labels,
/// these are numbers.
pub(crate) fn parquet(file: &Path, column: &str, names: &[&str], rows: &[(String, u32)]) {
    let kind = if names.is_empty() { "binary {} (UTF8)" } else { "int32 {}" };
    let text = format!(
        "message schema {{ required group image {{ required binary bytes; required binary path (UTF8); }} required {}; }}",
        kind.replace("{}", column)
    );
    let schema = Arc::new(parse_message_type(&text).unwrap());
    let mut properties = parquet::file::properties::WriterProperties::builder();
    if !names.is_empty() {
        let features = serde_json::json!({"info": {"features": {
            "image": {"_type": "Image"},
            column: {"_type": "ClassLabel", "names": names},
        }}});
        properties =
            properties.set_key_value_metadata(Some(vec![parquet::file::metadata::KeyValue::new(
                "huggingface".into(),
                features.to_string(),
            )]));
    }
    let out = File::create(file).unwrap();
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties.build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts: [Vec<ByteArray>; 3] = [
        rows.iter().map(|(_, n)| png(*n).into()).collect(),
        rows.iter().map(|(path, _)| path.as_str().into()).collect(),
        rows.iter().map(|(_, n)| label(*n).into()).collect(),
    ];
    for values in &texts[..if names.is_empty() { 3 } else { 2 }] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(values, None, None).unwrap();
        column.close().unwrap();
    }
    if !names.is_empty() {
        let numbers: Vec<i32> =
            rows.iter().map(|(_, n)| (*n as usize % names.len()) as i32).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(&numbers, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn splits_in_the_paths_within_parquet_are_taken() {
    for [first, second] in [["train/", "test/"], ["a/Training/", "a/Testing/"], ["train-", "test-"]]
    {
        let root = tempfile::tempdir().unwrap();
        let rows: Vec<(String, u32)> = (0..18)
            .map(|n| (format!("{}{n}.png", if n < 12 { first } else { second }), n))
            .collect();
        parquet(&root.path().join("all.parquet"), "label", &[], &rows);
        let answer =
            remarked(train_on(root.path(), "all.parquet", &[]), &["the splits are taken from"]);
        assert_eq!(answer["pictures"][2], 6, "{first}");
    }
}

#[test]
fn parquet_files_with_labels_in_other_columns_and_names_in_two_spellings_are_remarked() {
    let rows: Vec<(String, u32)> = (0..12).map(|n| (format!("{n}.png"), n)).collect();
    for other in ["category", "target", "animal_class"] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        parquet(&root.path().join("data/train.parquet"), "label", &[], &rows);
        parquet(&root.path().join("data/test.parquet"), other, &[], &rows);
        let words = ["'label'", &format!("'{other}'"), "one by one"];
        remarked(train(root.path(), &[]), &words);
    }
    for names in [["cat", "dog", "Cat"], ["cat", "dog", " dog"], ["caf\u{e9}", "x", "cafe\u{301}"]]
    {
        let root = tempfile::tempdir().unwrap();
        parquet(&root.path().join("all.parquet"), "label", &names, &rows);
        let answer =
            remarked(train_on(root.path(), "all.parquet", &[]), &["differ only in", "one class"]);
        assert_eq!(classes(&answer).len(), 2);
        assert!(!remarks(&answer).contains("NFKC"), "{}", remarks(&answer));
    }
}

/// `data/PATH` for each class and number; the second class is a third of it in test.
fn named(paths: impl Fn(&str, u32) -> String) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (k, class) in (0..).zip(["cat", "dog"]) {
        for n in 0..9 {
            put(root.path(), &paths(class, n), 2 * n + k);
        }
    }
    root
}

#[test]
fn labels_from_names_keep_the_splits_that_paths_say() {
    type Name = fn(&str, u32) -> String;
    let part = |n| if n < 6 { "train" } else { "test" };
    let both: [(Name, &str); 3] = [
        (|c, n| format!("{}_{c}_{n}.png", if n < 6 { "train" } else { "test" }), "_([a-z]+)_"),
        (|c, n| format!("{c}/{}/{n}.png", if n < 6 { "train" } else { "test" }), "^([a-z]+)/"),
        (|c, n| format!("x/{c}.{n}.{}.png", if n < 6 { "train" } else { "test" }), "x/([a-z]+)"),
    ];
    for (name, expression) in both {
        let root = named(name);
        let from = ["--label-from", expression];
        let answer = remarked(train(root.path(), &from), &["the splits are taken from"]);
        assert_eq!((classes(&answer), &answer["pictures"][2]), (vec!["cat", "dog"], &6.into()));
        let drawn = [&from[..], &["--layout", "classes"]].concat();
        let answer = train(root.path(), &drawn).expect(0).json();
        assert_ne!(answer["pictures"][2], 6);
    }
    // The split's word in the label.
    for expression in ["^([a-z_]+)_", "(train_cat|test_cat|train_dog|test_dog)", "^(.*)_\\d"] {
        let root = named(|c, n| format!("{}_{c}_{n}.png", part(n)));
        let words = ["'train_cat'", "'test_cat'", "--label-from", "parentheses"];
        train(root.path(), &["--label-from", expression]).complains(2, &words);
    }
    // Folders that are splits under other names, or may be.
    let part = |n: u32, [a, b]: [&str; 2]| if n < 6 { a.to_owned() } else { b.to_owned() };
    let from = ["--label-from", r"([a-z]+)\.\d"];
    for names in [["tr", "te"], ["trn", "tst"], ["tr", "va"]] {
        let root = named(|c, n| format!("{}/{c}.{n}.png", part(n, names)));
        train(root.path(), &from).complains(2, &[names[0], "look like splits", "--layout"]);
    }
    for names in [["learn", "check"], ["entrenamiento", "prueba"], ["a", "b"]] {
        let root = named(|c, n| format!("{}/{c}.{n}.png", part(n, names)));
        remarked(train(root.path(), &from), &[names[0], "read as one set"]);
    }
}

#[test]
fn columns_that_may_be_splits_are_remarked_by_their_values_too() {
    for (column, values) in
        [("part", ["learn", "check"]), ("role", ["a", "b"]), ("who", ["fit", "unseen"])]
    {
        let root = list(["a/", "b/"], &format!("path,label,{column}"), |path, n| {
            format!("{path},{},{}", label(n), values[(n / 12) as usize])
        });
        let words = [&format!("'{column}'")[..], "looks like splits", "--split-column"];
        remarked(train_on(root.path(), "data/list.csv", &[]), &words);
    }
}

#[test]
fn blanks_around_labels_are_remarked() {
    for other in [" cat", "cat ", "\" cat\""] {
        let root = list(["a/", "b/"], "path,label", |path, n| {
            format!("{path},{}", if n == 2 { other } else { label(n) })
        });
        let words = ["differ only in surrounding blanks", "one class"];
        let answer = remarked(train_on(root.path(), "data/list.csv", &[]), &words);
        assert_eq!(classes(&answer), ["cat", "dog"]);
    }
    // As some write behind every comma.
    let root = list(["a/", "b/"], "path, label", |path, n| format!("{path}, {}", label(n)));
    let answer = train_on(root.path(), "data/list.csv", &[]).expect(0).json();
    assert_eq!((classes(&answer), &*remarks(&answer)), (vec!["cat", "dog"], ""));
}

#[test]
fn a_picture_that_is_listed_twice_is_known_however_it_is_spelt() {
    for again in ["a/../a/0.png", "./a//0.png", "a/./0.png"] {
        let root = list(["a/", "b/"], "path,label", |path, n| {
            format!("{},{}", if n == 1 { again } else { path }, label(n))
        });
        let ran = train_on(root.path(), "data/list.csv", &[]);
        ran.complains(1, &["line 3", again.trim_start_matches("./"), "already in line 2"]);
    }
}

#[test]
fn separators_are_found_and_lines_of_another_length_explained() {
    for (first, separator) in [("sep=;\n", ";"), ("\"sep=|\"\r\n", "|"), ("", "|"), ("", "\t")] {
        let columns = format!("{first}path{separator}label");
        let row = |path: &str, n| format!("{path}{separator}{}", label(n));
        let root = list(["a/", "b/"], &columns, row);
        let answer = train_on(root.path(), "data/list.csv", &[]).expect(0).json();
        assert_eq!(classes(&answer), ["cat", "dog"], "{first}{separator}");
        let root = list(["a/", "b/"], &columns, |path, n| {
            row(path, n) + if n == 3 { separator } else { "" } + if n == 3 { "x" } else { "" }
        });
        let line = format!("line {}:", 5 + u32::from(!first.is_empty()));
        let words = [&*line, "3 fields", "the first line has 2"];
        train_on(root.path(), "data/list.csv", &[]).complains(1, &words);
    }
}

#[test]
fn what_taper_wrote_is_known_as_data() {
    let root = folders(&["cat", "dog"]);
    let here = root.path();
    train(here, &["--out", "r"]).expect(0);
    let model = "r/model.safetensors";
    for out in ["p.csv", "p.jsonl"] {
        run(here, &["predict", model, "data", "--out", out, "-q"]).expect(0);
        train_on(here, out, &[]).complains(2, &["taper predict wrote", "--label-column"]);
        let inspect = ["inspect", "--data", out, "--no-embeddings", "-q", "--out"];
        let to = format!("of {out}");
        run(here, &[&inspect[..], &[&to, "--label-column", "label"]].concat()).expect(0);
    }
    run(here, &["evaluate", model, "--data", "data", "--out", "ev", "-q"]).expect(0);
    fs::copy(here.join("ev/evaluation.json"), here.join("data/evaluation.json")).unwrap();
    let answer = remarked(train(here, &[]), &["evaluation.json", "written by Taper"]);
    assert!(!remarks(&answer).contains("list splits"), "{}", remarks(&answer));
    // A trained model and a network at once.
    let both = ["predict", model, "--model", "efficientnet-lite0", "data/cat/00.jpg"];
    run(here, &both).complains(2, &["--model", model, "leave out"]);
    let one = ["augment", "--data", "data", "--views", "1", "--out", "one.png", "-q"];
    let text = run(here, &one).expect(0).stdout;
    assert!(text.contains("1 view of each, the unchanged picture"), "{text}");
}
