//! Networks, their weights and their features.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use taper_graph::{WeightSource, Weights};
use taper_testing::{assert_close, hub::HubServer};

use crate::support::{QUICK, Ran, pictures, quick_with, run, taper};

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn a_cut_and_dropout_are_in_the_recipe_the_artefact_and_the_cache() {
    let folder = pictures();
    let here = folder.path();
    let mut arguments = QUICK.to_vec();
    arguments.extend(["--cut", "blocks.4", "--dropout", "0.2", "--json"]);
    let trained = run(here, &arguments).expect(0).json();
    // Features of 112 channels, 2 classes.
    assert_eq!(trained["parameters"]["trainable"], 112 * 2 + 2);
    let recipe = fs::read_to_string(here.join("run/recipe.toml")).unwrap();
    assert!(recipe.contains("cut = \"blocks.4\"") && recipe.contains("dropout = 0.2"), "{recipe}");
    let evaluated =
        run(here, &["evaluate", "run/model.safetensors", "--data", "data", "--json"]).expect(0);
    let loss = |value: &Value| value["loss"].as_f64().unwrap();
    assert!((loss(&evaluated.json()) - loss(&trained["test"])).abs() < 1e-5);

    // Features of another layer are other features: none of these come from the cache, then all of
    // them.
    let again = |cut: &[&str], out: &'static str| {
        let arguments = quick_with(&[&["--json", "--out", out], cut].concat());
        run(here, &arguments).expect(0).json()["cached"].as_u64().unwrap()
    };
    assert_eq!(again(&[], "whole"), 0);
    assert_eq!(again(&["--cut", "blocks.3"], "earlier"), 0);
    assert_eq!(again(&["--cut", "blocks.4"], "same"), 42);

    let mut arguments = QUICK.to_vec();
    arguments.extend(["--cut", "block.4"]);
    run(here, &arguments).complains(2, &["no layer 'block.4'", "blocks.4"]);
    arguments.truncate(QUICK.len());
    arguments.extend(["--dropout", "1"]);
    run(here, &arguments).complains(2, &["--dropout is 1"]);
}

#[test]
fn features_are_written_in_index_order() {
    let folder = pictures();
    let here = folder.path();
    fs::write(here.join("data/train/red/zz.jpg"), "no picture").unwrap();
    let embed = |out: &str, more: &[&str]| {
        let mut arguments = vec!["embed", "--data", "data", "--size", "64", "--out", out, "--json"];
        arguments.extend(more);
        run(here, &arguments).expect(3).json()
    };
    let answer = embed("plan.safetensors", &[]);
    assert_eq!((answer["n"].as_u64(), answer["width"].as_u64()), (Some(42), Some(1280)));
    let folder_as_file = run(here, &["embed", "--data", "data", "--size", "64", "--out", "data"]);
    folder_as_file.complains(2, &["--out is data", "this is a folder"]);
    assert_eq!(answer["unreadable"].as_array().unwrap().len(), 1);
    embed("again.safetensors", &["--cache", "off"]);
    let read = |name: &str| fs::read(here.join(name)).unwrap();
    assert_eq!(read("plan.safetensors"), read("again.safetensors"), "the same bytes");

    let plan = read("plan.safetensors");
    let metadata = SafeTensors::read_metadata(&plan).unwrap().1.metadata().clone().unwrap();
    let paths: Vec<String> = serde_json::from_str(&metadata["paths"]).unwrap();
    let classes: Vec<String> = serde_json::from_str(&metadata["classes"]).unwrap();
    assert_eq!(classes, ["blue", "red"]);
    let plan = SafeTensors::deserialize(&plan).unwrap();
    let features = plan.tensor("features").unwrap();
    assert_eq!(features.shape(), [42, 1280]);
    let labels = plan.tensor("labels").unwrap();
    assert_eq!(labels.shape(), [42]);
    let labels = labels.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
    for (label, path) in labels.zip(&paths) {
        assert!(path.contains(&format!("/{}/", classes[label as usize])), "{path}");
        assert!(Path::new(&here.join("data")).join(path).exists(), "{path}");
    }
}

/// Not by this package's own feature: where the whole workspace is built, the benchmarks give
/// `taper-run` candle.
#[test]
fn candle_gives_the_same_features_and_a_build_without_it_says_so() {
    let folder = pictures();
    let here = folder.path();
    let embed = |through: &str| {
        let arguments = ["embed", "--data", "data", "--size", "64", "--through", through];
        run(here, &[&arguments[..], &["--out", through, "--quiet"]].concat())
    };
    if !taper_run::WITH_CANDLE {
        let words = ["--through is candle", "has no candle", "feature candle", "plan"];
        embed("candle").complains(2, &words);
        assert!(!here.join("candle").exists());
        return;
    }
    let [plan, candle] = ["plan", "candle"].map(|through| {
        embed(through).expect(0);
        let bytes = fs::read(here.join(through)).unwrap();
        floats(SafeTensors::deserialize(&bytes).unwrap().tensor("features").unwrap().data())
    });
    assert_close(&plan, &candle, 1e-4);
}

#[test]
fn networks_are_listed_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let answer = run(folder.path(), &["models", "--json"]).expect(0).json();
    let models = answer.as_array().unwrap();
    assert!(models.len() >= 33);
    for model in models {
        for field in ["repository", "revision", "licence", "paper", "source", "interpolation"] {
            assert!(model[field].as_str().is_some_and(|text| !text.is_empty()), "{model}");
        }
        // In their short form, not as 32-bit floats widened to 64 bits.
        let mean = match model["texts"] == true {
            true => [0.481_454_67, 0.5, 0.0],
            false => [0.485, 0.5, 0.485],
        };
        assert!(mean.iter().any(|mean| model["mean"][0] == *mean), "{model}");
        assert!(model["bytes"].as_u64().unwrap() > 5_000_000, "{model}");
        assert!(model["flops"].as_u64().unwrap() > 100_000_000, "{model}");
        let embedded = model["name"] == "efficientnet-lite0";
        assert_eq!(model["place"], if embedded { "embedded" } else { "remote" });
        // Of ResNet-50 the digest is pinned, and with it the commit; of ResNet-101 neither is.
        assert!(!embedded || model["digest"].is_string());
        for (name, pinned) in [("resnet50", true), ("resnet101", false)] {
            if model["name"] == name {
                assert_eq!(model["digest"].is_string(), pinned);
                assert_eq!(model["revision"] != "main", pinned);
            }
        }
    }
    let table = run(folder.path(), &["models"]).expect(0).stdout;
    assert!(
        table.contains("efficientnet-lite0") && table.contains("remote: timm/vgg16_bn.tv_in1k")
    );
    // Those that know texts stand apart; their file has both halves.
    let (pictures, texts) = table.split_once("\n\n").unwrap();
    assert!(!pictures.contains("clip-") && texts.contains("clip-vit-b32 "), "{table}");
    let clip = models.iter().find(|model| model["name"] == "clip-vit-b32").unwrap();
    assert_eq!(clip["bytes"], 4 * (151_277_313 - 1));
}

#[test]
fn summaries_side_by_side_cut_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let table = run(here, &["summary", "--model", "resnet18,mobilenet-v2"]).expect(0).stdout;
    assert!(table.contains("11,689,512") && table.contains("3,504,872"), "{table}");
    let several = ["summary", "--model", "resnet18,mobilenet-v2", "--size", "64", "--json"];
    let several = run(here, &several).expect(0).json();
    assert!(several[1]["warnings"][0].as_str().unwrap().contains("128 × 128"), "{several}");

    let arguments = ["summary", "--model", "resnet50", "--cut", "layer3", "--head", "linear"];
    let mut arguments = arguments.to_vec();
    arguments.extend(["--batch", "8", "--svg", "drawing.svg", "--json"]);
    let summary = run(here, &arguments).expect(0).json();
    assert_eq!(summary["last_feature_map"], serde_json::json!([14, 14, 1024]));
    assert_eq!(summary["activations"]["batch"], 8);
    // A sum in layer1 and its two inputs: 56 · 56 · 256 numbers of four bytes each, eight pictures.
    assert_eq!(summary["activations"]["inference_bytes"], 56 * 56 * 256 * 4 * 3 * 8);
    let layer = &summary["layers"][1];
    assert_eq!(
        (layer["name"].as_str(), layer["receptive_field"].as_u64()),
        (Some("conv1"), Some(7))
    );
    let drawing = fs::read_to_string(here.join("drawing.svg")).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("layer3.1  × 5"), "{drawing}");
    run(here, &["summary", "--model", "resnet18,vgg11", "--svg", "x.svg"])
        .complains(2, &["--svg", "one network at a time"]);
    run(here, &["summary", "--dropout", "0.5"])
        .complains(2, &["--dropout is 0.5", "--head linear"]);
    run(here, &["summary", "--head", "none", "--classes", "9"]).complains(2, &["--classes is 9"]);
    run(here, &["summary", "--cut", "blocks.4", "--head", "imagenet"])
        .complains(2, &["--head is imagenet", "--cut"]);
    run(here, &["summary", "--model", "vgg16", "--size", "200"])
        .complains(2, &["pre_logits.fc1", "at least 224 × 224"]);
}

/// Weights as a repository has them: seeded ones, with timm's names, in safetensors.
fn published(model: &str) -> Vec<u8> {
    let weights = Weights::seeded(&taper_zoo::find(model).unwrap().graph());
    taper_testing::safetensors_file(
        weights
            .names()
            .into_iter()
            .map(|name| (name, weights.shape(name).unwrap(), weights.values(name).unwrap())),
    )
}

/// A network whose digest is not pinned, so that any weights will do.
const FROM_THE_HUB: &str = "efficientnet-lite1";

#[test]
fn weights_come_from_the_hub_once_and_are_recorded() {
    let server = HubServer::start();
    let content = published(FROM_THE_HUB);
    let length = content.len();
    let digest = server.put("timm/tf_efficientnet_lite1.in1k", "model.safetensors", content);
    server.require_token("secret");
    let folder = pictures();
    let here = folder.path();
    let embed = |out: &'static str, variables: &[(&str, &str)]| {
        let mut command = taper(here);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", server.url());
        command.envs(variables.iter().copied()).args(["embed", "--data", "data", "--size", "64"]);
        command.args(["--model", FROM_THE_HUB, "--out", out, "--cache", "off", "--json"]);
        command
    };
    let ran = |mut command: Command| Ran::of(command.output().unwrap());
    ran(embed("x", &[])).complains(1, &["(401)", "set HF_TOKEN", "--weights FILE"]);
    ran(embed("x", &[("HF_TOKEN", "other")])).complains(1, &["(403)", "request access"]);
    ran(embed("x", &[("HF_ENDPOINT", "mirror")])).complains(1, &["HF_ENDPOINT is 'mirror'"]);
    assert!(!here.join("x").exists());

    // Two at once, each with the token in another place.
    fs::create_dir_all(here.join("no-hub-cache")).unwrap();
    fs::write(here.join("no-hub-cache/token"), "secret\n").unwrap();
    let cache = ("HF_HUB_CACHE", "cache");
    let both = [embed("a", &[cache]), embed("b", &[cache, ("HF_TOKEN", "secret")])];
    for process in both.map(|mut command| command.stdout(Stdio::null()).spawn().unwrap()) {
        assert!(process.wait_with_output().unwrap().status.success());
    }
    let transfers = || {
        let requests = server.requests();
        requests.iter().filter(|r| r.path.starts_with("/cdn/") && r.method == "GET").count()
    };
    assert_eq!(transfers(), 1);
    // From now on no server is contacted.
    let asked = server.requests().len();
    ran(embed("c", &[cache])).expect(0);
    ran(embed("d", &[cache, ("HF_HUB_OFFLINE", "1"), ("HF_TOKEN", "other")])).expect(0);
    assert_eq!(server.requests().len(), asked);
    let read = |name: &str| fs::read(here.join(name)).unwrap();
    for other in ["b", "c", "d"] {
        assert!(read("a") == read(other), "{other}");
    }
    ran(embed("x", &[("HF_HUB_OFFLINE", "1")])).complains(1, &["HF_HUB_OFFLINE"]);

    // What was verified is recorded, in features, in artefacts and in the list.
    let metadata =
        |name: &str| SafeTensors::read_metadata(&read(name)).unwrap().1.metadata().clone().unwrap();
    assert!(metadata("a")["taper"].contains(&digest), "{:?}", metadata("a"));
    let mut command = taper(here);
    command.env(cache.0, cache.1).args(QUICK).args(["--model", FROM_THE_HUB]);
    ran(command).expect(0);
    let recorded = metadata("run/model.safetensors");
    assert!(recorded.values().any(|text| text.contains(&digest)), "{recorded:?}");
    let mut command = taper(here);
    command.env(cache.0, cache.1).args(["models", "--json"]);
    let models = ran(command).expect(0).json();
    let models = models.as_array().unwrap();
    let listed = models.iter().find(|model| model["name"] == FROM_THE_HUB).unwrap();
    assert_eq!((&listed["place"], &listed["bytes"]), (&json!("cached"), &json!(length)));
    assert_eq!(listed["digest"], json!(digest));
}

/// What timm 1.0.31 says about the same files with its own weights: the five likeliest classes of
/// ImageNet.
#[test]
fn photographs_are_what_imagenet_calls_them() {
    let here = tempfile::tempdir().unwrap();
    for (file, timm) in [
        (
            "chelsea",
            [
                ("Egyptian cat", 0.4259),
                ("tiger cat", 0.3142),
                ("tabby", 0.1661),
                ("lynx", 0.0282),
                ("window screen", 0.0013),
            ],
        ),
        (
            "coffee",
            [
                ("espresso", 0.7678),
                ("consomme", 0.1141),
                ("cup", 0.0286),
                ("chocolate sauce", 0.0135),
                ("coffee mug", 0.0072),
            ],
        ),
        (
            "rocket",
            [
                ("drilling platform", 0.278),
                ("missile", 0.0666),
                ("mosque", 0.0484),
                ("crane (machine)", 0.0395),
                ("projectile", 0.0286),
            ],
        ),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/end_to_end/photographs")
            .join(file)
            .with_extension("jpg");
        let arguments = ["predict", "--model", "efficientnet-lite0", "--top", "5", "--json"];
        let output = taper(here.path()).args(arguments).arg(&path).output().unwrap();
        let said = Ran::of(output).expect(0).json();
        let probabilities = said["probabilities"].as_object().unwrap();
        assert_eq!(probabilities.len(), 5);
        for (name, expected) in timm {
            let found = probabilities.get(name).and_then(Value::as_f64);
            // Pillow's bicubic resizing and ours differ, and so do 16 and 32 bits.
            let near = found.is_some_and(|found| (found - expected).abs() < 0.03);
            assert!(near, "{file}: {name} {expected}, but {said}");
        }
    }
}

/// timm's own file and the weights that are built in say the same about real pictures.
#[test]
fn weights_from_a_file_give_the_features_of_the_built_in_ones() {
    let Some(weights) = taper_testing::shared("weights/timm/tf_efficientnet_lite0.in1k") else {
        return;
    };
    let file = weights.join("model.safetensors");
    let folder = pictures();
    let here = folder.path();
    let embed = |out: &str, weights: &str| {
        let arguments = ["embed", "--data", "data", "--weights", weights, "--out", out, "--quiet"];
        run(here, &arguments).expect(0);
        let bytes = fs::read(here.join(out)).unwrap();
        floats(SafeTensors::deserialize(&bytes).unwrap().tensor("features").unwrap().data())
    };
    let (a, b) = (embed("a", "pretrained"), embed("b", file.to_str().unwrap()));
    let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let largest = b.iter().copied().fold(0.0, f32::max);
    // The built-in ones are rounded to 16 bits.
    assert!(worst < 0.02 * largest, "{worst} of {largest}");
}
