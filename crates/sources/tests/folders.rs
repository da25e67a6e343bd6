//! Layouts of folders: what is read, what is refused, and the messages.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{ffi::OsStr, fs};

use taper_core::{ClassNames, Split};
use taper_data::{Content, Dataset};
use taper_picture::DefectKind;
use taper_sources::{Error, FolderUse, Result, open_folder};

use taper_data::{ValChoice, fixture};
use tempfile::TempDir;

fn folder(folders: &[(&str, usize)], classes: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    fixture::write_folder(root.path(), folders, classes).unwrap();
    root
}

fn open(root: &TempDir) -> Result<Dataset> {
    open_folder(root.path(), FolderUse::Train)
}

fn error(root: &TempDir) -> Error {
    let error = open(root).unwrap_err();
    let path = root.path().display().to_string();
    assert!(error.to_string().contains(&path), "names no path: {error}");
    error
}

#[test]
fn split_folders_are_read_in_canonical_order() {
    let root = folder(&[("Train", 2), ("valid", 1), ("test", 1)], &["b", "a"]);
    let dataset = open(&root).unwrap();
    assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["a", "b"]);
    let ids: Vec<&str> = dataset.samples().iter().map(|s| s.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "Train/a/00.jpg",
            "Train/a/01.jpg",
            "Train/b/00.jpg",
            "Train/b/01.jpg",
            "test/a/03.jpg",
            "test/b/03.jpg",
            "valid/a/02.jpg",
            "valid/b/02.jpg",
        ]
    );
    assert_eq!(dataset.samples()[6].split, Some(Split::Val));
    assert_eq!(dataset.samples()[5].label, 1);
    // The slot leads to the right file although the order is another.
    for (index, sample) in dataset.samples().iter().enumerate() {
        let Ok(Content::Encoded(bytes)) = dataset.fetch(index) else { panic!() };
        assert_eq!(bytes, fs::read(root.path().join(&sample.id)).unwrap());
    }
}

#[test]
fn other_files_are_counted_and_foreign_pictures_reported() {
    let root = folder(&[("", 3)], &["a", "b"]);
    let a = root.path().join("a");
    fs::write(a.join("notes.txt"), "hello").unwrap();
    fs::write(a.join(".DS_Store"), "x").unwrap();
    fs::write(a.join("Thumbs.db"), "x").unwrap();
    fs::create_dir_all(root.path().join("__MACOSX/a")).unwrap();
    fs::write(root.path().join("__MACOSX/a/._00.jpg"), "x").unwrap();
    fs::write(a.join("phone.HEIC"), "x").unwrap();
    fs::create_dir_all(a.join("more/deeper")).unwrap();
    fs::copy(a.join("00.jpg"), a.join("more/deeper/x.JPEG")).unwrap();
    fs::copy(a.join("01.jpg"), a.join("no-extension")).unwrap();
    let dataset = open(&root).unwrap();
    assert_eq!(dataset.ignored().count, 4, "{:?}", dataset.ignored());
    assert_eq!(dataset.len(), 8);
    assert!(dataset.samples().iter().any(|s| s.id == "a/more/deeper/x.JPEG"));
    assert!(dataset.samples().iter().any(|s| s.id == "a/no-extension"));
    let findings = dataset.findings();
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].path.as_str(), findings[0].kind),
        ("a/phone.HEIC", DefectKind::Unsupported)
    );
    assert!(matches!(dataset.refuse_findings(), Err(taper_data::Error::Refused { .. })));
}

#[test]
fn mix_ups_have_errors_of_their_own() {
    let missing = open_folder("/no/such/folder", FolderUse::Train).unwrap_err();
    assert!(matches!(missing, Error::Missing { .. }));

    let root = folder(&[("train", 2)], &["a", "b"]);
    let file = root.path().join("train/a/00.jpg");
    let error_of_file = open_folder(file, FolderUse::Train).unwrap_err();
    assert!(matches!(error_of_file, Error::NotAFolder { .. }));

    let root = TempDir::new().unwrap();
    assert!(matches!(error(&root), Error::Data(taper_data::Error::NoPictures { .. })));
    fs::create_dir_all(root.path().join("a")).unwrap();
    fs::write(root.path().join("a/notes.txt"), "hello").unwrap();
    assert!(matches!(error(&root), Error::Data(taper_data::Error::NoPictures { .. })));

    let root = folder(&[("train", 2), ("test", 1)], &["a", "b"]);
    fs::create_dir_all(root.path().join("train/c")).unwrap();
    let empty = error(&root);
    assert!(matches!(&empty, Error::EmptyClass { class, .. } if class == "c"), "{empty}");

    for split in ["test", "val"] {
        let root = folder(&[("train", 2), (split, 1)], &["rock", "paper"]);
        let strange = root.path().join(split).join("rocks");
        fs::rename(root.path().join(split).join("rock"), strange).unwrap();
        let only = error(&root);
        assert!(
            matches!(&only, Error::Data(taper_data::Error::NotInTrain { class, nearest, .. }) if class == "rocks" && nearest == &["rock"]),
            "{only}"
        );
        assert!(only.to_string().contains(split));
    }

    let root = folder(&[("train", 2)], &["a"]);
    assert!(matches!(error(&root), Error::Data(taper_data::Error::OneClass { .. })));
    let root = folder(&[("", 2)], &["a"]);
    assert!(matches!(error(&root), Error::Data(taper_data::Error::OneClass { .. })));

    for inside in ["", "train"] {
        let root = folder(&[("train", 2), ("test", 1)], &["a", "b"]);
        fs::copy(root.path().join("train/a/00.jpg"), root.path().join(inside).join("x.jpg"))
            .unwrap();
        assert!(matches!(error(&root), Error::LoosePictures { count: 1, .. }), "{inside}");
    }
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("x.jpg"), "").unwrap();
    assert!(matches!(error(&root), Error::LoosePictures { .. }));

    let root = folder(&[("test", 1)], &["a", "b"]);
    assert!(matches!(error(&root), Error::Data(taper_data::Error::NoTrain { .. })));
    let evaluated = open_folder(root.path(), FolderUse::Evaluate).unwrap();
    assert_eq!(evaluated.indices(Some(Split::Test)).len(), 2);

    let root = folder(&[("train", 1), ("val", 1), ("validation", 1)], &["a", "b"]);
    assert!(matches!(error(&root), Error::SplitTwice { .. }));

    // One of several folders is a data set.
    let root = folder(&[("photos/train", 2), ("photos/test", 1), ("other", 1)], &["a", "b"]);
    let deeper = error(&root);
    assert!(
        matches!(&deeper, Error::OneDeeper { inner, .. } if inner.ends_with("photos")),
        "{deeper}"
    );
    // A single folder is packaging.
    for inner in ["data/train", "data"] {
        let root = folder(&[(inner, 2)], &["a", "b"]);
        assert_eq!(open(&root).unwrap().classes().len(), 2);
    }
}

#[test]
fn gaps_and_strange_folders_are_remarked() {
    let root = folder(&[("train", 2), ("test", 1)], &["a", "b"]);
    fs::remove_dir_all(root.path().join("test/b")).unwrap();
    fs::create_dir_all(root.path().join("extra")).unwrap();
    let dataset = open(&root).unwrap();
    let remarks = dataset.remarks().join("\n");
    assert!(remarks.contains("test has no pictures of: b"), "{remarks}");
    assert!(remarks.contains("'extra'"), "{remarks}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_loops_end() {
    use std::os::unix::fs::symlink;
    let root = folder(&[("", 3)], &["a", "b"]);
    symlink(root.path(), root.path().join("a/loop")).unwrap();
    symlink("..", root.path().join("b/up")).unwrap();
    symlink("nowhere", root.path().join("b/dangling.jpg")).unwrap();
    symlink(root.path().join("a/00.jpg"), root.path().join("b/linked.jpg")).unwrap();
    let dataset = open(&root).unwrap();
    assert!(dataset.samples().iter().any(|s| s.id == "b/linked.jpg"));
    assert!(dataset.findings().iter().any(|f| f.path == "b/dangling.jpg"));
    assert!(dataset.remarks().iter().any(|r| r.contains("link")));
    assert!(dataset.len() < 30, "{}", dataset.len());
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_escaped_and_readable() {
    use std::os::unix::ffi::OsStrExt;
    let root = folder(&[("", 3)], &["a", "b"]);
    let name = OsStr::from_bytes(b"caf\xe9.jpg");
    if fs::copy(root.path().join("a/00.jpg"), root.path().join("a").join(name)).is_err() {
        return; // This file system wants UTF-8.
    }
    let dataset = open(&root).unwrap();
    let index = dataset.samples().iter().position(|s| s.id == "a/caf\\xe9.jpg").unwrap();
    assert!(dataset.read(index).is_ok());
}

#[test]
fn classes_can_be_matched_to_a_models() {
    let root = folder(&[("test", 1)], &["b", "c"]);
    let dataset = open_folder(root.path(), FolderUse::Evaluate).unwrap();
    let names = |n: &[&str]| ClassNames::new(n.iter().map(|s| s.to_string()).collect()).unwrap();
    let matched = dataset.clone().with_classes(&names(&["c", "a", "b"])).unwrap();
    assert_eq!(matched.samples().iter().map(|s| s.label).collect::<Vec<_>>(), [2, 0]);
    assert!(matches!(
        dataset.with_classes(&names(&["a", "b"])),
        Err(taper_data::Error::UnknownClass { .. })
    ));
}

#[test]
fn the_fingerprint_follows_names_and_sizes_and_the_digest_content() {
    let root = folder(&[("train", 3)], &["a", "b"]);
    // Both are determined anew each time, from the current content of the folder.
    let fingerprint = || open(&root).unwrap().fingerprint();
    let digest = || open(&root).unwrap().content_digest();
    let (first, first_digest) = (fingerprint(), digest());
    assert_eq!((fingerprint(), digest()), (first.clone(), first_digest.clone()));
    assert_eq!(first.len(), 64);
    let path = root.path().join("train/a/00.jpg");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(fingerprint(), first);
    assert_ne!(digest(), first_digest);
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    let longer = fingerprint();
    assert_ne!(longer, first);
    fs::rename(&path, root.path().join("train/b/09.jpg")).unwrap();
    assert_ne!(fingerprint(), longer);
    assert_ne!(fingerprint(), first);
}

#[test]
fn unusable_pictures_are_found_by_verify() {
    let root = folder(&[("train", 3)], &["a", "b"]);
    fixture::write_unusable(root.path().join("train/a")).unwrap();
    fs::rename(root.path().join("train/b/00.jpg"), root.path().join("train/b/00.png")).unwrap();
    let mut dataset = open(&root).unwrap();
    let findings = dataset.verify();
    let found: Vec<(&str, DefectKind)> =
        findings.iter().map(|f| (f.path.as_str(), f.kind)).collect();
    assert_eq!(
        found,
        [
            ("train/a/corrupt.jpg", DefectKind::Corrupt),
            ("train/a/empty.jpg", DefectKind::Empty),
            ("train/a/text.jpg", DefectKind::NotAPicture),
            ("train/a/truncated.jpg", DefectKind::Truncated),
            ("train/b/00.png", DefectKind::Misnamed),
        ]
    );
    dataset.exclude(findings.clone());
    dataset.exclude(findings);
    assert_eq!(dataset.findings().len(), 5);
    assert_eq!(dataset.unreadable().count(), 4);
    assert_eq!(dataset.indices(None).len(), 6);
    let splits = dataset.splits(ValChoice::Auto, 0).unwrap();
    assert_eq!(splits.train.len() + splits.val.len(), 6);
    let refused = dataset.refuse_findings().unwrap_err().to_string();
    assert!(refused.contains("train/a/corrupt.jpg") && refused.contains("4 more"), "{refused}");
}
