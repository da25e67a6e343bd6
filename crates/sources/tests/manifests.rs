//! Manifests: columns, encodings, places, and what is refused.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::PathBuf};

use taper_core::Split;
use taper_data::{Dataset, ValChoice, fixture};
use taper_path_lists::{decode as decode_text, delimiter};
use taper_sources::{Error, FolderUse, Reading, Result, SourceOptions, open_manifest};

fn write(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    fixture::write_folder(root.path(), &[("", 4)], &["a", "b"]).unwrap();
    let path = root.path().join(name);
    fs::write(&path, text).unwrap();
    (root, path)
}

#[test]
fn csv_and_json_lines_say_the_same() {
    let csv = "\u{feff}label, path ,split,group\nx,a/00.jpg,train,1\nx,./a/01.jpg,,\ny,b/00.jpg,Train,1\ny,\"b/01.jpg\",val,2\n";
    let (_root, path) = write("list.csv", csv);
    let a = open_manifest(&path, FolderUse::Train).unwrap();
    let lines = "{\"path\":\"a/00.jpg\",\"label\":\"x\",\"split\":\"train\",\"group\":\"1\"}\n\n{\"path\":\"a/01.jpg\",\"label\":\"x\"}\n{\"path\":\"b/00.jpg\",\"label\":\"y\",\"split\":\"train\",\"group\":\"1\"}\n{\"path\":\"b/01.jpg\",\"label\":\"y\",\"split\":\"val\",\"group\":\"2\"}";
    let (_other, path) = write("list.jsonl", lines);
    let b = open_manifest(&path, FolderUse::Train).unwrap();
    assert_eq!(a.samples(), b.samples());
    assert_eq!(a.fingerprint(), b.fingerprint());
    assert_eq!(a.samples()[0].group.as_deref(), Some("1"));
    assert_eq!(a.samples()[1].split, None);
    assert!(a.verify().is_empty());
    assert!(a.file(0).unwrap().is_file());
}

#[test]
fn what_cannot_be_understood_is_named_with_its_line() {
    let cases = [
        ("path,label\na/00.jpg,x\n,y\n", "line 3", "empty"),
        ("path,label\na/00.jpg,\n", "line 2", "no label"),
        ("path,label,split\na/00.jpg,x,third\n", "line 2", "'third'"),
        ("path,label\na/00.jpg,x\nb/00.jpg,y\n./a/00.jpg,y\n", "line 4", "line 2"),
        ("path,label\na,b,c\n", "line 2", "3 fields"),
        ("path,label\nhttps://example.org/a.jpg,x\n", "line 2", "is a URL"),
    ];
    for (text, line, expected) in cases {
        let (_root, path) = write("list.csv", text);
        let error = open_manifest(&path, FolderUse::Train).unwrap_err().to_string();
        assert!(error.contains(line) && error.contains(expected), "{error}");
    }
    let (_root, path) = write("empty.csv", "path,label\n");
    let error = open_manifest(&path, FolderUse::Train).unwrap_err();
    assert!(matches!(error, Error::Data(taper_data::Error::NoPictures { .. })));
    let (_root, path) = write("one.csv", "path,label\na/00.jpg,x\n");
    let error = open_manifest(&path, FolderUse::Train).unwrap_err();
    assert!(matches!(error, Error::Data(taper_data::Error::OneClass { .. })));
    assert_eq!(open_manifest(&path, FolderUse::Evaluate).unwrap().len(), 1);
}

#[test]
fn a_missing_file_is_a_finding() {
    let (_root, path) = write("list.csv", "path,label\na/00.jpg,x\nnowhere.jpg,y\n");
    let dataset = open_manifest(&path, FolderUse::Train).unwrap();
    let findings = dataset.verify();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].path, "nowhere.jpg");
    assert!(findings[0].reason.contains("looked for in"), "{}", findings[0].reason);
}

#[test]
fn ten_thousand_classes_and_a_hundred_thousand_pictures_are_opened_at_once() {
    let mut text = String::from("path,label\na/00.jpg,class 0\n");
    for i in 0..100_000 {
        text += &format!("pictures/{i:06}.jpg,class {}\n", i % 10_000);
    }
    let (_root, path) = write("large.csv", &text);
    let start = std::time::Instant::now();
    let dataset = open_manifest(&path, FolderUse::Train).unwrap();
    let splits = dataset.splits(ValChoice::Auto, 1).unwrap();
    eprintln!("100,000 pictures, 10,000 classes: {:?}", start.elapsed());
    assert_eq!(dataset.classes().len(), 10_000);
    assert_eq!(splits.train.len() + splits.val.len() + splits.test.len(), 100_001);
}

fn open(name: &str, text: impl AsRef<[u8]>) -> Result<Dataset> {
    let (root, path) = write(name, "");
    fs::write(&path, text).unwrap();
    let dataset = open_manifest(&path, FolderUse::Train);
    drop(root);
    dataset
}

#[test]
fn tables_as_spreadsheets_and_competitions_write_them_are_read() {
    let names = |dataset: Dataset| dataset.classes().iter().map(String::from).collect::<Vec<_>>();
    // Semicolons and Windows-1252; tabs; UTF-16; an index column and others.
    let dataset = open("x.csv", b"file;class\na/00.jpg;K\xe4se\nb/00.jpg;Wurst\n").unwrap();
    assert!(dataset.remarks()[0].contains("Windows-1252"));
    assert_eq!(names(dataset), ["Käse", "Wurst"]);
    assert_eq!(
        names(open("x.tsv", "image\tlabel\na/00.jpg\tx\nb/00.jpg\ty\n").unwrap()),
        ["x", "y"]
    );
    let utf16 = |text: &str| -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| unit.to_le_bytes()).collect()
    };
    let text = "\u{feff}filename,label\na/00.jpg,ü\nb/00.jpg,y\n";
    assert_eq!(names(open("x.csv", utf16(text)).unwrap()), ["y", "ü"]);
    let text = ",image_path,width,label\n0,a/00.jpg,48,x\n1,b/00.jpg,48,y\n";
    assert_eq!(open("x.csv", text).unwrap().len(), 2);
    // Extensions are filled in.
    let dataset = open("x.csv", "id,breed\na/00,x\nb/00,y\n").unwrap();
    assert_eq!(dataset.samples()[1].id, "b/00.jpg");
    // A split word of another kind.
    let dataset = open(
        "x.csv",
        "path,label,split\na/00.jpg,x,TRAINING\nb/00.jpg,y,training\na/01.jpg,x,holdout\n",
    );
    assert_eq!(dataset.unwrap().indices(Some(Split::Test)).len(), 1);
}

#[test]
fn the_folder_beside_a_manifest_is_found_and_files_that_are_nowhere_are_named() {
    let root = tempfile::tempdir().unwrap();
    fixture::write_folder(root.path().join("train"), &[("", 2)], &["a", "b"]).unwrap();
    fs::create_dir(root.path().join("another")).unwrap();
    let path = root.path().join("train.csv");
    fs::write(&path, "id,label\na/00,x\nb/00,y\n").unwrap();
    let dataset = open_manifest(&path, FolderUse::Train).unwrap();
    assert!(dataset.remarks()[0].contains("relative to"), "{:?}", dataset.remarks());
    assert!(dataset.verify().is_empty());
    // One of them may be missing, the first too.
    fs::write(&path, "id,label\na/09,x\na/00,x\nb/00,y\n").unwrap();
    assert_eq!(open_manifest(&path, FolderUse::Train).unwrap().verify().len(), 1);
    fs::write(&path, "id,label\nc/00,x\nd/00,y\n").unwrap();
    let error = open_manifest(&path, FolderUse::Train).unwrap_err().to_string();
    let folder = root.path().display().to_string();
    assert!(error.contains("'c/00'") && error.contains(&folder), "{error}");
}

#[test]
fn of_several_folders_and_extensions_none_is_taken_in_silence() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["images", "thumbs"] {
        fixture::write_folder(root.path().join(folder), &[("", 2)], &["a", "b"]).unwrap();
    }
    let path = root.path().join("list.csv");
    fs::write(&path, "path,label\na/00.jpg,x\nb/00.jpg,y\n").unwrap();
    let error = open_manifest(&path, FolderUse::Train).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    assert!(error.to_string().contains("images' as well as '"), "{error}");
    // The one that is called like the manifest is the right one.
    let named = root.path().join("thumbs.csv");
    fs::rename(&path, &named).unwrap();
    let dataset = open_manifest(&named, FolderUse::Train).unwrap();
    assert!(dataset.file(0).unwrap().starts_with(root.path().join("thumbs")));

    let (root, path) = write("list.csv", "id,label\na/00,x\nb/00,y\n");
    fs::copy(root.path().join("a/00.jpg"), root.path().join("a/00.png")).unwrap();
    let dataset = open_manifest(&path, FolderUse::Train).unwrap();
    assert!(dataset.remarks()[0].contains("a/00.jpg and a/00.png"), "{:?}", dataset.remarks());
    assert_eq!(dataset.samples()[0].id, "a/00.jpg");
}

#[test]
fn several_labels_for_one_picture_are_refused_by_that_name() {
    for (name, text) in [
        ("x.csv", "path,label\na/00.jpg,cat|dog\nb/00.jpg,cat\na/01.jpg,dog\n"),
        ("x.csv", "path,label\na/00.jpg,\"cat, dog\"\nb/00.jpg,cat\na/01.jpg,dog\n"),
        ("x.csv", "path,label\na/00.jpg,\"['cat', 'dog']\"\nb/00.jpg,cat\n"),
        ("x.jsonl", "{\"path\":\"a/00.jpg\",\"labels\":[\"cat\",\"dog\"]}\n"),
    ] {
        let error = open(name, text).unwrap_err().to_string();
        assert!(error.contains("multi-label"), "{error}");
    }
    // Not every comma separates.
    let text = "path,label\na/00.jpg,\"Smith, Ann\"\nb/00.jpg,\"Smith, Bob\"\n";
    assert_eq!(open("x.csv", text).unwrap().classes().len(), 2);
}

#[test]
fn several_columns_of_labels_need_a_choice() {
    let text = "image,fine_label,coarse_label\na/00.jpg,cat,animal\nb/00.jpg,car,thing\n";
    let error = open("x.csv", text).unwrap_err();
    assert!(matches!(error, Error::Columns { .. }));
    assert!(error.to_string().contains("'fine_label', 'coarse_label'"), "{error}");
    let (_root, path) = write("x.csv", text);
    let mut options = SourceOptions::default();
    options.label_column = Some("coarse_label".into());
    let dataset = open_manifest(&path, Reading::new(FolderUse::Train, options)).unwrap();
    assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["animal", "thing"]);
}

#[test]
fn fields_of_later_lines_count_too() {
    let text = "{\"path\":\"a/00.jpg\",\"label\":1}\n{\"path\":\"b/00.jpg\",\"label\":2}\n{\"path\":\"b/01.jpg\",\"label\":2,\"split\":\"test\"}\n";
    let dataset = open("x.jsonl", text);
    assert_eq!(dataset.unwrap().indices(Some(Split::Test)).len(), 1);
}

/// Four pictures of two classes with a further column.
fn with_column(header: &str, values: [&str; 4]) -> Result<Dataset> {
    let mut text = format!("{header}\n");
    for (n, value) in values.iter().enumerate() {
        let class = ["a", "b"][n % 2];
        text += &format!("{class}/0{}.jpg,{class},{value}\n", n / 2);
    }
    let (_root, path) = write("list.csv", &text);
    open_manifest(&path, FolderUse::Train)
}

#[test]
fn a_column_that_looks_like_splits_is_remarked() {
    for (column, values) in [
        ("Usage", ["Training", "Training", "PublicTest", "PublicTest"]),
        ("stage", ["train", "train", "extra", "test"]),
        ("source", ["my_train", "my_train", "my_test", "my_test"]),
    ] {
        let dataset = with_column(&format!("path,label,{column}"), values).unwrap();
        let remark = &dataset.remarks()[0];
        assert!(remark.contains(column) && remark.contains("`split_column`"), "{remark}");
    }
    let dataset = with_column("path,label,colour", ["red", "test", "blue", "green"]).unwrap();
    assert!(dataset.remarks().is_empty(), "{:?}", dataset.remarks());
}

#[test]
fn test_pictures_without_labels_are_passed_over() {
    for split in ["test", "val", "Testing"] {
        let text =
            format!("path,label,split\na/00.jpg,x,train\nb/00.jpg,y,train\nb/01.jpg,,{split}\n");
        let (_root, path) = write("list.csv", &text);
        let dataset = open_manifest(&path, FolderUse::Train).unwrap();
        assert_eq!(dataset.len(), 2);
        let remark = &dataset.remarks()[0];
        assert!(remark.contains("b/01.jpg") && remark.contains("taper predict"), "{remark}");
    }
}

#[test]
fn several_labels_are_refused_by_that_name_and_a_list_of_one_is_taken() {
    for (name, text) in [
        ("list.csv", "path,label\na/00.jpg,\"cat,x\"\nb/00.jpg,\"dog,x\"\n"),
        ("list.csv", "path,cat,dog\na/00.jpg,1,1\nb/00.jpg,0,1\n"),
        ("list.csv", "path,label\na/00.jpg,\"['cat', 'dog']\"\nb/00.jpg,cat\n"),
        ("list.jsonl", "{\"path\": \"a/00.jpg\", \"label\": [\"a\", \"b\"]}\n"),
    ] {
        let (_root, path) = write(name, text);
        let error = open_manifest(&path, FolderUse::Train).unwrap_err().to_string();
        assert!(error.contains("multi-label"), "{error}");
    }
    for list in ["\"[\"\"LABEL\"\"]\"", "['LABEL']", "LABEL"] {
        let text = format!(
            "path,label\na/00.jpg,{}\nb/00.jpg,{}\n",
            list.replace("LABEL", "cat"),
            list.replace("LABEL", "dog")
        );
        let (_root, path) = write("list.csv", &text);
        let dataset = open_manifest(&path, FolderUse::Train).unwrap();
        assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["cat", "dog"]);
    }
    // Names with commas are names.
    let text = "path,label\na/00.jpg,\"tench, Tinca tinca\"\nb/00.jpg,\"goldfish, Carassius\"\n";
    let (_root, path) = write("list.csv", text);
    assert_eq!(open_manifest(&path, FolderUse::Train).unwrap().classes().len(), 2);
}

#[test]
fn what_another_argument_would_settle_is_wrong_usage() {
    use taper_core::Fault;
    let list = "path,label,split,same\na/00.jpg,x,train,1\nb/00.jpg,y,train,1\n";
    type Change = fn(&mut SourceOptions);
    let twice = "path,label\na/00.jpg,x\na/01.jpg,x\nb/00.jpg,y\n";
    let cases: [(&str, Change); 5] = [
        (twice, |options| options.image_column = Some("label".into())),
        (list, |options| options.split_column = Some("label".into())),
        (list, |options| options.image_column = Some("label".into())),
        (list, |options| options.label_column = Some("same".into())),
        ("path,label,split\na/00.jpg,x,1\nb/00.jpg,y,2\n", |_| {}),
    ];
    for (text, change) in cases {
        let (_root, path) = write("list.csv", text);
        let mut options = SourceOptions::default();
        change(&mut options);
        let error = open_manifest(&path, Reading::new(FolderUse::Train, options)).unwrap_err();
        assert!(error.is_usage(), "{error}");
        assert!(error.to_string().contains("_column`"), "{error}");
    }
}

#[test]
fn encodings_are_recognised() {
    let utf16: Vec<u8> =
        "\u{feff}path,Käse".encode_utf16().flat_map(|unit| unit.to_le_bytes()).collect();
    let swapped: Vec<u8> = utf16.chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect();
    assert_eq!(decode_text(&utf16), ("path,Käse".into(), false));
    assert_eq!(decode_text(&swapped), ("path,Käse".into(), false));
    assert_eq!(decode_text("\u{feff}Käse".as_bytes()), ("Käse".into(), false));
    assert_eq!(decode_text(&utf16[2..]), ("path,Käse".into(), false));
    assert_eq!(decode_text(&swapped[2..]), ("path,Käse".into(), false));
    assert_eq!(decode_text(b"K\xe4se \x80"), ("Käse €".into(), true));
}

#[test]
fn separators_are_recognised() {
    for (text, separator) in [
        ("path,label\n", b','),
        ("path;label;split\na,b;c;d", b';'),
        ("path\tlabel", b'\t'),
        ("\"a;b;c\",label", b','),
        ("path", b','),
        ("", b','),
    ] {
        assert_eq!(delimiter(text), separator, "{text}");
    }
}
