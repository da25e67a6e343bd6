//! Downloads from a local server that cuts, corrupts, stalls and redirects: resumed or refused,
//! never used unverified.
#![allow(clippy::unwrap_used, reason = "also in the helpers of tests")]

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use taper_core::random::{Key, Purpose};
use taper_fetch::{Error, Problem, RemoteFile, Watching, download};
use taper_testing::hub::{Fault, HubServer, Route};

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

    fn download(&self) -> Result<PathBuf, Problem> {
        let watching = Watching { patience: Duration::from_secs(1), ..Watching::default() };
        self.download_with(&watching)
    }

    fn download_with(&self, watching: &Watching<'_>) -> Result<PathBuf, Problem> {
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
        // It is there now: no more requests are made.
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
    assert_eq!(case.download(), Err(Problem::Interrupted));
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
    assert_eq!(case.download(), Err(Problem::Stalled(1)));
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
    assert!(matches!(problem, Problem::Digest { .. }), "{problem}");
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
    // Longer than the file, and of the same length but different.
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
    assert_eq!(case.download(), Err(Problem::Busy(3600)));
    for (status, requests) in [(404, 1), (403, 1), (500, 4)] {
        let case = Case::new();
        case.server.fail(Route::Content, Fault::Status(status), 9);
        assert_eq!(case.download(), Err(Problem::Status(status)));
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
    assert_eq!(case.download(), Err(Problem::TooLong(LENGTH as u64 - 1)));
    case.is_absent();
    // A shorter file ends early every time, and the rest cannot be requested.
    let mut case = Case::new();
    case.file.bytes += 1;
    let problem = case.download().unwrap_err();
    assert!(matches!(problem, Problem::Status(416) | Problem::Interrupted));
    assert!(case.server.requests().len() <= 6);
    case.is_absent();
    let mut case = Case::new();
    // No server listens on that port.
    case.file.url = "http://127.0.0.1:9/x.zip".into();
    assert!(matches!(case.download(), Err(Problem::Unreachable(_))));
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
    assert_eq!(case.download_with(&watching), Err(Problem::Stopped));
    case.is_absent();
    let kept = fs::metadata(case.partial()).unwrap().len();
    assert!(kept > 100_000 && kept < LENGTH as u64);
    case.arrives();
    assert_eq!(case.ranges().last().unwrap().as_deref(), Some(&*format!("bytes={kept}-")));
}
