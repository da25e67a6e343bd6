//! Classes by their names alone. The network is CLIP's ViT-B/32 on seeded weights, which
//! `crates/testing/reference/clip.py` gives to open_clip, too.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use serde_json::json;
use taper_graph::{WeightSource, Weights};
use taper_testing::hub::HubServer;
use tempfile::TempDir;

use crate::support::{Ran, pictures, run, taper};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/reference/clip");
const PHOTOGRAPHS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/end_to_end/photographs");

/// A folder with pictures, and `clip/` with the network's file, 16 bits for each number.
fn with_network() -> TempDir {
    let folder = pictures();
    let text = fs::read_to_string(format!("{REFERENCE}/clip-vit-b32.open_clip.tsv")).unwrap();
    let line = |line: &str| {
        let (name, shape) = line.split_once('\t').unwrap();
        let sides = shape.split('×').filter(|side| !side.is_empty());
        (name.to_owned(), sides.map(|side| side.parse().unwrap()).collect())
    };
    let shapes: Vec<(String, Vec<usize>)> = text.lines().map(line).collect();
    let mut weights = Weights::seeded_by_name(shapes);
    weights.insert("logit_scale", Vec::new(), vec![4.6052]);
    let halves: Vec<(&str, Vec<usize>, Vec<u8>)> = weights
        .names()
        .into_iter()
        .map(|name| {
            let values = weights.values(name).unwrap();
            let bytes = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes());
            (name, weights.shape(name).unwrap().to_vec(), bytes.collect())
        })
        .collect();
    let views = halves.iter().map(|(name, shape, bytes)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F16, shape.clone(), bytes);
        (*name, view.unwrap())
    });
    fs::create_dir(folder.path().join("clip")).unwrap();
    safetensors::serialize_to_file(views, None, &folder.path().join("clip/model.safetensors"))
        .unwrap();
    folder
}

fn tokenizer() -> Vec<u8> {
    let packed = fs::read(format!("{REFERENCE}/tokenizer.json.gz")).unwrap();
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut content).unwrap();
    content
}

/// The probabilities of each picture, by the file's name.
fn probabilities(ran: &Ran) -> BTreeMap<String, BTreeMap<String, f64>> {
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = Path::new(value["path"].as_str().unwrap()).file_name().unwrap();
        let all = serde_json::from_value(value["probabilities"].clone()).unwrap();
        (name.to_string_lossy().into_owned(), all)
    };
    ran.stdout.lines().map(line).collect()
}

const CLIP: [&str; 4] = ["--model", "clip-vit-b32", "--weights", "clip/model.safetensors"];

#[test]
fn names_alone_tell_pictures_apart_as_in_open_clip() {
    let folder = with_network();
    let here = folder.path();
    let predict = |labels: &str, more: &[&str], picture: &str| {
        let mut command = taper(here);
        command.arg("predict").args(CLIP).args(["--labels", labels]).args(more).arg(picture);
        command
    };
    let ran = |mut command: std::process::Command| Ran::of(command.output().unwrap());

    // The tokenizer: neither here nor to be fetched; then from the Hub, once.
    ran(predict("cat,dog", &[], PHOTOGRAPHS))
        .complains(1, &["the tokenizer of clip-vit-b32", "tokenizer.json beside the weights"]);
    let server = HubServer::start();
    server.put("openai/clip-vit-base-patch32", "tokenizer.json", tokenizer());
    let names = "cat, cup_of_coffee,rocket";
    let mut online = predict(names, &["--json"], PHOTOGRAPHS);
    online.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", server.url());
    let first = ran(online).expect(0);
    let asked = server.requests().len();
    assert!(asked > 0);
    let mut again = predict(names, &["--json"], PHOTOGRAPHS);
    again.env("HF_ENDPOINT", server.url());
    assert_eq!(ran(again).expect(0).stdout, first.stdout);
    assert_eq!(server.requests().len(), asked);

    let text = fs::read_to_string(format!("{REFERENCE}/zero_shot.json")).unwrap();
    let expected: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_str(&text).unwrap();
    let found = probabilities(&first);
    assert_eq!(found.len(), expected.len());
    for (picture, expected) in &expected {
        for (name, p) in expected {
            let q = found[picture][name];
            // The decoders of JPEG differ by a step of 255 here and there.
            assert!((p - q).abs() < 1e-3, "{picture}: {name}: {q}, not {p}");
        }
    }

    // Other sentences give other answers; wrong ones are refused.
    let other = ran(predict(names, &["--json", "--prompts", "name"], PHOTOGRAPHS)).expect(0);
    assert_ne!(other.stdout, first.stdout);
    fs::write(here.join("sentences.txt"), "a satellite picture of {}\n").unwrap();
    ran(predict(names, &["--prompts", "sentences.txt"], PHOTOGRAPHS)).expect(0);
    fs::write(here.join("sentences.txt"), "a satellite picture\n").unwrap();
    ran(predict(names, &["--prompts", "sentences.txt"], PHOTOGRAPHS))
        .complains(2, &["a satellite picture", "{}"]);
    ran(predict("cat", &[], PHOTOGRAPHS)).complains(2, &["--labels", "two or more"]);
    ran(predict("cat,cat", &[], PHOTOGRAPHS)).complains(2, &["--labels", "'cat' occurs twice"]);
    ran(predict("cat,Cat", &[], PHOTOGRAPHS)).complains(2, &["'Cat' and 'cat' are the same"]);
    ran(predict("cat,___", &[], PHOTOGRAPHS)).complains(2, &["'___' says nothing"]);
    ran(predict("cat,<|endoftext|>", &[], PHOTOGRAPHS)).complains(2, &["<|endoftext|>"]);
    // A name that is too long is named.
    let long = format!("{},cat", ["very"; 80].join(" "));
    let cut = ran(predict(&long, &["--prompts", "name"], PHOTOGRAPHS)).expect(0);
    let warned = ["warning: 'very very", "77 tokens that clip-vit-b32 reads", "--prompts"];
    assert!(warned.iter().all(|text| cut.stderr.contains(text)), "{cut:#?}");
    run(here, &["predict", "--model", "resnet18", "--labels", "cat,dog", PHOTOGRAPHS])
        .complains(2, &["resnet18 knows no texts", "clip-vit-b32"]);
    run(here, &["predict", "--model", "clip-vit-b32", PHOTOGRAPHS]).complains(2, &["--labels"]);
}

#[test]
fn a_head_starts_from_the_names() {
    let folder = with_network();
    let here = folder.path();
    // What is wrong with names is found before the features are computed.
    fs::create_dir_all(here.join("marked")).unwrap();
    fs::rename(here.join("data/train/red"), here.join("marked/red")).unwrap();
    fs::rename(here.join("data/train/blue"), here.join("marked/blue <|endoftext|>")).unwrap();
    let early = |problem: (i32, &[&str])| {
        let clip = [&["train", "--data", "marked", "--head", "zero-shot"][..], &CLIP].concat();
        let ran = run(here, &[&clip[..], &["--out", "run"]].concat());
        assert!(!ran.stderr.contains("features:"), "{ran:#?}");
        ran.complains(problem.0, problem.1);
        assert!(!here.join("run").exists());
    };
    early((1, &["the tokenizer of clip-vit-b32"]));
    fs::write(here.join("clip/tokenizer.json"), tokenizer()).unwrap();
    early((2, &["blue <|endoftext|>", "leave it out"]));
    fs::rename(here.join("marked/red"), here.join("data/train/red")).unwrap();
    fs::rename(here.join("marked/blue <|endoftext|>"), here.join("data/train/blue")).unwrap();

    let weights = ["--weights", "clip/model.safetensors", "--data", "data", "--json"];
    let zero = run(here, &[&["evaluate", "--zero-shot", "clip-vit-b32"][..], &weights].concat());
    let zero = zero.expect(0).json();
    let train = |more: &[&str]| {
        let command = [&["train", "--model", "clip-vit-b32", "--head", "zero-shot"][..], &weights];
        run(here, &[&command.concat()[..], more].concat())
    };

    // Without epochs, the model is what the names say.
    train(&["--epochs", "0", "--out", "names"]).expect(0);
    let saved = run(here, &["evaluate", "names", "--data", "data", "--json"]).expect(0).json();
    assert_eq!(saved["accuracy"], zero["accuracy"]);
    assert_eq!(saved["loss"], zero["loss"], "raw probabilities");

    // With epochs, a point on the way to the trained head is kept.
    let answer = train(&["--epochs", "3", "--out", "run"]).expect(0).json();
    let names = &answer["names"];
    let tried = names["tried"].as_array().unwrap();
    assert_eq!((tried.len(), &tried[0]["alpha"]), (11, &json!(0.0)));
    let of_names = run(here, &["evaluate", "names", "--data", "data", "--split", "val", "--json"]);
    assert_eq!(tried[0]["val_accuracy"], of_names.expect(0).json()["accuracy"]);
    let kept = tried.iter().find(|point| point["alpha"] == names["alpha"]).unwrap();
    assert_eq!(kept["val_accuracy"], answer["val_accuracy"]);
    let best = tried.iter().map(|point| point["val_accuracy"].as_f64().unwrap());
    assert_eq!(kept["val_accuracy"], json!(best.fold(0.0, f64::max)));
    // The recipe repeats it.
    run(here, &["train", "run/recipe.toml", "--out", "again", "--quiet"]).expect(0);
    let file = |name: &str| fs::read(here.join(name).join("model.safetensors")).unwrap();
    assert!(file("run") == file("again"));

    train(&["--cut", "blocks.3", "--out", "x"]).complains(2, &["--cut"]);
    let refused = ["train", "--data", "data", "--head", "zero-shot", "--out", "x"];
    run(here, &refused).complains(2, &["efficientnet-lite0 knows no texts"]);
    let refused = ["train", "--data", "data", "--prompts", "name", "--out", "x"];
    run(here, &refused).complains(2, &["--prompts", "zero-shot"]);
    run(here, &["export", "run", "--format", "safetensors"]).complains(2, &["projection"]);
}

#[test]
fn an_inspection_asks_the_names() {
    let folder = with_network();
    let here = folder.path();
    let inspect = ["inspect", "--data", "data", "--text", "clip-vit-b32"];
    let weights = ["--text-weights", "clip/model.safetensors"];
    // What is wrong with names, or with the network, is found before the features are computed.
    let early = |arguments: &[&str], code: i32, words: &[&str]| {
        let ran = run(here, arguments);
        assert!(!ran.stderr.contains("features:"), "{ran:#?}");
        ran.complains(code, words);
    };
    early(&[&inspect[..], &weights].concat(), 1, &["the tokenizer of clip-vit-b32"]);
    fs::write(here.join("clip/tokenizer.json"), tokenizer()).unwrap();
    let other = ["inspect", "--data", "data", "--text", "resnet18"];
    early(&other, 2, &["resnet18 knows no texts", "clip-vit-b32"]);

    let out = ["--out", "health", "--report", "health.html", "--json"];
    let answer = run(here, &[&inspect[..], &weights, &out].concat()).expect(0).json();
    let names = &answer["names"];
    assert_eq!((&names["model"], &names["chance"]), (&json!("clip-vit-b32"), &json!(0.5)));
    assert!((0.0..=1.0).contains(&names["accuracy"].as_f64().unwrap()), "{names}");
    assert!(answer["badly_named"].is_array());
    // What seeded weights say of colours is chance; where it is nothing, a note says so.
    let notes = answer["notes"].as_array().unwrap();
    let said = notes.iter().any(|note| note.as_str().unwrap().contains("to clip-vit-b32"));
    let all = names["meaningful"] == json!(true) && names["undescribed"] == json!([]);
    assert_eq!(said, !all, "{notes:?} {names}");
    let file = fs::read(here.join("health/health.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(file["names"], *names);
    // Other sentences make other figures, or the same by chance; the features are in the cache.
    let prompts = ["--prompts", "name", "--out", "again"];
    let again = run(here, &[&inspect[..], &weights, &prompts].concat()).expect(0);
    assert!(again.stdout.contains("by the names of the classes alone, clip-vit-b32"), "{again:#?}");
    // Without a network for texts, nothing is said about names.
    let plain = run(here, &["inspect", "--data", "data", "--json"]).expect(0).json();
    assert!(plain["names"].is_null() && plain["badly_named"].as_array().unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn a_signal_is_heeded_while_the_network_is_asked_about_names() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    let folder = with_network();
    let here = folder.path();
    fs::write(here.join("clip/tokenizer.json"), tokenizer()).unwrap();
    // Minutes of work.
    let names: Vec<String> = (0..2000).map(|n| format!("thing number {n}")).collect();
    let mut command = taper(here);
    command.arg("predict").args(CLIP).args(["--labels", &names.join(","), PHOTOGRAPHS]);
    command.args(["--prompts", "imagenet"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    // Every few seconds it is said how far it is.
    let said = lines.find(|line| line.starts_with("texts: ")).unwrap();
    assert!(said.contains("/2000 names, "), "{said}");
    let id = child.id().to_string();
    let begun = Instant::now();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(lines.any(|line| line.starts_with("error: interrupted")));
}
