//! Downloads from a local server that cuts, corrupts, stalls and redirects: resumed or refused, never used unverified.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests; a skipped test says so

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use taper_core::{
    Split,
    random::{Key, Purpose},
};
use taper_data::{
    Content, DownloadProblem, Error, FolderUse, KnownArchive, KnownSet, RemoteFile, Watching,
    download, fixture, open_folder,
};
use taper_testing::hub::{Fault, HubServer, Route};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

const LENGTH: usize = 300_000;

struct Case {
    server: HubServer,
    folder: tempfile::TempDir,
    content: Vec<u8>,
    file: RemoteFile,
}

impl Case {
    fn new() -> Self {
        let mut stream = Key::new(7, Purpose::new("test/download")).stream(0, 0);
        let content: Vec<u8> = (0..LENGTH).map(|_| stream.below(256) as u8).collect();
        let server = HubServer::start();
        let sha256 = server.put("some/set", "x.zip", content.clone());
        let file = RemoteFile {
            url: format!("{}/cdn/some/set/x.zip", server.url()),
            name: "x.zip".into(),
            bytes: LENGTH as u64,
            sha256,
        };
        Self { server, folder: tempfile::tempdir().unwrap(), content, file }
    }

    fn download(&self) -> Result<PathBuf, DownloadProblem> {
        let watching = Watching { patience: Duration::from_secs(1), ..Watching::default() };
        self.download_with(&watching)
    }

    fn download_with(&self, watching: &Watching<'_>) -> Result<PathBuf, DownloadProblem> {
        download(&self.file, self.folder.path(), watching).map_err(|error| match error {
            Error::Download { problem, .. } => problem,
            other => panic!("{other}"),
        })
    }

    #[track_caller]
    fn arrives(&self) {
        let path = self.download().unwrap();
        assert!(fs::read(&path).unwrap() == self.content, "another content");
        assert!(!self.partial().exists());
        // It is there now: nobody is asked any more.
        let before = self.server.requests().len();
        assert_eq!(self.download().unwrap(), path);
        assert_eq!(self.server.requests().len(), before);
    }

    #[track_caller]
    fn is_absent(&self) {
        assert!(!self.folder.path().join("x.zip").exists(), "used unverified");
    }

    fn partial(&self) -> PathBuf {
        self.folder.path().join("x.zip.partial")
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.server.requests().into_iter().map(|request| request.range).collect()
    }
}

#[test]
fn a_cut_download_goes_on_where_it_broke_off() {
    let case = Case::new();
    for _ in 0..3 {
        case.server.fail(Route::Content, Fault::Cut(70_000), 1);
    }
    case.arrives();
    let expected = [None, Some("bytes=70000-"), Some("bytes=140000-"), Some("bytes=210000-")];
    assert_eq!(case.ranges(), expected.map(|range| range.map(String::from)));
}

#[test]
fn a_download_that_breaks_without_progress_is_given_up_and_kept_for_the_next_time() {
    let case = Case::new();
    case.server.fail(Route::Content, Fault::Cut(50_000), 1);
    case.server.fail(Route::Content, Fault::Cut(0), 3);
    assert_eq!(case.download(), Err(DownloadProblem::Broken));
    case.is_absent();
    assert_eq!(fs::metadata(case.partial()).unwrap().len(), 50_000);
    case.arrives();
    assert_eq!(case.ranges().last().unwrap().as_deref(), Some("bytes=50000-"));
}

#[test]
fn a_stalled_download_goes_on_and_a_silent_server_is_given_up() {
    let case = Case::new();
    case.server.fail(Route::Content, Fault::Stall(90_000), 1);
    case.arrives();
    assert_eq!(case.ranges().last().unwrap().as_deref(), Some("bytes=90000-"));
    let case = Case::new();
    case.server.fail(Route::Content, Fault::Silence, 4);
    assert_eq!(case.download(), Err(DownloadProblem::Stalled(1)));
    case.is_absent();
}

#[test]
fn damage_is_fetched_anew_once_and_then_refused() {
    let case = Case::new();
    case.server.fail(Route::Content, Fault::Corrupt, 1);
    case.arrives();
    let case = Case::new();
    case.server.fail(Route::Content, Fault::Corrupt, 2);
    let problem = case.download().unwrap_err();
    assert!(matches!(problem, DownloadProblem::Digest { .. }), "{problem}");
    case.is_absent();
    assert!(!case.partial().exists(), "what was damaged must not be gone on from");
}

#[test]
fn what_an_earlier_time_left_is_not_trusted() {
    let case = Case::new();
    fs::write(case.partial(), vec![1; 1000]).unwrap();
    case.arrives();
    assert_eq!(case.ranges()[0].as_deref(), Some("bytes=1000-"));
    assert_eq!(case.ranges()[1], None);
    // Longer than the file, and as long but another.
    for length in [LENGTH + 1, LENGTH] {
        let case = Case::new();
        fs::write(case.partial(), vec![1; length]).unwrap();
        case.arrives();
    }
}

#[test]
fn ranges_may_be_ignored_and_answers_may_fail() {
    let case = Case::new();
    case.server.fail(Route::Content, Fault::Cut(70_000), 1);
    case.server.fail(Route::Content, Fault::IgnoreRange, 1);
    case.arrives();
    let case = Case::new();
    case.server.fail(Route::Content, Fault::Status(503), 2);
    case.server.fail(Route::Content, Fault::RetryAfter(1), 1);
    case.arrives();
    let case = Case::new();
    case.server.fail(Route::Content, Fault::RetryAfter(3600), 1);
    assert_eq!(case.download(), Err(DownloadProblem::Busy(3600)));
    for (status, requests) in [(404, 1), (403, 1), (500, 4)] {
        let case = Case::new();
        case.server.fail(Route::Content, Fault::Status(status), 9);
        assert_eq!(case.download(), Err(DownloadProblem::Status(status)));
        assert_eq!(case.server.requests().len(), requests);
        case.is_absent();
    }
}

#[test]
fn redirects_are_followed_and_another_file_is_refused() {
    let mut case = Case::new();
    case.file.url = format!("{}/some/set/resolve/main/x.zip", case.server.url());
    case.server.fail(Route::Content, Fault::Cut(10_000), 1);
    case.arrives();
    assert_eq!(case.server.requests().iter().filter(|r| r.status == 302).count(), 2);
    let mut case = Case::new();
    case.file.bytes -= 1;
    assert_eq!(case.download(), Err(DownloadProblem::TooLong(LENGTH as u64 - 1)));
    case.is_absent();
    // A shorter file ends every time, and its end cannot be asked for.
    let mut case = Case::new();
    case.file.bytes += 1;
    let problem = case.download().unwrap_err();
    assert!(matches!(problem, DownloadProblem::Status(416) | DownloadProblem::Broken));
    assert!(case.server.requests().len() <= 6);
    case.is_absent();
    let mut case = Case::new();
    // Nobody listens on that port.
    case.file.url = "http://127.0.0.1:9/x.zip".into();
    assert!(matches!(case.download(), Err(DownloadProblem::Unreachable(_))));
}

#[test]
fn it_stops_when_asked_to_and_tells_how_far_it_is() {
    let case = Case::new();
    let seen = AtomicU64::new(0);
    let watching = Watching {
        progress: &|bytes| seen.store(bytes, Ordering::Relaxed),
        stop: &|| seen.load(Ordering::Relaxed) > 100_000,
        ..Watching::default()
    };
    assert_eq!(case.download_with(&watching), Err(DownloadProblem::Stopped));
    case.is_absent();
    let kept = fs::metadata(case.partial()).unwrap().len();
    assert!(kept > 100_000 && kept < LENGTH as u64);
    case.arrives();
    assert_eq!(case.ranges().last().unwrap().as_deref(), Some(&*format!("bytes={kept}-")));
}

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
                // Names that promise another split and class.
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
        Err(Error::Download { problem: DownloadProblem::Digest { .. }, .. })
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

/// The real pictures, packed as the real archives are, give the data set that their folder gives.
#[test]
fn rock_paper_scissors_from_archives_is_that_of_the_folder() {
    let data =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/rock-paper-scissors");
    if !data.is_dir() {
        println!("skipped: {} is not there", data.display());
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (split, packaging) in [("train", "rps"), ("test", "rps-test-set")] {
        let mut files = Vec::new();
        for class in ["paper", "rock", "scissors"] {
            for entry in fs::read_dir(data.join(split).join(class)).unwrap() {
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
    let folder = open_folder(&data, FolderUse::Train).unwrap();
    assert_eq!(archives.classes(), folder.classes());
    assert_eq!(archives.len(), 2892);
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
