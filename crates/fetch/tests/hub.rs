//! The Hub client against a server on this machine: what must work, and every way to fail.

#![allow(clippy::unwrap_used, reason = "also in the helpers of tests")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use taper_fetch::{Error, HubFile, HubOptions, Problem, RepositoryKind, cached, fetch};
use taper_testing::hub::{COMMIT, Fault, HubServer, Route};
use tempfile::TempDir;

const FILE: HubFile<'static> = HubFile {
    kind: RepositoryKind::Model,
    repository: "timm/tiny.test",
    revision: "main",
    file: "model.safetensors",
    sha256: None,
};

fn content() -> Vec<u8> {
    (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

struct Scene {
    server: HubServer,
    folder: TempDir,
    options: HubOptions,
    digest: String,
}

impl Scene {
    fn new() -> Self {
        let server = HubServer::start();
        let digest = server.put(FILE.repository, FILE.file, content());
        let folder = tempfile::tempdir().unwrap();
        let mut options = HubOptions::from_env();
        options.cache = folder.path().join("hub");
        options.endpoint = Some(server.url());
        options.token = None;
        options.offline = false;
        options.patience = Duration::from_secs(1);
        Self { server, folder, options, digest }
    }

    /// The failure of a download; nothing of it may be left where a later run, or Python, would
    /// find it.
    fn problem(&self) -> (Problem, String) {
        let error = fetch(&FILE, &self.options).unwrap_err();
        let text = error.to_string();
        assert_eq!(cached(&FILE, &self.options), None);
        let repository = self.options.cache.join("models--timm--tiny.test");
        assert!(!repository.exists(), "{} was left behind", repository.display());
        assert!(text.contains("model.safetensors of 'timm/tiny.test'"), "{text}");
        match error {
            Error::Hub { problem, .. } => (problem, text),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn fetched_once_then_found_without_the_server() {
    let Scene { server, folder, options, digest } = Scene::new();
    assert_eq!(cached(&FILE, &options), None);
    let path = fetch(&FILE, &options).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());

    // The layout of Python's huggingface_hub.
    let repository = folder.path().join("hub/models--timm--tiny.test");
    assert_eq!(path, repository.join("snapshots").join(COMMIT).join(FILE.file));
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../blobs").join(&digest));
    assert_eq!(fs::read_dir(repository.join("blobs")).unwrap().count(), 1);

    let asked = server.requests().len();
    assert_eq!(fetch(&FILE, &options).unwrap(), path);
    assert_eq!(server.requests().len(), asked, "a cached file needs no request");
    drop(server);
    assert_eq!(fetch(&FILE, &options).unwrap(), path);
    let pinned = HubFile { revision: COMMIT, ..FILE };
    assert_eq!(fetch(&pinned, &options).unwrap(), path);
    let mut offline = options;
    offline.offline = true;
    assert_eq!(fetch(&FILE, &offline).unwrap(), path);
}

#[test]
fn offline_asks_nobody() {
    let mut scene = Scene::new();
    scene.options.offline = true;
    let (problem, text) = scene.problem();
    assert_eq!(problem, Problem::Offline);
    assert!(text.contains("HF_HUB_OFFLINE"), "{text}");
    assert!(scene.server.requests().is_empty());
}

#[test]
fn a_token_is_asked_for_and_sent() {
    let mut scene = Scene::new();
    scene.server.require_token("secret");
    // A wrong one rather than none: without one, the developer's own token would be used.
    scene.options.token = Some("other".into());
    let (problem, text) = scene.problem();
    assert_eq!(problem, Problem::Forbidden);
    assert!(!text.contains("other"), "a token must not be shown: {text}");
    scene.options.token = Some("secret".into());
    fetch(&FILE, &scene.options).unwrap();
    for request in scene.server.requests() {
        let expected = request.path.contains("/resolve/");
        assert_eq!(
            request.authorization.is_some(),
            expected,
            "tokens are for the Hub alone: {request:?}"
        );
    }
}

#[test]
fn refusals_say_what_to_do() {
    for (status, expected, hint) in [
        (401, Problem::Unauthorized, "HF_TOKEN"),
        (403, Problem::Forbidden, "request access"),
        (404, Problem::NotFound, "404"),
        // A persistent server error.
        (500, Problem::Status(500), "try again"),
    ] {
        // The Hub itself, or the server of the content that it sends to.
        for route in [Route::Resolve, Route::Content] {
            let scene = Scene::new();
            scene.server.fail(route, Fault::Status(status), usize::MAX);
            let (problem, text) = scene.problem();
            assert_eq!(problem, expected, "{route:?}");
            assert!(text.contains(hint) && text.contains(&status.to_string()), "{text}");
        }
    }
    for route in [Route::Resolve, Route::Content] {
        let scene = Scene::new();
        scene.server.fail(route, Fault::RetryAfter(3600), usize::MAX);
        let (problem, text) = scene.problem();
        assert_eq!(problem, Problem::Busy(3600));
        assert!(text.contains("3600 seconds"), "{text}");
    }
}

#[test]
fn no_server_is_no_long_wait() {
    let mut scene = Scene::new();
    // A port on which no server listens.
    scene.options.endpoint = Some("http://127.0.0.1:9".into());
    let start = Instant::now();
    let (problem, text) = scene.problem();
    assert!(matches!(problem, Problem::Unreachable(_)), "{text}");
    assert!(text.contains("cannot be reached") && text.contains("HF_ENDPOINT"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    scene.options.endpoint = Some("the.mirror".into());
    let (problem, text) = scene.problem();
    assert_eq!(problem, Problem::Endpoint("the.mirror".into()));
    assert!(text.contains("HF_ENDPOINT is 'the.mirror'") && text.contains("https://"), "{text}");
}

#[test]
fn passing_troubles_pass() {
    for (route, fault) in [
        (Route::Resolve, Fault::Status(500)),
        (Route::Content, Fault::Status(500)),
        (Route::Resolve, Fault::RetryAfter(1)),
        (Route::Content, Fault::Cut(1_000_000)),
    ] {
        let scene = Scene::new();
        scene.server.fail(route, fault.clone(), 1);
        let path = fetch(&FILE, &scene.options).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(fs::read(path).unwrap(), content());
    }
}

#[test]
fn a_connection_that_breaks_every_time_leaves_nothing() {
    // Even if each attempt continues from the last one, these are not enough.
    for bytes in [0, 1, 4_000, 4_096, 4_097, 700_000] {
        let scene = Scene::new();
        scene.server.fail(Route::Content, Fault::Cut(bytes), usize::MAX);
        let (problem, text) = scene.problem();
        assert_eq!(problem, Problem::Interrupted, "cut after {bytes} bytes");
        assert!(text.contains("try again (the download will resume"), "{text}");
    }
}

#[test]
fn damaged_content_never_reaches_the_cache() {
    let scene = Scene::new();
    // Downloaded again once, then refused.
    scene.server.fail(Route::Content, Fault::Corrupt, 2);
    let (problem, text) = scene.problem();
    assert!(
        matches!(&problem, Problem::Digest { promised, .. } if *promised == scene.digest),
        "{text}"
    );
    // The next attempt starts from scratch.
    fetch(&FILE, &scene.options).unwrap();

    // A digest that is known beforehand counts even where the Hub itself errs.
    let scene = Scene::new();
    let zeros = "0".repeat(64);
    let error = fetch(&HubFile { sha256: Some(&zeros), ..FILE }, &scene.options).unwrap_err();
    assert!(matches!(error, Error::Hub { problem: Problem::Digest { .. }, .. }), "{error}");
    assert_eq!(cached(&FILE, &scene.options), None);
}

#[test]
fn a_stalled_connection_is_given_up() {
    for (route, fault) in [
        (Route::Resolve, Fault::Silence),
        (Route::Content, Fault::Silence),
        (Route::Content, Fault::Stall(500_000)),
    ] {
        let scene = Scene::new();
        scene.server.fail(route, fault, usize::MAX);
        let start = Instant::now();
        let (problem, text) = scene.problem();
        assert_eq!(problem, Problem::Stalled(1));
        assert!(
            text.contains("try again (the download will resume") && text.contains("mirror"),
            "{text}"
        );
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}

#[test]
fn several_at_once_make_one_transfer() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        let fetches: Vec<_> =
            (0..4).map(|_| scope.spawn(|| fetch(&FILE, &scene.options).unwrap())).collect();
        for fetched in fetches {
            assert_eq!(fs::read(fetched.join().unwrap()).unwrap(), content());
        }
    });
    let transfers = scene
        .server
        .requests()
        .iter()
        .filter(|r| r.path.starts_with("/cdn/") && r.method == "GET")
        .count();
    assert_eq!(transfers, 1);
}

/// The ranges that were asked for of the content.
fn ranges(scene: &Scene) -> Vec<Option<String>> {
    let requests = scene.server.requests();
    let content = requests.iter().filter(|r| r.path.starts_with("/cdn/") && r.method == "GET");
    content.map(|r| r.range.clone()).collect()
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    // Within one call, and from one call to the next.
    let scene = Scene::new();
    scene.server.fail(Route::Content, Fault::Cut(1_000_000), 1);
    fetch(&FILE, &scene.options).unwrap();
    let asked = ranges(&scene);
    assert_eq!(asked.len(), 2, "{asked:?}");
    let start: u64 =
        asked[1].as_ref().unwrap()["bytes=".len()..].split_once('-').unwrap().0.parse().unwrap();
    assert!((900_000..=1_000_000).contains(&start), "{asked:?}");

    for bytes in [4_000, 5_000, 700_000] {
        let scene = Scene::new();
        scene.server.fail(Route::Content, Fault::Cut(bytes), 5);
        let (problem, _) = scene.problem();
        assert_eq!(problem, Problem::Interrupted);
        let path = fetch(&FILE, &scene.options).unwrap();
        assert_eq!(fs::read(path).unwrap(), content(), "cut after {bytes}");
        assert!(ranges(&scene).last().unwrap().is_some(), "{:?}", ranges(&scene));
    }
    let scene = Scene::new();
    scene.server.fail(Route::Content, Fault::Cut(2_999_999), 1);
    assert_eq!(fs::read(fetch(&FILE, &scene.options).unwrap()).unwrap(), content());
    assert_eq!(ranges(&scene).len(), 2);

    // Wherever the connection breaks, and breaks again after resuming.
    let short: Vec<u8> = content()[..9_000].to_vec();
    for first in (0..9_000).step_by(601).chain([4_095, 4_096, 4_097, 8_999]) {
        let scene = Scene::new();
        scene.server.put(FILE.repository, FILE.file, short.clone());
        for bytes in [first, first % 977] {
            scene.server.fail(Route::Content, Fault::Cut(bytes), 1);
        }
        let path = fetch(&FILE, &scene.options).unwrap_or_else(|e| panic!("cut at {first}: {e}"));
        assert_eq!(fs::read(path).unwrap(), short, "cut at {first}");
    }
}

#[test]
fn a_server_that_ignores_ranges_and_a_file_that_has_changed_start_afresh() {
    let scene = Scene::new();
    scene.server.fail(Route::Content, Fault::Cut(1_000_000), 1);
    scene.server.fail(Route::Content, Fault::IgnoreRange, 1);
    let path = fetch(&FILE, &scene.options).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    assert_eq!(ranges(&scene).len(), 2);

    let other: Vec<u8> = content().iter().map(|b| b ^ 0x55).collect();
    let longer: Vec<u8> = content().into_iter().chain([1, 2, 3]).collect();
    for changed in [other, longer, vec![7; 100]] {
        let scene = Scene::new();
        scene.server.fail(Route::Content, Fault::Cut(700_000), 5);
        scene.problem();
        scene.server.put(FILE.repository, FILE.file, changed.clone());
        // A partial download of another version is not continued.
        let path = fetch(&FILE, &scene.options).unwrap();
        assert_eq!(fs::read(path).unwrap(), changed);
    }
}

#[test]
fn a_file_that_the_hub_offers_by_xet_comes_over_http() {
    let scene = Scene::new();
    scene.server.offer_xet();
    let path = fetch(&FILE, &scene.options).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    assert_eq!(ranges(&scene), [None]);
}

#[test]
fn a_renamed_repository_is_found_and_its_token_goes_with_it() {
    let mut scene = Scene::new();
    scene.server.rename("timm/old.test", FILE.repository);
    scene.server.require_token("secret");
    scene.options.token = Some("secret".into());
    let old = HubFile { repository: "timm/old.test", ..FILE };
    let path = fetch(&old, &scene.options).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
}

#[test]
fn hf_hub_finds_what_was_fetched() {
    let scene = Scene::new();
    let path = fetch(&FILE, &scene.options).unwrap();
    let cache = hf_hub::Cache::new(scene.options.cache.clone());
    assert_eq!(cache.model(FILE.repository.into()).get(FILE.file), Some(path));
}

#[test]
fn data_sets_have_addresses_and_folders_of_their_own() {
    for xet in [false, true] {
        let Scene { server, folder, options, .. } = Scene::new();
        if xet {
            server.offer_xet();
        }
        server.put("datasets/owner/hands", "train.parquet", content());
        let file = HubFile {
            kind: RepositoryKind::Dataset,
            repository: "owner/hands",
            file: "train.parquet",
            ..FILE
        };
        let path = fetch(&file, &options).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content());
        assert!(path.starts_with(folder.path().join("hub/datasets--owner--hands/snapshots")));
        for missing in [
            HubFile { kind: RepositoryKind::Model, ..file },
            HubFile { file: "test.parquet", ..file },
        ] {
            let error = fetch(&missing, &options).unwrap_err();
            assert_eq!(error.problem(), Some(&Problem::NotFound), "{error}");
        }
    }
}

#[test]
fn a_file_whose_digest_is_known_is_found_in_any_snapshot() {
    let scene = Scene::new();
    let path = fetch(&FILE, &scene.options).unwrap();
    let asked = scene.server.requests().len();
    let other = "f".repeat(40);
    let pinned = HubFile { revision: &other, sha256: Some(&scene.digest), ..FILE };
    assert_eq!(fetch(&pinned, &scene.options).unwrap(), path);
    assert_eq!(scene.server.requests().len(), asked);
    // A pinned commit of which no digest is known: what Python fetched as `main` counts.
    let unknown = HubFile { sha256: None, ..pinned };
    assert_eq!(fetch(&unknown, &scene.options).unwrap(), path);
    // Another digest: the same name says nothing.
    let zeros = "0".repeat(64);
    assert_eq!(cached(&HubFile { sha256: Some(&zeros), ..pinned }, &scene.options), None);
    assert_eq!(cached(&HubFile { sha256: Some(&zeros), ..FILE }, &scene.options), None);
}

/// Not a test itself: the code of other processes in the tests below.
#[test]
fn in_another_process() {
    let Ok(cache) = std::env::var("TAPER_TEST_CACHE") else { return };
    let mut options = HubOptions::from_env();
    options.cache = cache.into();
    options.offline = false;
    let path = fetch(&FILE, &options).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
}

fn another_process(scene: &Scene) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_another_process"])
        .env("TAPER_TEST_CACHE", &scene.options.cache)
        .env("HF_ENDPOINT", scene.server.url())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn two_processes_make_one_transfer() {
    let scene = Scene::new();
    let mut processes = [another_process(&scene), another_process(&scene)];
    for process in &mut processes {
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(ranges(&scene).len(), 1);
    assert_eq!(fs::read(cached(&FILE, &scene.options).unwrap()).unwrap(), content());
}

#[test]
fn a_process_killed_in_the_middle_is_resumed_and_verified() {
    let scene = Scene::new();
    scene.server.fail(Route::Content, Fault::Stall(2_000_000), 1);
    let mut process = another_process(&scene);
    let deadline = Instant::now() + Duration::from_secs(20);
    let staging = scene.options.cache.join(".locks");
    while largest(&staging) < 1_900_000 {
        assert!(Instant::now() < deadline, "nothing arrives: {:?}", scene.server.requests());
        std::thread::sleep(Duration::from_millis(20));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(cached(&FILE, &scene.options), None);

    assert!(another_process(&scene).wait().unwrap().success());
    let asked = ranges(&scene);
    assert_eq!(asked.len(), 2, "{asked:?}");
    let from = asked[1].as_deref().and_then(|range| range.strip_prefix("bytes="));
    let from: u64 = from.unwrap().trim_end_matches('-').parse().unwrap();
    assert!((1_900_000..=2_000_000).contains(&from), "{asked:?}");
    let path = cached(&FILE, &scene.options).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    assert_eq!(largest(&staging), 0, "nothing is left behind");
}

/// The length of the largest file in a folder, at any depth.
fn largest(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => largest(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).max().unwrap_or(0)
}
