//! Columns that say which pictures belong together: in CSV, JSON Lines and shards.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::json;
use taper_data::{Dataset, ValChoice, fixture};
use taper_sources::{FolderUse, Reading, Result, SourceOptions, open_path};

/// Twelve pictures of each of two classes, and what lists them with values of further columns.
fn written(
    ending: &str,
    columns: &[&str],
    value: impl Fn(&str, usize) -> String,
) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    fixture::write_folder(root.path(), &[("", 12)], &["a", "b"]).unwrap();
    let rows = ["a", "b"].iter().flat_map(|class| (0..12).map(move |n| (*class, n)));
    let path = root.path().join(format!("list.{ending}"));
    match ending {
        "csv" => {
            let mut text = format!("path,label,{}\n", columns.join(","));
            for (class, n) in rows {
                let values: Vec<String> = columns.iter().map(|column| value(column, n)).collect();
                text += &format!("{class}/{n:02}.jpg,{class},{}\n", values.join(","));
            }
            fs::write(&path, text).unwrap();
        }
        "jsonl" => {
            let mut text = String::new();
            for (class, n) in rows {
                let mut object = json!({"path": format!("{class}/{n:02}.jpg"), "label": class});
                columns.iter().for_each(|column| object[*column] = value(column, n).into());
                text += &format!("{object}\n");
            }
            fs::write(&path, text).unwrap();
        }
        _ => shard(root.path(), &path, rows, columns, &value),
    }
    (root, path)
}

fn shard<'a>(
    root: &Path,
    path: &Path,
    rows: impl Iterator<Item = (&'a str, usize)>,
    columns: &[&str],
    value: &impl Fn(&str, usize) -> String,
) {
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    for (class, n) in rows {
        let mut object = json!({"label": class});
        columns.iter().for_each(|column| object[*column] = value(column, n).into());
        zip.start_file(format!("{class}{n:02}.json"), options).unwrap();
        zip.write_all(object.to_string().as_bytes()).unwrap();
        zip.start_file(format!("{class}{n:02}.jpg"), options).unwrap();
        zip.write_all(&fs::read(root.join(format!("{class}/{n:02}.jpg"))).unwrap()).unwrap();
    }
    zip.finish().unwrap();
}

fn open(path: &Path, group_column: Option<&str>) -> Result<Dataset> {
    let mut options = SourceOptions::default();
    options.group_column = group_column.map(String::from);
    open_path(path, Reading::new(FolderUse::Train, options))
}

/// Checks that no group is in two splits.
#[track_caller]
fn stays_together(dataset: &Dataset) {
    let splits = dataset.splits(ValChoice::Auto, 3).unwrap();
    let groups = |indices: &[usize]| -> BTreeSet<String> {
        indices.iter().map(|i| dataset.samples()[*i].group.as_deref().unwrap().into()).collect()
    };
    let [train, val, test] = [&splits.train, &splits.val, &splits.test].map(|own| groups(own));
    assert!(!val.is_empty() && !test.is_empty());
    assert!(train.is_disjoint(&val) && train.is_disjoint(&test) && val.is_disjoint(&test));
}

const ENDINGS: [&str; 3] = ["csv", "jsonl", "zip"];

#[test]
fn a_column_with_the_name_of_groups_keeps_pictures_together() {
    for (ending, column) in
        ENDINGS.iter().flat_map(|ending| ["patient_id", "session", "Group"].map(|c| (ending, c)))
    {
        let (_root, path) = written(ending, &[column], |_, n| format!("p{}", n / 2));
        let dataset = open(&path, None).unwrap();
        assert_eq!(dataset.group_column(), Some(column), "{ending}");
        stays_together(&dataset);
        let said = dataset.remarks().join("\n");
        assert!(said.contains(&format!("'{column}'")) && said.contains("`group_column`"), "{said}");
        let free = open(&path, Some("none")).unwrap();
        assert!(free.samples().iter().all(|sample| sample.group.is_none()), "{ending}");
        assert!(free.remarks().is_empty(), "{:?}", free.remarks());
    }
}

#[test]
fn any_column_can_be_asked_for() {
    for ending in ENDINGS {
        let (_root, path) = written(ending, &["day", "patient"], |column, n| match column {
            "day" => format!("d{}", n / 2),
            _ => format!("p{}", n % 4),
        });
        let dataset = open(&path, Some("day")).unwrap();
        assert_eq!(dataset.group_column(), Some("day"));
        stays_together(&dataset);
        assert_eq!(dataset.samples()[5].group.as_deref(), Some("d2"), "{ending}");
        let error = open(&path, Some("nowhere")).unwrap_err().to_string();
        assert!(error.contains("nowhere") && error.contains("group_column"), "{error}");
    }
}

#[test]
fn of_several_columns_none_is_taken_in_silence() {
    for ending in ENDINGS {
        let (_root, path) = written(ending, &["patient", "session"], |column, n| match column {
            "patient" => format!("p{}", n / 3),
            _ => format!("{}", n % 3),
        });
        let error = open(&path, None).unwrap_err().to_string();
        assert!(error.contains("'patient', 'session'"), "{error}");
        assert!(error.contains("`group_column`"), "{error}");
        stays_together(&open(&path, Some("patient")).unwrap());
        // Each session is of one patient.
        let (_root, path) = written(ending, &["patient", "session"], |column, n| match column {
            "patient" => format!("p{}", n / 3),
            _ => format!("p{}s{}", n / 3, n % 2),
        });
        let dataset = open(&path, None);
        assert!(dataset.is_ok_and(|dataset| dataset.group_column() == Some("patient")), "{ending}");
    }
}

#[test]
fn ids_constants_and_other_names_of_the_classes_are_no_groups() {
    for ending in ENDINGS {
        let (_root, path) = written(ending, &["case_id"], |_, _| "c1".into());
        let dataset = open(&path, None).unwrap();
        assert_eq!((dataset.group_column(), dataset.remarks().len()), (None, 0), "{ending}");
    }
    let root = tempfile::tempdir().unwrap();
    fixture::write_folder(root.path(), &[("", 12)], &["a", "b"]).unwrap();
    let line =
        |class: &str, n: usize, value: String| format!("{class}/{n:02}.jpg,{class},{value}\n");
    type Value = fn(&str, usize) -> String;
    let own: [(Value, bool); 2] = [(|c, n| format!("{c}{n}"), false), (|c, _| c.into(), true)];
    for (value, remarked) in own {
        let rows = ["a", "b"].iter().flat_map(|c| (0..12).map(move |n| (*c, n)));
        let rows: String = rows.map(|(c, n)| line(c, n, value(c, n))).collect();
        let path = root.path().join("list.csv");
        fs::write(&path, format!("path,label,subject\n{rows}")).unwrap();
        let dataset = open(&path, None).unwrap();
        assert_eq!(dataset.group_column(), None);
        assert_eq!(!dataset.remarks().is_empty(), remarked, "{:?}", dataset.remarks());
    }
}

#[test]
fn groups_said_by_an_expression_are_not_mixed_up_with_a_column() {
    for ending in ENDINGS {
        let (_root, path) = written(ending, &["group"], |_, n| format!("g{}", n / 2));
        let reading = Reading::new(FolderUse::Train, SourceOptions::default()).grouped(true);
        let dataset = open_path(&path, reading).unwrap();
        assert_eq!(dataset.group_column(), None);
        let said = dataset.remarks().join("\n");
        assert!(said.contains("'group'") && said.contains("`group_by`"), "{said}");
    }
}
