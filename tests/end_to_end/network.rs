//! Data sets from the network: a local server in place of the real ones.

use std::{fs, path::Path, process::Command};

use taper_testing::hub::{COMMIT, Fault, HubServer, Route};

use crate::support::{Ran, run, taper};

fn parquet(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sources/tests/reference/parquet");
    fs::read(folder.join(name)).unwrap()
}

fn online(folder: &Path, server: &HubServer) -> Command {
    let mut command = taper(folder);
    command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", server.url());
    command.env("TAPER_DATASETS_URL", format!("{}/cdn/some/set", server.url()));
    command
}

#[test]
fn a_data_set_of_the_hub_is_fetched_verified_and_found_again_offline() {
    let server = HubServer::start();
    for name in ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"] {
        let name = format!("{name}.parquet");
        server.put("datasets/some/hands", &format!("data/{name}"), parquet(&name));
    }
    server.put("datasets/some/hands", "README.md", "# Hands");
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let arguments = ["inspect", "--data", "hf:some/hands", "--no-embeddings", "--json"];
    let inspect = |mut command: Command| Ran::of(command.args(arguments).output().unwrap());

    server.fail(Route::Content, Fault::Corrupt, 9);
    let refused = inspect(online(here, &server));
    refused.complains(1, &["SHA-256", "damaged"]);
    let server2 = HubServer::start();
    for name in ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"] {
        let name = format!("{name}.parquet");
        server2.put("datasets/some/hands", &format!("data/{name}"), parquet(&name));
    }
    let answer = inspect(online(here, &server2)).expect(0).json();
    assert_eq!(answer["pictures"], 105);
    assert_eq!(answer["classes"]["train"]["rock"], 31);
    let asked: Vec<String> = server2.requests().into_iter().map(|r| r.path).collect();
    assert!(
        asked.iter().any(|path| path.contains(&format!("/datasets/some/hands/resolve/{COMMIT}")))
    );
    drop((server, server2));
    let again = inspect(taper(here)).expect(0).json();
    assert_eq!(again["pictures"], 105);
    run(here, &["inspect", "--data", "hf:some/other", "--no-embeddings"])
        .complains(2, &["HF_HUB_OFFLINE"]);
    run(here, &["inspect", "--data", "hf:nonsense"]).complains(2, &["hf:owner/name"]);
}

#[test]
fn a_known_set_is_never_used_unverified() {
    let server = HubServer::start();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let inspect = || {
        let arguments = ["inspect", "--data", "rock-paper-scissors", "--no-embeddings"];
        Ran::of(online(here, &server).args(arguments).output().unwrap())
    };
    inspect().complains(1, &["rps.zip", "404", "TAPER_DATASETS_URL"]);
    server.put("some/set", "rps.zip", "no archive at all");
    inspect().complains(1, &["rps.zip"]);
    let kept: Vec<String> = fs::read_dir(here.join("features/datasets/rock-paper-scissors"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!kept.iter().any(|name| name == "rps.zip"), "{kept:?}");
    let listed = run(here, &["datasets", "--json"]).expect(0).json();
    assert_eq!(listed[1]["name"], "rock-paper-scissors");
    assert_eq!(listed[1]["size"], 230_198_979);
}
