//! Parquet files that Hugging Face's `datasets` and pyarrow wrote: `reference/make_parquet.py` made
//! them and the list.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use taper_core::Split;
use taper_data::{Content, Dataset};
use taper_picture::DefectKind;
use taper_sources::{Error, FolderUse, is_parquet, open_parquet, open_path};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference/parquet")
}

/// Label and digest by file and row, as they were written; nothing for null.
fn written() -> BTreeMap<(String, usize), [Option<String>; 2]> {
    let given = |field: &str| Some(field.to_owned()).filter(|field| field != "-");
    include_str!("reference/parquet.txt")
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [file, row, label, digest] = fields[..] else { panic!("{line}") };
            ((file.to_owned(), row.parse().unwrap()), [given(label), given(digest)])
        })
        .collect()
}

/// Every row, in any order, by several threads.
#[track_caller]
fn check(dataset: &Dataset, file: Option<&str>) -> usize {
    let written = written();
    let mut order: Vec<usize> = (0..dataset.len()).collect();
    // From both ends in turn, so that neighbours do not help each other.
    order.sort_by_key(|index| (index * 7919) % 1009);
    let missing: usize = order
        .par_iter()
        .map(|&index| {
            let sample = &dataset.samples()[index];
            let mut parts: Vec<&str> = sample.id.split('/').collect();
            let stem = parts.remove(0);
            let row: usize = parts[0].parse().unwrap();
            let own = file.map_or_else(|| format!("{stem}.parquet"), String::from);
            let [label, digest] = &written[&(own, row)];
            let class = dataset.classes().name(sample.label).unwrap();
            assert_eq!(label.as_deref(), Some(class), "{}", sample.id);
            match (dataset.fetch(index), digest) {
                (Ok(Content::Encoded(bytes)), Some(digest)) => {
                    let found = taper_core::hex(&Sha256::digest(&bytes));
                    assert_eq!(&found, digest, "{}", sample.id);
                    0
                }
                (Err(finding), None) => {
                    assert_eq!(finding.kind, DefectKind::Io);
                    assert!(finding.reason.contains("neither bytes nor a path"), "{finding:?}");
                    1
                }
                other => panic!("{}: {other:?}", sample.id),
            }
        })
        .sum();
    missing
}

#[test]
fn a_data_set_of_the_hub_is_read_as_it_was_written() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    for name in ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"] {
        let name = format!("{name}.parquet");
        fs::copy(folder().join(&name), root.path().join("data").join(&name)).unwrap();
    }
    assert!(is_parquet(root.path()));
    let dataset = open_path(root.path(), FolderUse::Train).unwrap();
    // In the order of the metadata, not of the alphabet.
    assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["rock", "paper", "scissors"]);
    assert_eq!(dataset.len(), 105);
    assert_eq!(dataset.indices(Some(Split::Train)).len(), 93);
    assert_eq!(dataset.indices(Some(Split::Test)).len(), 12);
    assert_eq!(dataset.samples()[12].id, "train-00000-of-00002/0000000/clip0-000.png");
    assert_eq!(check(&dataset, None), 0);
    // Clips stay together.
    let grouped = dataset.group_by(r"/(clip\d+)-").unwrap();
    assert!(grouped.samples().iter().all(|s| s.group.is_some()));
}

#[test]
fn every_compression_and_null_is_understood() {
    for compression in ["none", "snappy", "gzip", "zstd", "lz4"] {
        let file = format!("{compression}.parquet");
        let dataset = open_parquet(folder().join(&file), FolderUse::Train).unwrap();
        assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(dataset.len(), 70, "{file}");
        assert_eq!(check(&dataset, Some(&file)), 1, "{file}");
    }
    let dataset = open_parquet(folder().join("numbers.parquet"), FolderUse::Train).unwrap();
    assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["0", "1"]);
    assert_eq!(dataset.len(), 18);
    assert!(dataset.remarks()[0].contains("2 row(s) have no label"), "{:?}", dataset.remarks());
    assert_eq!(check(&dataset, Some("numbers.parquet")), 1);
}

#[test]
fn columns_that_cannot_be_the_labels_say_why() {
    for (file, words) in [
        ("lists", "multi-label"),
        ("floats", "of the type DOUBLE"),
        ("numbers-and-names", "'label', 'label_name' could all hold the labels"),
    ] {
        let path = folder().join(format!("../refused/{file}.parquet"));
        let error = open_parquet(path, FolderUse::Train).unwrap_err();
        assert!(matches!(error, Error::Columns { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn damage_is_named_and_never_a_panic() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.parquet");
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        open_parquet(&path, FolderUse::Evaluate)
    };
    for bytes in [&b""[..], b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1", &[b'x'; 100]] {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, Error::Table { .. }), "{error}");
    }
    let whole = fs::read(folder().join("snappy.parquet")).unwrap();
    assert!(open(&whole[..whole.len() / 2]).is_err());
    let mut read = 0;
    for at in (0..whole.len()).step_by(23) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        // Where it can be opened, pictures are read or reported.
        if let Ok(dataset) = open(&damaged) {
            read += (0..dataset.len()).filter(|index| dataset.fetch(*index).is_ok()).count();
        }
    }
    assert!(read > 1000, "{read}");
}

/// Found by fuzzing: a page's header and a footer that claim more than the file has.
#[test]
fn promises_of_thousands_of_millions_are_refused_at_once() {
    for name in ["endless", "endless-footer"] {
        let file = folder().join(format!("../damaged/{name}.parquet"));
        let error = open_parquet(file, FolderUse::Evaluate).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_missed() {
    let missing = open_parquet(Path::new("nowhere.parquet"), FolderUse::Train);
    assert!(matches!(missing, Err(Error::Missing { .. })));
}

#[test]
fn batches_do_not_depend_on_threads() {
    use taper_core::{Fit, Interpolation, Preprocessing};
    use taper_data::{Batch, Item, Loader, LoaderOptions};

    let spec = Preprocessing {
        size: 32,
        interpolation: Interpolation::Bilinear,
        fit: Fit::Squash,
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
    };
    let path = folder().join("train-00000-of-00002.parquet");
    let batches = |threads| -> Vec<Batch> {
        let dataset = Arc::new(open_parquet(&path, FolderUse::Train).unwrap());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let items = Item::repeat(&dataset.indices(None), 1);
            let options = LoaderOptions { batch_size: 7, ..LoaderOptions::default() };
            Loader::new(dataset, spec, items, None, options).unwrap().map(Result::unwrap).collect()
        })
    };
    let one = batches(1);
    assert_eq!(one.iter().map(Batch::len).sum::<usize>(), 90);
    assert!(batches(2) == one && batches(8) == one);
}

fn splits_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference/splits").join(name)
}

/// The plain file with other pictures is not needed: rows are told apart by their file.
fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(splits_file(content), path).unwrap();
    }
    root
}

#[test]
fn files_that_may_be_splits_are_never_one_set_in_silence() {
    let open = |names: [&str; 2]| {
        let root = folder_of(&names.map(|name| (name, "plain.parquet")));
        open_path(root.path(), FolderUse::Train)
    };
    for names in [
        ["traindata.parquet", "testdata.parquet"],
        ["default/train/0000.parquet", "default/test/0000.parquet"],
        ["partial-train/0.parquet", "partial-test/0.parquet"],
    ] {
        let dataset = open(names).unwrap();
        assert_eq!(dataset.indices(Some(Split::Test)).len(), 4, "{names:?}");
    }
    for names in [
        ["train.parquet", "unlabelled.parquet"],
        ["text-train.parquet", "text-unsupervised.parquet"],
        ["xtrain.parquet", "xtest.parquet"],
    ] {
        let error = open(names).unwrap_err();
        assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    }
    for names in [["entrenamiento.parquet", "prueba.parquet"], ["a.parquet", "b.parquet"]] {
        let dataset = open(names).unwrap();
        assert!(dataset.remarks()[0].contains("read as one set"), "{:?}", dataset.remarks());
    }
    for names in [["0000.parquet", "0001.parquet"], ["part-1.parquet", "part-2.parquet"]] {
        assert!(open(names).unwrap().remarks().is_empty(), "{names:?}");
    }
}

#[test]
fn a_column_that_looks_like_splits_is_used_or_remarked() {
    let open = |name: &str| open_path(splits_file(name), FolderUse::Train);
    let dataset = open("phase.parquet").unwrap();
    assert_eq!(dataset.indices(Some(Split::Test)).len(), 2);
    assert!(dataset.remarks()[0].contains("'phase'"), "{:?}", dataset.remarks());
    for (name, column) in [("usage.parquet", "'Usage'"), ("extra.parquet", "'part'")] {
        let dataset = open(name).unwrap();
        assert!(dataset.indices(Some(Split::Test)).is_empty());
        let remark = &dataset.remarks()[0];
        assert!(remark.contains(column) && remark.contains("`split_column`"), "{remark}");
    }
    assert!(open("plain.parquet").unwrap().remarks().is_empty());
    let error = open("both.parquet").unwrap_err().to_string();
    assert!(error.contains("'split', 'subset'") && error.contains("`split_column`"), "{error}");
}

#[test]
fn a_test_file_without_labels_is_passed_over() {
    for name in ["test.parquet", "my-test.parquet", "test/0000.parquet"] {
        let root = folder_of(&[("train.parquet", "plain.parquet"), (name, "unlabelled.parquet")]);
        let dataset = open_path(root.path(), FolderUse::Train).unwrap();
        assert_eq!(dataset.len(), 4, "{name}");
        let remark = &dataset.remarks()[0];
        assert!(remark.contains("taper predict MODEL") && remark.contains(name), "{remark}");
    }
    let root = folder_of(&[("train.parquet", "unlabelled.parquet")]);
    let error = open_path(root.path(), FolderUse::Train).unwrap_err();
    assert!(matches!(error, Error::Columns { .. }), "{error}");
}

#[test]
fn parquet_files_in_other_folders_are_remarked() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("old")).unwrap();
    for to in ["train.parquet", "old/train.parquet"] {
        fs::copy(folder().join("snappy.parquet"), root.path().join(to)).unwrap();
    }
    let dataset = open_parquet(root.path(), FolderUse::Train).unwrap();
    let remarks = dataset.remarks().join("\n");
    assert!(remarks.contains("old': Parquet files in folders that are no splits"), "{remarks}");
    assert_eq!(dataset.len(), 70);
}

/// Values of a column that a test writes.
enum Written {
    Texts(&'static [&'static str]),
    Numbers(&'static [i64]),
    Truths(&'static [bool]),
}

/// Writes a file with a column `image` of four pictures, and these.
fn write_columns(path: &Path, columns: &[(&str, Written)]) {
    use parquet::{
        basic::{LogicalType, Repetition, Type as Kind},
        data_type::{BoolType, ByteArray, ByteArrayType, Int64Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::types::Type,
    };
    let field = |name: &str, kind: Kind, text: bool| {
        let field = Type::primitive_type_builder(name, kind)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(text.then_some(LogicalType::String));
        Arc::new(field.build().unwrap())
    };
    let mut fields = vec![field("image", Kind::BYTE_ARRAY, false)];
    fields.extend(columns.iter().map(|(name, values)| match values {
        Written::Texts(_) => field(name, Kind::BYTE_ARRAY, true),
        Written::Numbers(_) => field(name, Kind::INT64, false),
        Written::Truths(_) => field(name, Kind::BOOLEAN, false),
    }));
    let schema = Type::group_type_builder("schema").with_fields(fields).build().unwrap();
    let file = fs::File::create(path).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let text = |bytes: &[u8]| ByteArray::from(bytes.to_vec());
    let pictures: Vec<ByteArray> = (0..4)
        .map(|n| taper_data::fixture::picture(n % 2, n, 24, 20))
        .map(|picture| text(&taper_data::fixture::jpeg(&picture).unwrap()))
        .collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&pictures, None, None).unwrap();
    column.close().unwrap();
    for (_, values) in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let written = match values {
            Written::Texts(values) => {
                let values: Vec<ByteArray> = values.iter().map(|v| text(v.as_bytes())).collect();
                column.typed::<ByteArrayType>().write_batch(&values, None, None)
            }
            Written::Numbers(values) => column.typed::<Int64Type>().write_batch(values, None, None),
            Written::Truths(values) => column.typed::<BoolType>().write_batch(values, None, None),
        };
        written.unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn open_columns(columns: &[(&str, Written)]) -> Result<Dataset, Error> {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("all.parquet");
    write_columns(&path, columns);
    open_parquet(&path, FolderUse::Train)
}

#[test]
fn columns_of_truth_values_say_the_splits() {
    let label = || ("label", Written::Texts(&["a", "b", "a", "b"]));
    for (name, values) in [
        ("is_test", Written::Truths(&[false, false, true, false])),
        ("test", Written::Numbers(&[0, 0, 1, 0])),
        ("train", Written::Truths(&[true, true, false, true])),
        ("is_train", Written::Texts(&["yes", "yes", "no", "yes"])),
    ] {
        let dataset = open_columns(&[label(), (name, values)]).unwrap();
        assert_eq!(dataset.indices(Some(Split::Test)).len(), 1, "{name}");
        assert_eq!(dataset.indices(Some(Split::Train)).len(), 3, "{name}");
        assert!(dataset.remarks()[0].contains(&format!("'{name}'")), "{:?}", dataset.remarks());
    }
    for (name, values) in [
        ("split", Written::Numbers(&[0, 0, 1, 0])),
        ("kfold", Written::Numbers(&[0, 1, 2, 0])),
        ("stage", Written::Texts(&["tr", "tr", "te", "va"])),
        ("is_valid", Written::Truths(&[true, true, false, true])),
    ] {
        let dataset = open_columns(&[label(), (name, values)]).unwrap();
        assert!(dataset.samples().iter().all(|sample| sample.split.is_none()), "{name}");
        let remark = &dataset.remarks()[0];
        assert!(remark.contains(name) && remark.contains("`split_column`"), "{remark}");
    }
}

#[test]
fn several_labels_as_text_are_refused() {
    for labels in [
        &["scab", "rust", "scab rust", "rust"],
        &["a,b", "a", "b", "a"],
        &["a;b", "a", "b", "a"],
        &["a|b", "a", "b", "a"],
        &["['a', 'b']", "['a']", "['b']", "['a']"],
    ] {
        for name in ["label", "labels"] {
            let error = open_columns(&[(name, Written::Texts(labels))]).unwrap_err();
            assert!(matches!(error, Error::Columns { .. }), "{error}");
            assert!(error.to_string().contains("multi-label"), "{error}");
        }
    }
}

#[test]
fn rows_without_a_label_can_be_classified() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("all.parquet");
    write_columns(&path, &[("label", Written::Numbers(&[0, 1, -1, 1]))]);
    let dataset = open_parquet(&path, FolderUse::Train).unwrap();
    assert_eq!(dataset.len(), 3);
    let remark = &dataset.remarks()[0];
    assert!(remark.contains("1 row(s)") && remark.contains("taper predict MODEL"), "{remark}");
    assert_eq!(open_parquet(&path, FolderUse::Classify).unwrap().len(), 4);
    let unlabelled = splits_file("unlabelled.parquet");
    assert_eq!(open_parquet(unlabelled, FolderUse::Classify).unwrap().len(), 4);
}
