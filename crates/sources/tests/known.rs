//! Named data sets, downloaded from a server on this machine.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use taper_core::Split;
use taper_data::{Content, fixture};
use taper_fetch::{Problem, Watching};
use taper_sources::{Error, FolderUse, KnownArchive, KnownSet, open_folder};
use taper_testing::{
    hub::{Fault, HubServer, Route},
    pictures::{PictureSet, picture_sets},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fn pack(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn a_known_set_is_fetched_verified_and_read_where_it_lies() {
    let server = HubServer::start();
    let place = tempfile::tempdir().unwrap();
    let mut archives = Vec::new();
    for (name, split, count) in [("all", Split::Train, 4), ("test-set", Split::Test, 2)] {
        let files: Vec<(String, Vec<u8>)> = (0..2 * count)
            .map(|n| {
                let class = ["rock", "paper"][n % 2];
                // Names that suggest a different split and class.
                let path = format!("{name}/{class}/testscissors{n:02}.jpg");
                (path, fixture::jpeg(&fixture::picture(n % 2, n, 40, 30)).unwrap())
            })
            .collect();
        let path = place.path().join(name);
        pack(&path, &files);
        let bytes = fs::read(&path).unwrap();
        let length = bytes.len() as u64;
        let sha256 = server.put("some/set", &format!("{name}.zip"), bytes);
        archives.push(KnownArchive { file: format!("{name}.zip"), bytes: length, sha256, split });
    }
    let set = KnownSet { name: "hands".into(), base: String::new(), archives };
    let set = set.at(&format!("{}/cdn/some/set", server.url()));
    let cache = tempfile::tempdir().unwrap();
    server.fail(Route::Content, Fault::Corrupt, 9);
    let refused = set.open(cache.path(), FolderUse::Train, &Watching::default());
    assert!(matches!(
        refused,
        Err(Error::Fetch(taper_fetch::Error::Download { problem: Problem::Digest { .. }, .. }))
    ));
    assert!(!set.is_in(cache.path()));
    drop(server);

    let server = HubServer::start();
    for name in ["all", "test-set"] {
        server.put("some/set", &format!("{name}.zip"), fs::read(place.path().join(name)).unwrap());
    }
    let set = set.at(&format!("{}/cdn/some/set", server.url()));
    let seen = AtomicU64::new(0);
    let progress = |bytes| {
        seen.fetch_max(bytes, Ordering::Relaxed);
    };
    let watching = Watching { progress: &progress, ..Watching::default() };
    let dataset = set.open(cache.path(), FolderUse::Train, &watching).unwrap();
    assert_eq!(seen.into_inner(), set.bytes());
    assert!(set.is_in(cache.path()));
    assert_eq!(dataset.classes().iter().collect::<Vec<_>>(), ["paper", "rock"]);
    assert_eq!(dataset.counts(&dataset.indices(Some(Split::Train))), [4, 4]);
    assert_eq!(dataset.counts(&dataset.indices(Some(Split::Test))), [2, 2]);
    assert_eq!(dataset.samples()[0].id, "test/paper/testscissors01.jpg");
    assert_eq!(dataset.place(), "hands");
    assert!(dataset.verify().is_empty());
    drop(server);
    // Offline, from the cache.
    let again = set.open(cache.path(), FolderUse::Train, &Watching::default()).unwrap();
    assert_eq!(again.samples(), dataset.samples());
}

/// Real pictures, packed like the archives of rock-paper-scissors, give the same data set as their
/// folder.
#[test]
fn real_pictures_from_archives_are_those_of_the_folder() {
    for set in picture_sets() {
        archives_give_what_the_folder_gives(&set);
    }
}

fn archives_give_what_the_folder_gives(pictures: &PictureSet) {
    let place = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (split, packaging) in [("train", "rps"), ("test", "rps-test-set")] {
        let mut files = Vec::new();
        for class in pictures.classes {
            for entry in fs::read_dir(pictures.folder.join(split).join(class)).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{packaging}/{class}/{}", entry.file_name().to_str().unwrap());
                files.push((name, fs::read(entry.path()).unwrap()));
            }
        }
        let path = place.path().join(format!("{packaging}.zip"));
        pack(&path, &files);
        paths.push(path);
    }
    let set = KnownSet::rock_paper_scissors();
    assert_eq!(set.bytes(), 200_682_221 + 29_516_758);
    let archives = set.open_archives(&paths, FolderUse::Train).unwrap();
    let folder = open_folder(&pictures.folder, FolderUse::Train).unwrap();
    assert_eq!(archives.classes(), folder.classes());
    assert_eq!(archives.len(), pictures.pictures());
    for (index, (a, b)) in archives.samples().iter().zip(folder.samples()).enumerate() {
        assert_eq!((&a.id, a.split, a.label), (&b.id, b.split, b.label));
        if index % 40 == 0 {
            let [a, b] = [&archives, &folder].map(|set| match set.fetch(index).unwrap() {
                Content::Encoded(bytes) => bytes,
                other => panic!("{other:?}"),
            });
            assert!(a == b, "{index}");
        }
    }
}
