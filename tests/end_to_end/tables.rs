//! Tables: columns of groups, columns of classes, a table for each split, tables in folders whose
//! names say no class.

use std::{fs, fs::File, path::Path, sync::Arc};

use parquet::{
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};

use crate::{
    layouts::{classes, remarks, train},
    support::run,
    unclear::{label, list, png, put, remarked, train_on},
};

/// Values of a column, by row.
enum Column {
    Text(fn(u32) -> String),
    Integer(fn(u32) -> i32),
    Truth(fn(u32) -> bool),
    Float(fn(u32) -> f64),
}

/// A Parquet file with so many pictures and these columns.
fn parquet(file: &Path, rows: u32, columns: &[(&str, Column)]) {
    let field = |(name, column): &(&str, Column)| match column {
        Column::Text(_) => format!("required binary {name} (UTF8);"),
        Column::Integer(_) => format!("required int32 {name};"),
        Column::Truth(_) => format!("required boolean {name};"),
        Column::Float(_) => format!("required double {name};"),
    };
    let fields: String = columns.iter().map(field).collect();
    let text =
        format!("message schema {{ required group image {{ required binary bytes; }} {fields} }}");
    let schema = Arc::new(parse_message_type(&text).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer =
        SerializedFileWriter::new(File::create(file).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    texts(&mut group, (0..rows).map(|n| png(n).into()).collect());
    for (_, column) in columns {
        let numbers = 0..rows;
        match column {
            Column::Text(of) => {
                texts(&mut group, numbers.map(|n| of(n).into_bytes().into()).collect());
                continue;
            }
            Column::Integer(of) => {
                let mut column = group.next_column().unwrap().unwrap();
                let values: Vec<i32> = numbers.map(of).collect();
                column.typed::<Int32Type>().write_batch(&values, None, None).unwrap();
                column.close().unwrap();
            }
            Column::Truth(of) => {
                let mut column = group.next_column().unwrap().unwrap();
                let values: Vec<bool> = numbers.map(of).collect();
                column.typed::<BoolType>().write_batch(&values, None, None).unwrap();
                column.close().unwrap();
            }
            Column::Float(of) => {
                let mut column = group.next_column().unwrap().unwrap();
                let values: Vec<f64> = numbers.map(of).collect();
                column.typed::<DoubleType>().write_batch(&values, None, None).unwrap();
                column.close().unwrap();
            }
        }
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn texts(group: &mut SerializedRowGroupWriter<'_, File>, values: Vec<ByteArray>) {
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
    column.close().unwrap();
}

#[test]
fn columns_of_groups_are_used_or_asked_for() {
    let patient = |n: u32| n / 3;
    for column in ["patient_id", "Subject", "lesion id"] {
        let root = list(["a/", "b/"], &format!("path,label,{column}"), |path, n| {
            format!("{path},{},p{}", label(n), patient(n))
        });
        let here = root.path();
        let said =
            [&format!("'{column}' are kept together")[..], "6 groups", "--group-column none"];
        remarked(train_on(here, "data/list.csv", &[]), &said);
        let answer = train_on(here, "data/list.csv", &["--group-column", "none"]).expect(0).json();
        assert_eq!(remarks(&answer), "");
        let by = ["--group-by", r"(\d)\.png"];
        let said = [&format!("'{column}'")[..], "not used, since --group-by says it"];
        remarked(train_on(here, "data/list.csv", &by), &said);
        let both = [&by[..], &["--group-column", column]].concat();
        train_on(here, "data/list.csv", &both).complains(2, &["--group-by", "--group-column"]);
    }
    // Several, none of which holds the others; in Parquet too.
    let root = list(["a/", "b/"], "path,label,patient,session", |path, n| {
        format!("{path},{},p{},s{}", label(n), patient(n), n % 3)
    });
    let here = root.path();
    parquet(
        &here.join("all.parquet"),
        18,
        &[
            ("label", Column::Text(|n| label(n).into())),
            ("patient", Column::Integer(|n| n as i32 / 3)),
            ("session", Column::Text(|n| format!("s{}", n % 3))),
        ],
    );
    for data in ["data/list.csv", "all.parquet"] {
        train_on(here, data, &[]).complains(2, &["'patient', 'session'", "--group-column"]);
        let sheet = ["augment", "--data", data, "--out", "no.png", "--size", "64", "-q"];
        run(here, &sheet).complains(2, &["'patient', 'session'", "--group-column"]);
        let answer = train_on(here, data, &["--group-column", "patient"]).expect(0).json();
        assert_eq!(remarks(&answer), "");
        train_on(here, data, &["--group-column", "x"]).complains(2, &["'x'", "--group-column"]);
    }
}

#[test]
fn columns_of_groups_that_change_nothing_or_too_much_are_refused() {
    // Two groups cannot be in three splits.
    let root = list(["a/", "b/"], "path,label,session", |path, n| {
        format!("{path},{},s{}", label(n), n / 9)
    });
    let words = ["--group-column is 'session'", "2 group(s)", "none if"];
    train_on(root.path(), "data/list.csv", &[]).complains(2, &words);
    // Nothing is drawn.
    let split = |n: u32| ["train", "train", "train", "val", "test", "test"][n as usize / 3];
    let root = list(["a/", "b/"], "path,label,split,patient", |path, n| {
        format!("{path},{},{},p{}", label(n), split(n), n / 3)
    });
    let ran = train_on(root.path(), "data/list.csv", &["--group-column", "patient"]);
    ran.complains(2, &["--group-column", "no split is drawn"]);
    let root = list(["a/", "b/"], "path,label,split,patient", |path, n| {
        format!("{path},{},{},p{}", label(n), split(n), n % 4)
    });
    let said = ["4 of 4 values of the column 'patient'", "several splits (test, train)"];
    remarked(train_on(root.path(), "data/list.csv", &[]), &said);
    // No such column, and folders, which have none.
    let root = list(["a/", "b/"], "path,label", |path, n| format!("{path},{}", label(n)));
    for (data, column, word) in [
        ("data/list.csv", "none", "no column looks like groups"),
        ("data/list.csv", "who", "'who'"),
        ("data", "none", "--group-column"),
    ] {
        train_on(root.path(), data, &["--group-column", column])
            .complains(2, &[word, "--group-column"]);
    }
    // As in a training, where pictures are taken is only remarked.
    let root = list(["a/", "b/"], "path,label,hospital", |path, n| {
        format!("{path},{},h{}", label(n), n % 4)
    });
    remarked(train_on(root.path(), "data/list.csv", &[]), &["'hospital'", "--group-column"]);
}

#[test]
fn spellings_of_a_group_are_one_and_pictures_without_one_are_counted() {
    let spelt = |n: u32| match (n / 3, n % 3) {
        (5, 0) => String::new(),
        (5, 1) => "n/a".to_owned(),
        (5, _) => "unknown".to_owned(),
        (group, 0) => group.to_string(),
        (group, 1) => format!("{group}.0"),
        (group, _) => format!("0{group}"),
    };
    let root = list(["a/", "b/"], "path,label,patient", |path, n| {
        format!("{path},{},{}", label(n), spelt(n))
    });
    let here = root.path();
    let floats = [
        ("label", Column::Text(|n| label(n).into())),
        ("patient", Column::Float(|n| f64::from(n / 3))),
    ];
    parquet(&here.join("floats.parquet"), 18, &floats);
    let said = ["(5 groups)", "3 picture(s) have no value in the column 'patient'"];
    remarked(train_on(here, "data/list.csv", &[]), &said);
    remarked(train_on(here, "floats.parquet", &[]), &["(6 groups)"]);
    // The cleaned manifest keeps them.
    let fix = ["inspect", "--data", "data/list.csv", "--no-embeddings", "--fix", "fixed", "-q"];
    run(here, &fix).expect(0);
    let text = fs::read_to_string(here.join("fixed/manifest.csv")).unwrap();
    assert!(text.starts_with("path,label,group\n"), "{text}");
    remarked(
        train_on(here, "fixed/manifest.csv", &[]),
        &["'group' are kept together", "(5 groups)"],
    );
}

#[test]
fn a_column_of_something_else_says_no_groups() {
    let root = list(["a/", "b/"], "path,label,split,patient", |path, n| {
        format!("{path},{},,p{}", label(n), n / 3)
    });
    let here = root.path();
    parquet(&here.join("all.parquet"), 18, &[("label", Column::Text(|n| label(n).into()))]);
    for (data, column, what) in [
        ("data/list.csv", "label", "has the labels"),
        ("data/list.csv", "path", "has the paths"),
        ("data/list.csv", "split", "has the splits"),
        ("all.parquet", "label", "has the labels"),
        ("all.parquet", "image", "several values or fields"),
    ] {
        let ran = train_on(here, data, &["--group-column", column]);
        ran.complains(2, &[what, "--group-column"]);
    }
}

#[test]
fn tables_that_contradict_what_they_are_called_are_refused_or_remarked() {
    // The rows of a table to test on say that they are to train on.
    let root = split_tables(&["train", "test"], "", "metadata.csv", |path, n| match n {
        u32::MAX => "file_name,label,split\n".to_owned(),
        _ => format!("{path},{},train\n", label(n)),
    });
    let words = ["test/metadata.csv", "line 2", "'train'", "says test", "--split-column"];
    train(root.path(), &[]).complains(2, &words);
    // Those of a table to train on may be held out.
    let held = split_tables(&["train"], "", "metadata.csv", |path, n| match n {
        u32::MAX => "file_name,label,split\n".to_owned(),
        _ => format!("{path},{},{}\n", label(n), if n > 3 { "val" } else { "train" }),
    });
    let answer = remarked(train(held.path(), &[]), &["2 picture(s)", "belong to val"]);
    assert_eq!(answer["pictures"], serde_json::json!([4, 2, 0]));
    // The folders of the pictures say another split than the column.
    let root = list(["train/", "test/"], "path,label,split", |path, n| {
        format!("{path},{},{}", label(n), ["train", "train", "test"][n as usize % 3])
    });
    let said = ["by the column of splits, although", "the column counts"];
    remarked(train_on(root.path(), "data/list.csv", &[]), &said);
    // As Parquet.
    let root = tempfile::tempdir().unwrap();
    for split in ["train", "test"] {
        let columns = [
            ("label", Column::Text(|n| label(n).into())),
            ("split", Column::Text(|_| "train".into())),
        ];
        fs::create_dir_all(root.path().join("data")).unwrap();
        parquet(&root.path().join(format!("data/{split}.parquet")), 8, &columns);
    }
    train(root.path(), &[]).complains(2, &["test.parquet", "row 0", "says test"]);
    // One picture in two of them.
    let root = tempfile::tempdir().unwrap();
    for n in 0..8 {
        put(root.path(), &format!("images/{n}.png"), n);
    }
    let data = root.path().join("data");
    let rows = |from: u32| -> String {
        (from..from + 5).map(|n| format!("images/{n}.png,{}\n", label(n))).collect()
    };
    fs::write(data.join("train.csv"), format!("path,label\n{}", rows(0))).unwrap();
    fs::write(data.join("test.csv"), format!("path,label\n{}", rows(3))).unwrap();
    train(root.path(), &[]).complains(1, &["'images/3.png'", "train.csv", "test.csv", "one of"]);
    // Their layout is no choice.
    fs::write(
        data.join("test.csv"),
        format!("path,label\n{}", rows(5).replace("images/8.png,cat\nimages/9.png,dog\n", "")),
    )
    .unwrap();
    train(root.path(), &["--layout", "splits"]).complains(2, &["--layout is splits"]);
}

#[test]
fn lists_of_splits_that_are_not_understood_are_not_passed_over() {
    let lines = |from: u32, labels: bool| -> String {
        let line = |n: u32| match labels {
            true => format!("{n}.png {}\n", label(n)),
            false => format!("{n}.png\n"),
        };
        (from..from + 6).map(line).collect()
    };
    for (test, said, pictures) in [
        (format!("# made by hand\n\n{}", lines(12, true)), "one for each split", Some([6, 6, 6])),
        (lines(12, false), "test.txt has no labels", Some([6, 6, 0])),
        ("12.png;cat\n13.png;dog\n".to_owned(), "no path and label", None),
    ] {
        let root = tempfile::tempdir().unwrap();
        for n in 0..18 {
            put(root.path(), &format!("jpg/{n}.png"), n);
        }
        let data = root.path().join("data");
        fs::write(data.join("train.txt"), lines(0, true)).unwrap();
        fs::write(data.join("val.txt"), lines(6, true)).unwrap();
        fs::write(data.join("test.txt"), test).unwrap();
        match pictures {
            Some(pictures) => {
                let answer = remarked(train(root.path(), &[]), &[said]);
                assert_eq!(answer["pictures"], serde_json::json!(pictures), "{said}");
            }
            None => train(root.path(), &[]).complains(1, &["test.txt", "line 1", said]),
        }
    }
    // The pictures of a split are not those of another one with the same names.
    let root = tempfile::tempdir().unwrap();
    for n in 0..8 {
        put(root.path(), &format!("train/{n}.png"), n);
    }
    let data = root.path().join("data");
    let rows = |from: u32| -> String {
        (from..from + 4).map(|n| format!("{n}.png,{}\n", label(n))).collect()
    };
    fs::write(data.join("train.csv"), format!("path,label\n{}", rows(0))).unwrap();
    fs::write(data.join("test.csv"), format!("path,label\n{}", rows(4))).unwrap();
    train(root.path(), &[]).complains(2, &["test.csv", "4.png"]);
}

#[test]
fn exact_copies_in_parquet_are_told_by_a_training() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("data")).unwrap();
    for split in ["train", "test"] {
        let columns = [("label", Column::Text(|n| label(n).into()))];
        parquet(&root.path().join(format!("data/{split}.parquet")), 8, &columns);
    }
    let answer = train(root.path(), &[]).expect(0).json();
    let text = serde_json::to_string(&answer).unwrap();
    assert!(text.contains("duplicates across splits: 8"), "{text}");
}

#[test]
fn a_first_line_of_a_picture_is_no_header() {
    let root = list(["a/", "b/"], "", |path, n| format!("{path},{}", label(n)));
    let file = root.path().join("data/list.csv");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.trim_start()).unwrap();
    let words = ["the first line", "a/0.png", "path,label"];
    train_on(root.path(), "data/list.csv", &[]).complains(2, &words);
    let named = ["--image-column", "a/0.png", "--label-column", "cat"];
    train_on(root.path(), "data/list.csv", &named).complains(2, &words);
}

#[test]
fn columns_of_classes_in_parquet_are_labels() {
    type Columns = [(&'static str, Column); 2];
    let kinds: [fn() -> Columns; 3] = [
        || {
            [
                ("cat", Column::Integer(|n| 1 - n as i32 % 2)),
                ("dog", Column::Integer(|n| n as i32 % 2)),
            ]
        },
        || {
            [
                ("cat", Column::Truth(|n| n.is_multiple_of(2))),
                ("dog", Column::Truth(|n| !n.is_multiple_of(2))),
            ]
        },
        || {
            [
                ("cat", Column::Float(|n| f64::from(1 - n % 2))),
                ("dog", Column::Float(|n| f64::from(n % 2))),
            ]
        },
    ];
    for columns in kinds {
        let root = tempfile::tempdir().unwrap();
        let here = root.path();
        parquet(&here.join("all.parquet"), 18, &columns());
        let said = ["the classes are the columns 'cat', 'dog'"];
        let answer = remarked(train_on(here, "all.parquet", &[]), &said);
        assert_eq!(classes(&answer), ["cat", "dog"]);
        // Beside what is known to be something else.
        let [cat, dog] = columns();
        let more = [
            ("id", Column::Integer(|n| n as i32)),
            cat,
            ("patient", Column::Integer(|n| n as i32 / 3)),
            dog,
        ];
        parquet(&here.join("more.parquet"), 18, &more);
        let answer = remarked(train_on(here, "more.parquet", &[]), &[said[0], "'patient'"]);
        assert_eq!(classes(&answer), ["cat", "dog"]);
        // Several labels for a picture, and a number that is none.
        let [cat, _] = columns();
        parquet(&here.join("both.parquet"), 18, &[cat, ("dog", Column::Integer(|_| 1))]);
        train_on(here, "both.parquet", &[]).complains(2, &["row 0", "multi-label", "'cat', 'dog'"]);
        let [cat, _] = columns();
        parquet(&here.join("none.parquet"), 18, &[cat, ("width", Column::Integer(|n| n as i32))]);
        train_on(here, "none.parquet", &[]).complains(2, &["'label'", "--label-column"]);
    }
}

/// `data/SPLIT/…` with six pictures in each, and a table in each that has one.
fn split_tables(
    splits: &[&str],
    inner: &str,
    name: &str,
    table: impl Fn(&str, u32) -> String,
) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for split in splits {
        let mut text = String::new();
        for n in 0..6 {
            put(root.path(), &format!("{split}/{inner}{n}.png"), n);
            text += &table(&format!("{n}.png"), n);
        }
        let header = table("", u32::MAX);
        let path = root.path().join("data").join(split).join(name);
        fs::write(path, header + &text).unwrap();
    }
    root
}

#[test]
fn a_table_for_each_split_says_the_labels() {
    let csv = |path: &str, n: u32| match n {
        u32::MAX => "file_name,label\n".to_owned(),
        _ => format!("{path},{}\n", label(n)),
    };
    let one_hot = |path: &str, n: u32| match n {
        u32::MAX => "filename,cat,dog\n".to_owned(),
        _ => format!("{path},{},{}\n", 1 - n % 2, n % 2),
    };
    let json = |path: &str, n: u32| match n {
        u32::MAX => String::new(),
        _ => format!("{{\"file_name\": \"{path}\", \"label\": \"{}\"}}\n", label(n)),
    };
    let lines = |path: &str, n: u32| match n {
        u32::MAX => String::new(),
        _ => format!("{path} {}\n", label(n)),
    };
    type Table<'a> = &'a dyn Fn(&str, u32) -> String;
    let tables: [(&str, &str, Table<'_>); 5] = [
        ("metadata.csv", "", &csv),
        ("_annotations.csv", "images/", &csv),
        ("_classes.csv", "", &one_hot),
        ("metadata.jsonl", "", &json),
        ("labels.txt", "", &lines),
    ];
    for (name, inner, table) in tables {
        let root = split_tables(&["train", "valid", "test"], inner, name, table);
        let tables = format!("'test/{name}', 'train/{name}', 'valid/{name}'");
        let answer = remarked(train(root.path(), &[]), &[&tables, "one for each split"]);
        assert_eq!(classes(&answer), ["cat", "dog"], "{name}");
        assert_eq!(answer["pictures"], serde_json::json!([6, 6, 6]), "{name}");
        // A split without one.
        fs::remove_file(root.path().join("data/test").join(name)).unwrap();
        let said = ["data/test has no labels", "taper predict MODEL data/test"];
        let answer = remarked(train(root.path(), &[]), &said);
        assert_eq!(answer["pictures"], serde_json::json!([6, 6, 0]), "{name}");
        // Two in one folder.
        fs::copy(
            root.path().join("data/train").join(name),
            root.path().join("data/train/more.csv"),
        )
        .unwrap();
        train(root.path(), &[]).complains(2, &["data/train/"]);
    }
}

#[test]
fn lists_beside_a_folder_of_pictures_are_read() {
    let rows = |from: u32, line: &dyn Fn(u32) -> String| -> String {
        (from..from + 9).map(|n| line(n) + "\n").collect()
    };
    /// The line of a picture.
    type Line<'a> = &'a dyn Fn(u32) -> String;
    let lists: [(&str, [&str; 2], &str, Line<'_>); 4] = [
        ("jpg", ["train.txt", "test.txt"], "", &|n| format!("{n}.png {}", n % 2)),
        ("images", ["train.lst", "val.lst"], "", &|n| format!("images/{n}.png\t{}", label(n))),
        ("images", ["train.csv", "test.csv"], "id,label\n", &|n| format!("{n},{}", label(n))),
        ("", ["train.csv", "test.csv"], "id,label\n", &|n| format!("{n}.png,{}", label(n))),
    ];
    for (folder, names, header, line) in lists {
        let root = tempfile::tempdir().unwrap();
        for n in 0..18 {
            put(root.path(), Path::new(folder).join(format!("{n}.png")).to_str().unwrap(), n);
        }
        let data = root.path().join("data");
        for (name, from) in names.iter().zip([0, 9]) {
            fs::write(data.join(name), format!("{header}{}", rows(from, line))).unwrap();
        }
        let answer = remarked(train(root.path(), &[]), &[names[0], names[1], "for each split"]);
        assert_eq!(classes(&answer).len(), 2, "{names:?}");
        let held_out = if names[1].starts_with("val") { 1 } else { 2 };
        assert_eq!(answer["pictures"][held_out], 9, "{names:?}");
        // One alone is given itself.
        fs::remove_file(data.join(names[1])).unwrap();
        train(root.path(), &[]).complains(2, &["data/train.", "give that"]);
        let alone = format!("data/{}", names[0]);
        assert_eq!(classes(&train_on(root.path(), &alone, &[]).expect(0).json()).len(), 2);
    }
}

#[test]
fn metadata_beside_pictures_is_read() {
    for (folder, written, name) in [
        ("images/", "images/", "metadata.jsonl"),
        ("images/", "", "metadata.jsonl"),
        ("", "", "metadata.csv"),
        ("train/", "train/", "metadata.csv"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let mut text = if name.ends_with("csv") { "file_name,label\n" } else { "" }.to_owned();
        for n in 0..18 {
            put(root.path(), &format!("{folder}{n}.png"), n);
            text += &match name {
                "metadata.csv" => format!("{written}{n}.png,{}\n", label(n)),
                _ => format!("{{\"file_name\":\"{written}{n}.png\",\"label\":\"{}\"}}\n", label(n)),
            };
        }
        fs::write(root.path().join("data").join(name), &text).unwrap();
        let answer = train(root.path(), &["--val", "0.3"]).expect(0).json();
        assert_eq!(classes(&answer), ["cat", "dog"], "{folder} {name}");
        // Without labels it is said of the table.
        let text = text.replace("label", "width").replace("cat", "12").replace("dog", "13");
        let text = text.replace("\"12\"", "12").replace(",width", ",width,height");
        let text = if name.ends_with("csv") {
            text.replace(",12\n", ",12,3\n").replace(",13\n", ",13,3\n")
        } else {
            text.replace('}', ",\"height\":3}")
        };
        fs::write(root.path().join("data").join(name), text).unwrap();
        train(root.path(), &[]).complains(2, &[name, "--label-column"]);
    }
}

#[test]
fn a_parquet_table_of_paths_is_explained_to_predict() {
    let root = list(["a/", "b/"], "path,label", |path, n| format!("{path},{}", label(n)));
    let here = root.path();
    train_on(here, "data/list.csv", &["--out", "r"]).expect(0);
    for file in ["paths.parquet", "x.parquet", "list.parquet"] {
        // Tables that taper predict writes have no pictures.
        run(here, &["predict", "r", "data/a", "--out", file, "-q"]).expect(0);
        let ran = run(here, &["predict", "r", file]);
        ran.complains(2, &[file, "path", "write their paths into a CSV file"]);
    }
}

/// Image folders of Hugging Face with folders that are no classes.
#[test]
fn metadata_of_a_split_counts_whatever_its_folders_are_called() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    for (split, from) in [("train", 0), ("test", 20)] {
        let mut rows = String::from("file_name,label\n");
        for n in from..from + 20 {
            let name = format!("{}/{n}.png", if n % 4 < 2 { "hospital_a" } else { "hospital_b" });
            put(root.path(), &format!("{split}/{name}"), n);
            // The last one is not listed.
            if n < from + 19 {
                rows += &format!("{name},{}\n", label(n));
            }
        }
        fs::write(data.join(split).join("metadata.csv"), rows).unwrap();
    }
    let unlisted = ["2 picture(s) of the folder, such as test/", "no table"];
    let answer = remarked(train(root.path(), &["--out", "run"]), &unlisted);
    assert_eq!(classes(&answer), ["cat", "dog"]);

    // Another table beside such folders is named, at least.
    for split in ["train", "test"] {
        fs::rename(data.join(split).join("metadata.csv"), data.join(split).join("labels.csv"))
            .unwrap();
    }
    let unread = ["test/labels.csv", "train/labels.csv", "not read"];
    remarked(train(root.path(), &["--out", "other"]), &unread);
}

#[test]
fn parquet_with_a_column_of_paths_reads_the_files() {
    for column in ["image", "file_name"] {
        let root = tempfile::tempdir().unwrap();
        for n in 0..12 {
            put(root.path(), &format!("{n}.png"), n);
        }
        let text = format!(
            "message schema {{ required binary {column} (UTF8); required binary label (UTF8); }}"
        );
        let schema = Arc::new(parse_message_type(&text).unwrap());
        let file = File::create(root.path().join("data/list.parquet")).unwrap();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let all = |of: &dyn Fn(u32) -> String| (0..12).map(|n| of(n).into_bytes().into()).collect();
        texts(&mut group, all(&|n| format!("{n}.png")));
        texts(&mut group, all(&|n| label(n).into()));
        group.close().unwrap();
        writer.close().unwrap();
        let asked = ["--image-column", column];
        let answer = train_on(root.path(), "data/list.parquet", &asked).expect(0).json();
        assert_eq!(classes(&answer), ["cat", "dog"], "{column}");
    }
}
