//! Weights from a Hub on this machine.

#![allow(clippy::unwrap_used, reason = "also in the helpers of tests")]

use std::fs;

use taper_fetch::{HubOptions, cached, fetch};
use taper_testing::hub::HubServer;
use taper_zoo::{Error, WeightsChoice, find, resolve_with};
use tempfile::TempDir;

struct Scene {
    server: HubServer,
    _folder: TempDir,
    options: HubOptions,
}

impl Scene {
    fn new() -> Self {
        let server = HubServer::start();
        let folder = tempfile::tempdir().unwrap();
        let mut options = HubOptions::from_env();
        options.cache = folder.path().join("hub");
        options.endpoint = Some(server.url());
        options.offline = false;
        Self { server, _folder: folder, options }
    }
}

#[test]
fn weights_that_cannot_be_fetched_say_what_else_helps() {
    let scene = Scene::new();
    let model = find("resnet18").unwrap();
    let error = resolve_with(model, &WeightsChoice::Pretrained, &scene.options).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Fetch { .. }), "{text}");
    for part in [model.hub.repository, "404", "give the weights as a file", "efficientnet-lite0"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_cached_file_that_has_rotted_is_named_and_fetched_again() {
    let mut scene = Scene::new();
    // A network whose digest is not pinned.
    let model = find("resnet101").unwrap();
    // Not real weights, but a valid file: missing tensors are noticed after the digest.
    let sound = b"\x02\0\0\0\0\0\0\0{}".to_vec();
    scene.server.put(model.hub.repository, model.hub.file, sound.clone());
    let path = fetch(&model.hub, &scene.options).unwrap();
    fs::write(&path, b"\x03\0\0\0\0\0\0\0{ }").unwrap();

    scene.options.offline = true;
    let resolve = |options: &HubOptions| {
        resolve_with(model, &WeightsChoice::Pretrained, options).unwrap_err()
    };
    let Error::CachedDigest { .. } = resolve(&scene.options) else { panic!("not noticed") };
    // Nor may it be truncated so that it is no longer a safetensors file.
    fs::write(&path, b"\x03\0").unwrap();
    let error = resolve(&scene.options);
    assert!(
        error.to_string().contains("delete the file, and it will be downloaded again"),
        "{error}"
    );
    let Error::CachedDigest { path: rotten, .. } = error else { panic!("not noticed") };
    fs::remove_file(rotten).unwrap();
    assert_eq!(cached(&model.hub, &scene.options), None);
    scene.options.offline = false;
    assert_eq!(fs::read(fetch(&model.hub, &scene.options).unwrap()).unwrap(), sound);
    assert!(matches!(
        resolve(&scene.options),
        Error::Weights(taper_weights::Error::Mismatch { .. })
    ));
}
