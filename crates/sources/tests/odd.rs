//! Odd data sets: each has a clear answer.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, fs::File, io::Write, path::Path};

use taper_data::{ValChoice, fixture};
use taper_sources::{Error, FolderUse, open_archive, open_folder, open_manifest, open_path};

fn jpeg(n: usize) -> Vec<u8> {
    fixture::jpeg(&fixture::picture(n % 2, n, 24, 24)).unwrap()
}

#[test]
fn one_picture_and_one_class_can_be_looked_at_but_not_learned() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("cat")).unwrap();
    fs::write(root.path().join("cat/1.jpg"), jpeg(0)).unwrap();
    let list = root.path().join("list.csv");
    fs::write(&list, "path,label\ncat/1.jpg,cat\n").unwrap();
    let zip = root.path().join("one.zip");
    pack(&zip, &[("cat/1.jpg".into(), jpeg(0))]);
    for path in [root.path(), &list, &zip] {
        let error = open_path(path, FolderUse::Train).unwrap_err();
        // The folder's list may be what was meant.
        let error = match error {
            Error::ManifestBeside { source, .. } if path == root.path() => *source,
            error => error,
        };
        assert!(matches!(error, Error::Data(taper_data::Error::OneClass { .. })), "{error}");
        assert!(error.to_string().contains("only one class, 'cat'"), "{error}");
        let dataset = open_path(path, FolderUse::Evaluate).unwrap();
        assert_eq!(dataset.len(), 1);
        assert!(dataset.verify().is_empty());
    }
    // Two classes of one picture each: too few to train and to validate on.
    fs::create_dir(root.path().join("dog")).unwrap();
    fs::write(root.path().join("dog/1.jpg"), jpeg(1)).unwrap();
    let dataset = open_folder(root.path(), FolderUse::Train).unwrap();
    let error = dataset.splits(ValChoice::Auto, 0).unwrap_err();
    assert!(matches!(error, taper_data::Error::TooFew { found: 1, needed: 3, .. }), "{error}");
}

fn pack(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in files {
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn ten_thousand_classes_are_a_data_set() {
    const CLASSES: usize = 10_000;
    let root = tempfile::tempdir().unwrap();
    let bytes = jpeg(0);
    let name = |n: usize| format!("class-{:05}/{}.jpg", n / 3, n % 3);
    let files: Vec<(String, Vec<u8>)> =
        (0..3 * CLASSES).map(|n| (name(n), bytes.clone())).collect();
    let zip = root.path().join("many.zip");
    pack(&zip, &files);
    let folder = root.path().join("many");
    // Fewer as folders: ten thousand of them take half a minute on a slow disk.
    for (name, bytes) in files.iter().take(3 * 500) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let from_folder = open_folder(&folder, FolderUse::Train).unwrap();
    let from_archive = open_archive(&zip, FolderUse::Train).unwrap();
    assert_eq!(from_archive.classes().len(), CLASSES);
    assert_eq!((from_folder.len(), from_archive.len()), (1500, 3 * CLASSES));
    assert_eq!(from_folder.samples(), &from_archive.samples()[..1500]);
    // One of three for each split, of every class.
    let splits = from_archive.splits(ValChoice::Auto, 1).unwrap();
    assert_eq!([splits.train.len(), splits.val.len(), splits.test.len()], [CLASSES; 3]);
    assert!(from_archive.counts(&splits.val).iter().all(|n| *n == 1));
    fs::remove_dir_all(folder.join("class-00077")).unwrap();
    fs::create_dir(folder.join("class-00077")).unwrap();
    let error = open_folder(&folder, FolderUse::Train).unwrap_err().to_string();
    assert!(error.contains("class-00077") && error.len() < 500, "{error}");
}

#[test]
fn names_that_are_not_utf8_are_escaped_in_archives() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.tar");
    let mut tar = tar::Builder::new(File::create(&path).unwrap());
    let bytes = jpeg(0);
    for name in [&b"a/caf\xe9.jpg"[..], b"b/\xff\xfe.jpg", b"b/plain.jpg"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        tar.append(&header, bytes.as_slice()).unwrap();
    }
    tar.finish().unwrap();
    drop(tar);
    let dataset = open_archive(&path, FolderUse::Train).unwrap();
    let ids: Vec<&str> = dataset.samples().iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["a/caf\\xe9.jpg", "b/\\xff\\xfe.jpg", "b/plain.jpg"]);
    assert!(dataset.verify().is_empty());
    // A manifest that is not UTF-8 is read as Windows-1252, and says so.
    let list = root.path().join("list.csv");
    fs::write(root.path().join("café.jpg"), jpeg(0)).unwrap();
    fs::write(&list, b"path,label\ncaf\xe9.jpg,a\nx.jpg,b\n").unwrap();
    let dataset = open_manifest(&list, FolderUse::Train).unwrap();
    assert!(dataset.remarks()[0].contains("Windows-1252"), "{:?}", dataset.remarks());
    assert!(dataset.read(0).is_ok());
}
