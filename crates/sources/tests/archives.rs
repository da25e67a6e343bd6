//! Archives as data sets.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use taper_core::Split;
use taper_data::{Content, fixture};
use taper_picture::DefectKind;
use taper_sources::{
    Error, FolderUse, Reading, SourceOptions, open_archive, open_archives, open_path,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fn pack_zip(path: &Path, files: &[(&str, Vec<u8>)], method: CompressionMethod) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

fn pack_tar(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut tar = ::tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Names that `set_path` would refuse are written as they are.
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes.as_slice()).unwrap();
    }
    tar.finish().unwrap();
}

fn pictures() -> Vec<(&'static str, Vec<u8>)> {
    let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
    vec![
        ("set/train/a/1.jpg", jpeg(0, 0)),
        ("set/train/b/2.jpg", jpeg(1, 1)),
        ("set/train/b/notes.txt", b"hello".into()),
        ("set/test/a/3.jpg", jpeg(0, 2)),
        ("set/test/b/4.jpg", jpeg(1, 3)),
    ]
}

fn temporary(name: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(name);
    (root, path)
}

#[test]
fn archives_are_read_where_they_lie() {
    let (_root, zip) = temporary("x.zip");
    pack_zip(&zip, &pictures(), CompressionMethod::Deflated);
    let (_root2, stored) = temporary("x.zip");
    pack_zip(&stored, &pictures(), CompressionMethod::Stored);
    let (_root3, tar) = temporary("x.tar");
    pack_tar(&tar, &pictures());
    for path in [zip, stored, tar] {
        let dataset = open_archive(&path, FolderUse::Train).unwrap();
        let ids: Vec<&str> = dataset.samples().iter().map(|s| s.id.as_str()).collect();
        assert_eq!(
            ids,
            ["set/test/a/3.jpg", "set/test/b/4.jpg", "set/train/a/1.jpg", "set/train/b/2.jpg"]
        );
        assert!(dataset.verify().is_empty());
        assert_eq!(dataset.ignored().count, 1);
        let pictures = pictures();
        for (index, sample) in dataset.samples().iter().enumerate() {
            let Ok(Content::Encoded(bytes)) = dataset.fetch(index) else { panic!() };
            let original = pictures.iter().find(|(name, _)| *name == sample.id).unwrap();
            assert_eq!(bytes, original.1);
            assert_eq!(dataset.bytes(index), Some(original.1.len() as u64));
        }
        assert!(dataset.file(0).is_none());
    }
}

fn gzip(from: &Path, to: &Path) {
    let mut gz = flate2::write::GzEncoder::new(File::create(to).unwrap(), Default::default());
    io::copy(&mut File::open(from).unwrap(), &mut gz).unwrap();
    gz.finish().unwrap();
}

#[test]
fn a_compressed_tar_is_that_tar() {
    let (root, tar) = temporary("x.tar");
    pack_tar(&tar, &pictures());
    let plain = open_archive(&tar, FolderUse::Train).unwrap();
    let gz = root.path().join("x.TAR.gz");
    gzip(&tar, &gz);
    let xz = root.path().join("x.tar.xz");
    let mut out =
        lzma_rust2::XzWriter::new(File::create(&xz).unwrap(), Default::default()).unwrap();
    io::copy(&mut File::open(&tar).unwrap(), &mut out).unwrap();
    out.finish().unwrap();
    let bz2 = root.path().join("x.tar.bz2");
    let mut out = bzip2::write::BzEncoder::new(File::create(&bz2).unwrap(), Default::default());
    io::copy(&mut File::open(&tar).unwrap(), &mut out).unwrap();
    out.finish().unwrap();
    let mut all = vec![&gz, &xz, &bz2];
    let zst = root.path().join("x.tzst");
    if cfg!(feature = "zstd") {
        #[cfg(feature = "zstd")]
        std::fs::write(&zst, zstd::encode_all(File::open(&tar).unwrap(), 3).unwrap()).unwrap();
        all.push(&zst);
    }
    for path in all {
        let packed = open_archive(path, FolderUse::Train).unwrap();
        assert_eq!(packed.samples(), plain.samples(), "{}", path.display());
        assert_eq!(packed.content_digest(), plain.content_digest());
        let bytes = std::fs::read(path).unwrap();
        let short = root.path().join(format!("short-{}", path.file_name().unwrap().display()));
        std::fs::write(&short, &bytes[..bytes.len() / 2]).unwrap();
        let error = open_archive(&short, FolderUse::Train).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("again"), "{error}");
    }
    let bytes = std::fs::read(&gz).unwrap();
    std::fs::write(&gz, &bytes[..bytes.len() / 2]).unwrap();
    let error = open_archive(&gz, FolderUse::Train).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("again"), "{error}");
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../evil/a/1.jpg", "a/../../1.jpg", "/etc/a/1.jpg", "C:/a/1.jpg", "a\\..\\b/1.jpg"]
    {
        let files = [(name, fixture::jpeg(&fixture::picture(0, 0, 8, 8)).unwrap())];
        let (_root, tar) = temporary("x.tar");
        pack_tar(&tar, &files);
        let error = open_archive(&tar, FolderUse::Evaluate).unwrap_err().to_string();
        assert!(error.contains("leads out"), "{name}: {error}");
        let (_root, zip) = temporary("x.zip");
        pack_zip(&zip, &files, CompressionMethod::Stored);
        match open_archive(&zip, FolderUse::Evaluate) {
            Err(error) => assert!(error.to_string().contains("leads out"), "{error}"),
            // The writer may have made it harmless.
            Ok(dataset) => assert!(!dataset.samples()[0].id.contains("..")),
        }
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let (_root, zip) = temporary("bomb.zip");
    let files = [("a/1.jpg", vec![0u8; 64 << 20]), ("b/2.jpg", pictures()[0].1.clone())];
    pack_zip(&zip, &files, CompressionMethod::Deflated);
    assert!(std::fs::metadata(&zip).unwrap().len() < 200_000);
    let options = taper_picture::DecodeOptions { max_bytes: 1 << 20, ..Default::default() };
    let dataset = open_archive(&zip, FolderUse::Train).unwrap().with_decode_options(options);
    assert_eq!(dataset.fetch(0).unwrap_err().kind, DefectKind::TooLarge);
    assert!(dataset.read(1).is_ok());
}

#[test]
fn damage_links_and_gzip_have_clear_answers() {
    let (_root, zip) = temporary("x.zip");
    pack_zip(&zip, &pictures(), CompressionMethod::Deflated);
    let bytes = std::fs::read(&zip).unwrap();
    std::fs::write(&zip, &bytes[..bytes.len() / 2]).unwrap();
    let error = open_archive(&zip, FolderUse::Train).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("again"), "{error}");

    let (_root, tar) = temporary("x.tar");
    pack_tar(&tar, &pictures());
    let bytes = std::fs::read(&tar).unwrap();
    std::fs::write(&tar, &bytes[..700]).unwrap();
    let error = open_archive(&tar, FolderUse::Train).unwrap_err().to_string();
    assert!(error.contains("again"), "{error}");

    let (_root, gz) = temporary("x.tar.gz");
    std::fs::write(&gz, b"x").unwrap();
    let error = open_archive(&gz, FolderUse::Train).unwrap_err().to_string();
    assert!(error.contains("packed with gzip, is damaged"), "{error}");

    let (_root, tar) = temporary("x.tar");
    let mut builder = ::tar::Builder::new(File::create(&tar).unwrap());
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "a/link.jpg", "/etc/passwd").unwrap();
    let jpeg = pictures()[0].1.clone();
    for name in ["a/1.jpg", "b/2.jpg"] {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(jpeg.len() as u64);
        builder.append_data(&mut header, name, jpeg.as_slice()).unwrap();
    }
    builder.finish().unwrap();
    drop(builder);
    let dataset = open_archive(&tar, FolderUse::Train).unwrap();
    assert_eq!((dataset.len(), dataset.ignored().count), (2, 1));
}

#[test]
fn backslashes_and_old_code_pages_are_read_as_unzip_does() {
    let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
    let (root, zip) = temporary("windows.zip");
    let files = [("set\\a\\1.jpg", jpeg(0, 0)), ("set\\b\\2.jpg", jpeg(1, 1))];
    pack_zip(&zip, &files, CompressionMethod::Stored);
    let dataset = open_archive(&zip, FolderUse::Train).unwrap();
    assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(dataset.remarks()[0].contains("backslashes"), "{:?}", dataset.remarks());
    // The writer only knows UTF-8: names of the same length are patched.
    let of = |names: [&[u8]; 2]| {
        let files = [("c____1/1.jpg", jpeg(0, 0)), ("d____1/2.jpg", jpeg(1, 1))];
        pack_zip(&zip, &files, CompressionMethod::Stored);
        let mut bytes = std::fs::read(&zip).unwrap();
        for (old, new) in [b"c____1", b"d____1"].into_iter().zip(names) {
            for at in 0..bytes.len() - old.len() {
                if bytes[at..].starts_with(old) {
                    bytes[at..at + new.len()].copy_from_slice(new);
                }
            }
        }
        let path = root.path().join("patched.zip");
        std::fs::write(&path, bytes).unwrap();
        let dataset = open_archive(&path, FolderUse::Train).unwrap();
        assert!(dataset.verify().is_empty());
        dataset.classes().iter().map(String::from).collect::<Vec<_>>()
    };
    // CP437 has é at 0x82 and ü at 0x81; Shift-JIS has 犬 at 8C A2 and 写真 at 8E CA 90 5E.
    assert_eq!(of([b"caf\x82_1", b"m\x81ll_1"]), ["café_1", "müll_1"]);
    let japanese = [&b"\x8c\xa2\x8e\xca\x90\x5e"[..], &b"\x94\x4c\x8e\xca\x90\x5e"[..]];
    let mut expected = vec!["犬写真".to_string(), "猫写真".to_string()];
    expected.sort();
    assert_eq!(of([japanese[0], japanese[1]]), expected);
}

#[test]
fn shards_have_labels_of_their_own() {
    let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
    let (root, tar) = temporary("train-000000.tar");
    let files = [
        ("0001.jpg", jpeg(0, 0)),
        ("0001.cls", b"3\n".to_vec()),
        ("0002.jpg", jpeg(1, 1)),
        ("0002.cls", b"cat".to_vec()),
        ("0003.jpg", jpeg(1, 2)),
        ("0003.json", br#"{"label": "cat", "width": 40}"#.to_vec()),
        ("0004.jpg", jpeg(1, 3)),
    ];
    pack_tar(&tar, &files);
    let dataset = open_archive(&tar, FolderUse::Train).unwrap();
    assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["3", "cat"]);
    assert_eq!(dataset.indices(Some(Split::Train)).len(), 3);
    assert!(dataset.remarks().iter().any(|r| r.contains("0004.jpg")), "{:?}", dataset.remarks());
    // Shards with the same names in them, and a split each.
    let test = root.path().join("test-000000.tar");
    pack_tar(&test, &files[..4]);
    let both = open_archives(&[(&tar, None), (&test, None)], FolderUse::Train).unwrap();
    assert_eq!(both.indices(Some(Split::Test)).len(), 2);
    assert_eq!(both.len(), 5);
    let broken = [("1.jpg", jpeg(0, 0)), ("1.json", b"{".to_vec())];
    pack_tar(&tar, &broken);
    let error = open_archive(&tar, FolderUse::Train).unwrap_err().to_string();
    assert!(error.contains("not valid JSON"), "{error}");
}

fn classes_of(dataset: &taper_data::Dataset) -> Vec<&str> {
    dataset.classes().iter().collect()
}

/// Archives of two classes, some pictures each, with all pictures different.
fn folder_of_zips(names: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (number, name) in names.iter().enumerate() {
        let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
        let files = [("a/1.jpg", jpeg(0, 2 * number)), ("b/2.jpg", jpeg(1, 2 * number + 1))];
        pack_zip(&root.path().join(name), &files, CompressionMethod::Stored);
    }
    root
}

#[test]
fn archives_that_may_be_splits_are_never_one_set_in_silence() {
    let open = |names: &[&str]| open_path(folder_of_zips(names).path(), FolderUse::Train);
    for names in [["traindata.zip", "testdata.zip"], ["trainimages.zip", "testset.zip"]] {
        let dataset = open(&names).unwrap();
        assert_eq!(dataset.indices(Some(Split::Test)).len(), 2, "{names:?}");
        assert!(dataset.remarks().is_empty(), "{:?}", dataset.remarks());
    }
    for names in
        [["train.zip", "unseen.zip"], ["test.zip", "rest.zip"], ["xtrain.zip", "xtest.zip"]]
    {
        let error = open(&names).unwrap_err();
        assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
        assert!(error.to_string().contains(names[1].trim_end_matches(".zip")), "{error}");
    }
    for names in [["entrenamiento.zip", "prueba.zip"], ["A.zip", "B.zip"], ["old.zip", "new.zip"]] {
        let dataset = open(&names).unwrap();
        assert!(dataset.remarks()[0].contains("read as one set"), "{:?}", dataset.remarks());
    }
    for names in [["0000.zip", "0001.zip"], ["part-1.zip", "part-2.zip"], ["x.zip", "x2.zip"]] {
        assert!(open(&names).unwrap().remarks().is_empty(), "{names:?}");
    }
}

#[test]
fn an_archive_of_pictures_without_labels_is_passed_over() {
    for name in ["test.zip", "testimages.zip", "my-test.zip"] {
        let root = folder_of_zips(&["train.zip"]);
        let loose = [("9.jpg", pictures()[0].1.clone()), ("8.jpg", pictures()[1].1.clone())];
        pack_zip(&root.path().join(name), &loose, CompressionMethod::Stored);
        let dataset = open_path(root.path(), FolderUse::Train).unwrap();
        assert_eq!(dataset.len(), 2);
        let remark = &dataset.remarks()[0];
        assert!(remark.contains("taper predict MODEL") && remark.contains(name), "{remark}");
    }
}

#[test]
fn what_taper_wrote_into_an_archive_is_passed_over() {
    let figure = [&b"\x89PNG\r\n\x1a\n________"[..], taper_core::file::FIGURE_MARK].concat();
    let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
    for (more, named) in [
        (
            vec![
                ("runs/r-1/recipe.toml", vec![]),
                ("runs/r-1/history.csv", vec![]),
                ("runs/r-1/curves.png", figure.clone()),
            ],
            "runs/r-1/",
        ),
        (vec![("augment.png", figure.clone())], "augment.png"),
        (vec![("ev/evaluation.json", vec![]), ("ev/sheet.png", figure.clone())], "ev/"),
        (vec![("sorted/.taper-output", vec![]), ("sorted/a/1.jpg", jpeg(0, 9))], "sorted/"),
    ] {
        let (_root, zip) = temporary("x.zip");
        let files = [vec![("a/1.jpg", jpeg(0, 0)), ("b/2.jpg", jpeg(1, 1))], more].concat();
        pack_zip(&zip, &files, CompressionMethod::Deflated);
        let dataset = open_archive(&zip, FolderUse::Train).unwrap();
        assert_eq!(classes_of(&dataset), ["a", "b"], "{named}");
        assert_eq!(dataset.len(), 2, "{named}");
        let remark = &dataset.remarks()[0];
        assert!(remark.contains(named) && remark.contains("written by Taper"), "{remark}");
    }
    // Given alone, sorted pictures are a data set.
    let (_root, zip) = temporary("sorted.zip");
    let files = [("s/.taper-output", vec![]), ("s/a/1.jpg", jpeg(0, 0)), ("s/b/2.jpg", jpeg(1, 1))];
    pack_zip(&zip, &files, CompressionMethod::Deflated);
    assert_eq!(open_archive(&zip, FolderUse::Train).unwrap().len(), 2);
}

#[test]
fn pictures_under_other_names_count_as_in_a_folder() {
    let (_root, zip) = temporary("x.zip");
    let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
    let files = [
        ("a/noext", jpeg(0, 0)),
        ("a/x.jpg.bak", jpeg(0, 1)),
        ("b/2.jpg", jpeg(1, 1)),
        ("b/notes", b"text".into()),
    ];
    pack_zip(&zip, &files, CompressionMethod::Deflated);
    let dataset = open_archive(&zip, FolderUse::Train).unwrap();
    assert_eq!((dataset.len(), dataset.ignored().count), (3, 1));
    assert!(dataset.verify().iter().all(taper_picture::Finding::usable));
}

#[test]
fn several_labels_in_a_shard_are_a_question() {
    let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
    let open = |labels: [(&str, &str); 2], column: Option<&str>| {
        let (_root, tar) = temporary("x.tar");
        let mut files = Vec::new();
        let names: Vec<String> = (0..4).map(|n| format!("{n}")).collect();
        let all: Vec<(String, Vec<u8>)> = names
            .iter()
            .enumerate()
            .flat_map(|(n, name)| {
                let text = |text: &str| text.replace('N', &(n % 2).to_string()).into_bytes();
                let mut own = vec![(format!("{name}.jpg"), jpeg(n % 2, n))];
                own.extend(labels.map(|(ending, label)| (format!("{name}.{ending}"), text(label))));
                own
            })
            .collect();
        files.extend(all.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
        pack_tar(&tar, &files);
        let mut options = SourceOptions::default();
        options.label_column = column.map(String::from);
        open_archive(&tar, Reading::new(FolderUse::Train, options))
    };
    let two = [
        [("json", r#"{"label": N, "cls": "xN"}"#), ("txt", "")],
        [("cls", "N"), ("json", r#"{"label": "xN"}"#)],
        [("json", r#"{"fine_label": "xN", "coarse_label": N}"#), ("txt", "")],
    ];
    for (labels, [first, second]) in
        two.into_iter().zip([["cls", "label"], ["cls", "label"], ["coarse_label", "fine_label"]])
    {
        let error = open(labels, None).unwrap_err();
        assert!(matches!(error, Error::Columns { .. }), "{error}");
        for words in [first, second, "`label_column`"] {
            assert!(error.to_string().contains(words), "{error}");
        }
        let column = if labels[0].0 == "cls" { "label" } else { first };
        let dataset = open(labels, Some(column)).unwrap();
        assert_eq!(dataset.classes().len(), 2);
        let error = open(labels, Some("nothing")).unwrap_err().to_string();
        assert!(error.contains("'nothing'"), "{error}");
    }
    // Two that say the same are no question, and a label file may say what it is.
    let same = open([("cls", "N"), ("json", r#"{"label": N, "width": 40}"#)], None).unwrap();
    assert_eq!(classes_of(&same), ["0", "1"]);
    let named = open([("label.cls", "cN"), ("txt", "")], None).unwrap();
    assert_eq!(classes_of(&named), ["c0", "c1"]);
    let error = open([("json", r#"{"label": [N, 2]}"#), ("txt", "")], None).unwrap_err();
    assert!(error.to_string().contains("multi-label"), "{error}");
    // Without labels of its own, an archive has no columns.
    let root = folder_of_zips(&["x.zip"]);
    let mut options = SourceOptions::default();
    options.label_column = Some("label".into());
    let reading = Reading::new(FolderUse::Train, options);
    let error = open_archive(root.path().join("x.zip"), reading).unwrap_err();
    assert!(matches!(error, Error::Setting(_)), "{error}");
}

#[test]
fn several_pictures_or_combined_labels_in_a_shard_are_not_silent() {
    let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
    let open = |pictures: &[&str], labels: [&str; 4]| {
        let (_root, tar) = temporary("x.tar");
        let mut all: Vec<(String, Vec<u8>)> = Vec::new();
        for (n, label) in labels.iter().enumerate() {
            let own = pictures.iter().map(|ending| (format!("{n}.{ending}"), jpeg(n % 2, n)));
            all.extend(own);
            all.push((format!("{n}.cls"), label.as_bytes().to_vec()));
        }
        let files: Vec<(&str, Vec<u8>)> =
            all.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        pack_tar(&tar, &files);
        open_archive(&tar, FolderUse::Train)
    };
    for pictures in [["mask.png", "jpg"], ["0.jpg", "1.jpg"], ["jpg", "png"]] {
        let dataset = open(&pictures, ["a", "b", "a", "b"]).unwrap();
        assert_eq!(dataset.len(), 4);
        let remark = &dataset.remarks()[0];
        assert!(remark.contains("4 picture(s) are not used"), "{remark}");
        // Masks are not what is to be learned.
        assert!(dataset.samples().iter().all(|sample| !sample.id.contains("mask")));
    }
    for labels in [["a b", "a", "b", "a"], ["a,b", "a", "b", "a"], ["1 3", "1", "3", "1"]] {
        let error = open(&["jpg"], labels).unwrap_err();
        assert!(matches!(error, Error::Columns { .. }), "{error}");
        assert!(error.to_string().contains("multi-label"), "{error}");
    }
    assert!(open(&["jpg"], ["a", "b", "a", "b"]).unwrap().remarks().is_empty());
}

#[test]
fn fields_of_a_shard_that_say_the_split_are_used_or_remarked() {
    let jpeg = |class, n| fixture::jpeg(&fixture::picture(class, n, 40, 30)).unwrap();
    let open = |field: &str, values: [&str; 4]| {
        let (_root, tar) = temporary("x.tar");
        let mut all: Vec<(String, Vec<u8>)> = Vec::new();
        for (n, value) in values.iter().enumerate() {
            all.push((format!("{n}.jpg"), jpeg(n % 2, n)));
            let json = format!("{{\"label\": \"c{}\", \"{field}\": {value}}}", n % 2);
            all.push((format!("{n}.json"), json.into_bytes()));
        }
        let files: Vec<(&str, Vec<u8>)> =
            all.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        pack_tar(&tar, &files);
        open_archive(&tar, FolderUse::Train).unwrap()
    };
    for field in ["split", "subset"] {
        let dataset = open(field, ["\"train\"", "\"train\"", "\"test\"", "\"val\""]);
        assert_eq!(dataset.indices(Some(Split::Test)).len(), 1, "{field}");
        assert_eq!(dataset.indices(Some(Split::Val)).len(), 1, "{field}");
    }
    for (field, values) in [
        ("split", ["0", "0", "1", "1"]),
        ("fold", ["0", "1", "0", "1"]),
        ("is_test", ["false", "false", "true", "false"]),
    ] {
        let dataset = open(field, values);
        assert!(dataset.samples().iter().all(|sample| sample.split.is_none()), "{field}");
        let remark = &dataset.remarks()[0];
        assert!(remark.contains(field) && remark.contains("not used"), "{remark}");
    }
}

#[test]
fn archives_of_masks_beside_pictures_are_refused() {
    for names in [["images.zip", "masks.zip"], ["x-pictures.zip", "x-annotations.zip"]] {
        let root = folder_of_zips(&names);
        let error = open_path(root.path(), FolderUse::Train).unwrap_err();
        assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
        assert!(error.to_string().contains("no pictures to learn from"), "{error}");
    }
}
