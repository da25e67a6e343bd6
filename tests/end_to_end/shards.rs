//! WebDataset shards, and archives and Parquet files of which some are missing, unread or without
//! labels: nothing is dropped in silence.

use std::{
    fs::{self, File},
    path::Path,
};

use serde_json::Value;

use crate::{
    layouts::{classes, remarks},
    unclear::{label, pack, parquet, png, remarked, train_on},
};

/// The beginning of a HEIC file.
fn heic() -> Vec<u8> {
    [&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], &[0; 40]].concat()
}

/// `shard.zip` with these files for each of eighteen samples.
fn shard(root: &Path, files: impl Fn(u32) -> Vec<(String, Vec<u8>)>) {
    pack(&root.join("shard.zip"), &(0..18).flat_map(files).collect::<Vec<_>>());
}

fn sample(n: u32, extension: &str, picture: Vec<u8>, class: &str) -> Vec<(String, Vec<u8>)> {
    vec![(format!("{n:04}.{extension}"), picture), (format!("{n:04}.cls"), class.into())]
}

fn tar(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // As they are written: `set_path` would tidy them up.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, &bytes[..]).unwrap();
    }
    tar.finish().unwrap();
}

fn unreadable(answer: &Value) -> Vec<&str> {
    answer["unreadable"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect()
}

#[test]
fn pictures_of_a_shard_that_cannot_be_read_are_named_or_refused() {
    for (extension, content) in [("heic", heic()), ("avif", heic()), ("jpg", b"none".to_vec())] {
        let root = tempfile::tempdir().unwrap();
        let is_bad = |n| n == 3 || n == 8;
        shard(root.path(), |n| match is_bad(n) {
            true => sample(n, extension, content.clone(), label(n)),
            false => sample(n, "png", png(n), label(n)),
        });
        let answer = train_on(root.path(), "shard.zip", &[]).expect(3).json();
        assert_eq!(unreadable(&answer).len(), 2, "{extension}: {answer}");
        train_on(root.path(), "shard.zip", &["--strict"]).complains(1, &["0003", "strict"]);
        // A whole class.
        shard(root.path(), |n| match n % 3 {
            2 => sample(n, extension, content.clone(), "bird"),
            _ => sample(n, "png", png(n), label(n)),
        });
        train_on(root.path(), "shard.zip", &[]).complains(1, &["'bird'", "0002"]);
    }
    // An ending that says nothing, with a picture in it.
    let root = tempfile::tempdir().unwrap();
    shard(root.path(), |n| {
        sample(n, if n % 2 == 0 { "image" } else { "png" }, png(n), label(n / 2))
    });
    let answer = train_on(root.path(), "shard.zip", &[]).expect(0).json();
    let counts = answer["pictures"].as_array().unwrap();
    assert_eq!(counts.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 18);
}

#[test]
fn labels_without_a_picture_are_counted() {
    for extension in ["cls", "json"] {
        let root = tempfile::tempdir().unwrap();
        shard(root.path(), |n| {
            let text = match extension {
                "cls" => label(n).to_owned(),
                _ => format!("{{\"label\": \"{}\"}}", label(n)),
            };
            let mut files = vec![(format!("{n:04}.{extension}"), text.into())];
            if n != 4 && n != 5 {
                files.push((format!("{n:04}.png"), png(n)));
            }
            files
        });
        let ran = train_on(root.path(), "shard.zip", &[]);
        remarked(ran, &["2 sample(s)", "'0004'", "no picture"]);
    }
}

#[test]
fn minus_one_is_no_label_beside_class_numbers() {
    for [labels, kept] in [["-1 0 1", "0 1"], ["0 1 -1", "0 1"], ["-1 1 1", "-1 1"]] {
        let of = |n: u32| labels.split(' ').nth((n % 3) as usize).unwrap();
        let root = tempfile::tempdir().unwrap();
        shard(root.path(), |n| sample(n, "png", png(n), of(n)));
        let answer = train_on(root.path(), "shard.zip", &[]).expect(0).json();
        assert_eq!(classes(&answer).join(" "), kept);
        assert_eq!(remarks(&answer).contains("'-1', which means"), kept == "0 1");
    }
}

#[test]
fn a_shard_without_labels_is_refused_with_what_there_is() {
    let root = tempfile::tempdir().unwrap();
    let here = root.path();
    let with = |ending: &'static str, text: fn(u32) -> String| {
        shard(here, move |n| {
            vec![
                (format!("{n:04}.png"), png(n)),
                (format!("{n:04}.{ending}"), text(n).into_bytes()),
            ]
        });
    };
    with("txt", |n| label(n).into());
    train_on(here, "shard.zip", &[]).complains(2, &["'txt'", "--label-column"]);
    let answer = train_on(here, "shard.zip", &["--label-column", "txt"]).expect(0).json();
    assert_eq!(classes(&answer), ["cat", "dog"]);
    // Dots in names.
    shard(here, |n| {
        vec![(format!("{n:04}.v1.png"), png(n)), (format!("{n:04}.v1.cls"), label(n).into())]
    });
    train_on(here, "shard.zip", &[]).complains(2, &["'v1'", "first dot", "'v1.png' of '0000'"]);
    let answer = train_on(here, "shard.zip", &["--label-column", "v1"]).expect(0).json();
    assert_eq!(classes(&answer), ["cat", "dog"]);
}

#[test]
fn files_missing_from_a_numbered_set_are_remarked() {
    let rows: Vec<(String, u32)> = (0..12).map(|n| (format!("{n}.png"), n)).collect();
    for (have, lacks) in [([0, 2], 1), ([1, 2], 0), ([0, 1], 2)] {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        let name = |k: u32| format!("train-0000{k}-of-00003");
        for k in have {
            parquet(&data.join(name(k) + ".parquet"), "label", &[], &rows);
        }
        let said = ["1 of 3 files", &name(lacks)];
        remarked(train_on(root.path(), "data", &[]), &said);
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        for k in have {
            let files: Vec<_> = (0..12).flat_map(|n| sample(n, "png", png(n), label(n))).collect();
            pack(&data.join(name(k) + ".zip"), &files);
        }
        remarked(train_on(root.path(), "data", &[]), &said);
    }
}

#[test]
fn gaps_in_numbered_files_are_remarked() {
    let rows: Vec<(String, u32)> = (0..12).map(|n| (format!("{n}.png"), n)).collect();
    for (have, lacks, whole) in [
        (["part-000", "part-002"], "part-001", ["part-000", "part-001"]),
        (["train-2", "train-4"], "train-1", ["train-1", "train-2"]),
        (["0001", "0003"], "0002", ["0001", "0002"]),
    ] {
        for ending in ["parquet", "zip", "tar"] {
            let answer = |names: [&str; 2]| {
                let root = tempfile::tempdir().unwrap();
                let data = root.path().join("data");
                fs::create_dir(&data).unwrap();
                let files: Vec<_> =
                    (0..12).flat_map(|n| sample(n, "png", png(n), label(n))).collect();
                let borrowed: Vec<(&str, Vec<u8>)> =
                    files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
                for name in names {
                    let path = data.join(format!("{name}.{ending}"));
                    match ending {
                        "parquet" => parquet(&path, "label", &[], &rows),
                        "zip" => pack(&path, &files),
                        _ => tar(&path, &borrowed),
                    }
                }
                train_on(root.path(), "data", &[])
            };
            remarked(answer(have), &["seem to be missing", &format!("'{lacks}'")]);
            let complete = remarks(&answer(whole).expect(0).json());
            assert!(!complete.contains("missing"), "{complete}");
        }
    }
}

#[test]
fn archives_of_one_class_each_are_not_read_as_the_folders_in_them() {
    for inner in [["s1", "s2"], ["2021-05", "2021-06"], ["patient 1", "patient 2"]] {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        let files = |class: u32, inner: &[&str]| -> Vec<(String, Vec<u8>)> {
            let path = |n: u32| match inner {
                [] => format!("{n}.png"),
                _ => format!("{}/{n}.png", inner[n as usize % inner.len()]),
            };
            (0..9).map(|n| (path(n), png(2 * n + class))).collect()
        };
        let pack_both = |inner: &[&str]| {
            pack(&data.join("cat.zip"), &files(0, inner));
            pack(&data.join("dog.zip"), &files(1, inner));
        };
        for inner in [&inner[..], &inner[..1], &["images"], &[]] {
            pack_both(inner);
            let said = ["each of the archives 'cat', 'dog' is a class", "--layout"];
            let answer = remarked(train_on(root.path(), "data", &[]), &said);
            assert_eq!(classes(&answer), ["cat", "dog"], "{inner:?}");
        }
        pack_both(&inner);
        let answer = train_on(root.path(), "data", &["--layout", "classes"]).expect(0).json();
        assert_eq!(classes(&answer), inner);
        // Folders that may be classes: what is read is said.
        pack_both(&["left", "right"]);
        let said = ["read as one set", "the classes are the folders in them, 'left', 'right'"];
        remarked(train_on(root.path(), "data", &[]), &said);
    }
}

#[test]
fn archives_that_leave_the_classes_open_are_refused_or_remarked() {
    let archives = |names: &[&str], inner: &dyn Fn(usize) -> [String; 2]| {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        for (k, name) in names.iter().enumerate() {
            let inner = inner(k);
            let path = |n: u32| format!("{}/{n}.png", inner[n as usize % 2]);
            let files: Vec<_> = (0..8).map(|n| (path(n), png(n + 8 * k as u32))).collect();
            pack(&data.join(format!("{name}.zip")), &files);
        }
        root
    };
    let sessions = |_| ["s1".to_owned(), "s2".to_owned()];
    for names in
        [&["type1", "type2", "type3"][..], &["0", "1", "2"], &["rock_train", "paper_train"]]
    {
        let root = archives(names, &sessions);
        let words = ["cannot tell what the classes are", "'s1', 's2'", "--layout"];
        train_on(root.path(), "data", &[]).complains(2, &words);
        let answer = train_on(root.path(), "data", &["--layout", "classes"]).expect(0).json();
        assert_eq!(classes(&answer), ["s1", "s2"]);
    }
    // Numbered archives with other folders in each may be classes; with the same ones they are
    // parts of a set.
    let other = |k: usize| [format!("ann{k}"), format!("bob{k}")];
    let root = archives(&["grade0", "grade1"], &other);
    let said =
        ["the classes are the folders in them, 'ann0', 'ann1', 'bob0'", "if each archive is"];
    remarked(train_on(root.path(), "data", &[]), &said);
    let root = archives(&["part0", "part1"], &|_| ["cat".to_owned(), "dog".to_owned()]);
    assert_eq!(remarks(&train_on(root.path(), "data", &[]).expect(0).json()), "");
    // Pictures without labels beside the classes.
    let root = archives(&["cat", "dog", "unlabeled"], &sessions);
    let said =
        ["each of the archives 'cat', 'dog' is a class", "unlabeled.zip has pictures without"];
    let answer = remarked(train_on(root.path(), "data", &[]), &said);
    assert_eq!(classes(&answer), ["cat", "dog"]);
}

#[test]
fn other_configurations_of_the_hub_are_remarked() {
    let rows: Vec<(String, u32)> = (0..12).map(|n| (format!("{n}.png"), n)).collect();
    for other in ["small/train/0000", "small/train-00000-of-00001", "full/test/0000"] {
        let root = tempfile::tempdir().unwrap();
        for file in ["default/train/0000", other] {
            let path = root.path().join("data").join(format!("{file}.parquet"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            parquet(&path, "label", &[], &rows);
        }
        let folder = other.split('/').next().unwrap();
        let said = ["not read", &format!("data/{folder}")];
        remarked(train_on(root.path(), "data", &[]), &said);
    }
}

#[test]
fn an_archive_for_test_without_labels_is_passed_over_with_labels_from_names() {
    for names in [["train", "test"], ["train", "val"], ["dogs-train", "dogs-test"]] {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        let train: Vec<_> = (0..18).map(|n| (format!("{}.{n}.png", label(n)), png(n))).collect();
        let test: Vec<_> = (0..6).map(|n| (format!("{n}.png"), png(n))).collect();
        pack(&data.join(format!("{}.zip", names[0])), &train);
        pack(&data.join(format!("{}.zip", names[1])), &test);
        let from = ["--label-from", r"(cat|dog)\."];
        let said = ["taper predict", &format!("{}.zip has 6 picture(s) without a label", names[1])];
        let answer = remarked(train_on(root.path(), "data", &from), &said);
        assert_eq!(classes(&answer), ["cat", "dog"]);
        let none = ["--label-from", "(horse)"];
        train_on(root.path(), "data", &none).complains(2, &["matches no picture", "--label-from"]);
    }
}

#[test]
fn a_file_that_is_in_a_tar_twice_is_the_last_one() {
    for again in [&[0][..], &[0, 1], &[0, 0]] {
        let root = tempfile::tempdir().unwrap();
        let path = |n: u32| format!("{}/{n}.png", label(n));
        let mut names: Vec<(String, Vec<u8>)> = (0..18)
            .map(|n| (path(n), if again.contains(&n) { b"old".to_vec() } else { png(n) }))
            .collect();
        names.extend(again.iter().map(|n| (path(*n), png(*n))));
        let files: Vec<(&str, Vec<u8>)> =
            names.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        tar(&root.path().join("data.tar"), &files);
        let said = ["'cat/0.png'", "the last one counts", &format!("{} file(s)", again.len())];
        let answer = remarked(train_on(root.path(), "data.tar", &[]), &said);
        assert!(unreadable(&answer).is_empty(), "{answer}");
    }
}

#[test]
fn two_spellings_of_a_path_in_an_archive_are_one_file() {
    let other: [fn(&str) -> String; 3] = [
        |path| format!("./{path}"),
        |path| path.replace('/', "//"),
        |path| path.replace('/', "/./"),
    ];
    for spelt in other {
        let path = |n: u32| format!("{}/{n}.png", label(n));
        let root = tempfile::tempdir().unwrap();
        let mut files: Vec<(String, Vec<u8>)> = vec![(spelt(&path(0)), b"old".into())];
        files.extend((0..18).map(|n| (path(n), png(n))));
        let borrowed: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        tar(&root.path().join("data.tar"), &borrowed);
        pack(&root.path().join("data.zip"), &files);
        for data in ["data.tar", "data.zip"] {
            let said = ["1 file(s), such as 'cat/0.png'", "the last one counts"];
            let answer = remarked(train_on(root.path(), data, &[]), &said);
            assert!(unreadable(&answer).is_empty(), "{answer}");
            let pictures = answer["pictures"].as_array().unwrap();
            assert_eq!(pictures.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 18);
        }
        // A sample of a shard, of which the files are spelt in two ways.
        let shard: Vec<(String, Vec<u8>)> = (0..18)
            .flat_map(|n| {
                let key = format!("x/{n:03}");
                [(spelt(&format!("{key}.png")), png(n)), (format!("{key}.cls"), label(n).into())]
            })
            .collect();
        pack(&root.path().join("shard.zip"), &shard);
        let answer = train_on(root.path(), "shard.zip", &[]).expect(0).json();
        assert_eq!((classes(&answer), &*remarks(&answer)), (vec!["cat", "dog"], ""));
    }
}

#[test]
fn a_table_in_an_archive_of_loose_pictures_is_pointed_at() {
    for table in ["labels.csv", "train.tsv", "x/metadata.jsonl"] {
        let root = tempfile::tempdir().unwrap();
        let mut files: Vec<_> = (0..6).map(|n| (format!("{n}.png"), png(n))).collect();
        files.push((table.into(), b"path,label\n".to_vec()));
        pack(&root.path().join("data.zip"), &files);
        train_on(root.path(), "data.zip", &[]).complains(2, &[table, "unpack"]);
    }
}
