//! Weights and tokenizer from a Hub on this machine: fetched once, and no network afterwards.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::{fs, io::Write};

use common::gunzipped;
use serde_json::{Map, Value, json};
use taper_fetch::HubOptions;
use taper_testing::hub::HubServer;
use taper_text::Tokenizer;
use taper_zoo::{WeightsChoice, find, resolve_text, resolve_with, tokenizer};

/// A file with the tensors of the published one, all of zeros.
fn zeros() -> Vec<u8> {
    let text = include_str!("../../testing/reference/siglip/mobileclip-s2.open_clip.tsv");
    let (mut header, mut at) = (Map::new(), 0);
    for line in text.lines() {
        let (name, shape) = line.split_once('\t').unwrap();
        let sides = shape.split('×').filter(|side| !side.is_empty());
        let shape: Vec<usize> = sides.map(|side| side.parse().unwrap()).collect();
        let end = at + 2 * shape.iter().product::<usize>();
        let place = json!({"dtype": "F16", "shape": shape, "data_offsets": [at, end]});
        header.insert(name.to_owned(), place);
        at = end;
    }
    let header = Value::Object(header).to_string();
    let mut bytes = Vec::with_capacity(8 + header.len() + at);
    bytes.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    bytes.write_all(header.as_bytes()).unwrap();
    bytes.resize(8 + header.len() + at, 0);
    bytes
}

#[test]
fn weights_and_tokenizer_are_fetched_once() {
    let model = find("mobileclip-s2").unwrap();
    let (tower, chosen) = (model.text().unwrap(), WeightsChoice::Pretrained);
    let server = HubServer::start();
    let folder = tempfile::tempdir().unwrap();
    let mut options = HubOptions::from_env();
    options.cache = folder.path().join("hub");
    options.endpoint = Some(server.url());
    options.offline = false;

    // Nothing is there yet.
    let error = resolve_text(model, &chosen, &options).unwrap_err().to_string();
    assert!(error.contains(model.hub.repository) && error.contains("404"), "{error}");
    let error = tokenizer(model, &chosen, &options).unwrap_err().to_string();
    assert!(error.contains("the tokenizer of mobileclip-s2"), "{error}");
    // Another tokenizer than the pinned one.
    let own = tower.tokenizer;
    server.put(own.repository, "tokenizer.json", b"{}".to_vec());
    let error = tokenizer(model, &chosen, &options).unwrap_err();
    let text = format!("{error}: {:?}", std::error::Error::source(&error));
    assert!(text.contains(&own.sha256[..16]), "{text}");

    server.put(model.hub.repository, model.hub.file, zeros());
    let bytes = gunzipped(include_bytes!("../../testing/reference/clip/tokenizer.json.gz"));
    server.put(own.repository, "tokenizer.json", bytes);
    let before = server.requests().len();
    let read = |options: &HubOptions| {
        let pictures = resolve_with(model, &chosen, options).unwrap();
        assert!(pictures.check(&model.graph()).is_ok());
        let texts = resolve_text(model, &chosen, options).unwrap();
        assert!((texts.scale - 1.0).abs() < 1e-6, "e⁰");
        assert_eq!(texts.source.shape("projection.weight"), Some(&[512, 512][..]));
        let tokenizer = Tokenizer::open(tokenizer(model, &chosen, options).unwrap(), tower);
        assert_eq!(tokenizer.unwrap().tokens(own.probe.0).unwrap(), own.probe.1);
    };
    read(&options);
    let fetched = server.requests().len();
    let whole = |path: &str| {
        let requests = server.requests();
        let all = requests.iter().skip(before).filter(|own| own.path.starts_with("/cdn/"));
        all.filter(|own| own.method == "GET" && own.path.ends_with(path)).count()
    };
    assert_eq!((whole("open_clip_model.safetensors"), whole("tokenizer.json")), (1, 1));
    // Again, and without a network.
    read(&options);
    assert_eq!(server.requests().len(), fetched, "what is here is not asked for again");
    options.offline = true;
    drop(server);
    read(&options);
    let path = options.cache.join("models--apple--MobileCLIP-S2-OpenCLIP");
    assert!(fs::metadata(path).unwrap().is_dir());
}
