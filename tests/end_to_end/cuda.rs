//! The program on a GPU: `TAPER_TEST_DEVICE=cuda cargo test -p taper --features cudnn --test
//! end_to_end cuda`.

use std::{fs, path::Path};

use safetensors::SafeTensors;
use serde_json::Value;
use taper_testing::relative_error;

use crate::{
    support::{QUICK, picture, pictures, run},
    zoo::floats,
};

/// The device to test; without one, says why the test is skipped.
fn device() -> Option<String> {
    let device = std::env::var("TAPER_TEST_DEVICE").ok();
    if device.is_none() {
        taper_testing::skip("TAPER_TEST_DEVICE names no GPU (cuda or cuda:1)");
    }
    device
}

fn features(here: &Path, model: &str, device: &str, precision: &str) -> Vec<f32> {
    features_at(here, model, "160", device, precision)
}

fn features_at(here: &Path, model: &str, size: &str, device: &str, precision: &str) -> Vec<f32> {
    let mut arguments = vec!["embed", "--data", "data", "--size", size, "--model", model];
    arguments.extend([
        "--device",
        device,
        "--precision",
        precision,
        "--out",
        "out.safetensors",
        "--overwrite",
        "--quiet",
    ]);
    if model != "efficientnet-lite0" {
        arguments.extend(["--weights", "random"]);
    }
    run(here, &arguments).expect(0);
    let bytes = fs::read(here.join("out.safetensors")).unwrap();
    floats(SafeTensors::deserialize(&bytes).unwrap().tensor("features").unwrap().data())
}

#[test]
fn features_of_the_gpu_are_those_of_the_cpu() {
    let Some(device) = device() else { return };
    let folder = pictures();
    let here = folder.path();
    for model in ["efficientnet-lite0", "resnet50", "vgg16", "convnext-atto"] {
        let reference = features(here, model, "cpu", "f32");
        for (precision, bound) in [("f32", 1e-3), ("bf16", 2e-2)] {
            let apart = relative_error(&features(here, model, &device, precision), &reference);
            println!("{model} {precision}: {apart:.1e}");
            assert!(apart <= bound, "{model} {precision}: {apart:.1e}");
        }
    }
}

/// Vision transformers are slow on the emulated device, so one small picture must do.
#[test]
fn transformers_know_every_precision_on_a_gpu() {
    let Some(device) = device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let class = here.join("data/red");
    fs::create_dir_all(&class).unwrap();
    picture("red", 3).save(class.join("0.jpg")).unwrap();
    let small =
        |device: &str, precision: &str| features_at(here, "dinov2-small", "28", device, precision);
    let reference = small("cpu", "f32");
    for (precision, bound) in [("f32", 1e-3), ("tf32", 1e-2), ("f16", 1e-2), ("bf16", 2e-2)] {
        let apart = relative_error(&small(&device, precision), &reference);
        println!("dinov2-small {precision}: {apart:.1e}");
        assert!(apart <= bound, "{precision}: {apart:.1e}");
    }
}

#[test]
fn a_training_on_the_gpu_gives_the_same_bytes_again_and_its_model_works() {
    let Some(device) = device() else { return };
    let folder = pictures();
    let here = folder.path();
    let train = |out: &str| -> Value {
        let mut arguments = QUICK[..QUICK.len() - 4].to_vec();
        arguments.extend(["--head", "tutorial", "--batch-size", "8", "--device", &device]);
        arguments.extend(["--out", out, "--json"]);
        // The second run must not use anything from the first.
        let _ = fs::remove_dir_all(here.join("features"));
        run(here, &arguments).expect(0).json()
    };
    let trained = train("a");
    assert_eq!(trained["test"]["accuracy"], 1.0, "{trained}");
    train("b");
    for file in ["model.safetensors", "history.csv"] {
        let read = |run: &str| fs::read(here.join(run).join(file)).unwrap();
        assert!(read("a") == read("b"), "{file} differs from run to run");
    }
    let model = "a/model.safetensors";
    for device in [&device, "cpu"] {
        let evaluate = ["evaluate", model, "--data", "data", "--device", device, "--json"];
        let evaluated = run(here, &evaluate).expect(0).json();
        assert_eq!(evaluated["accuracy"], 1.0, "{evaluated}");
        let predict = ["predict", model, "data/test/red/00.jpg", "--device", device, "--json"];
        assert_eq!(run(here, &predict).expect(0).json()["label"], "red");
    }
    let find = ["lr-find", "--data", "data", "--size", "64", "--device", &device, "--json"];
    let found = run(here, &find).expect(0).json();
    assert!(found["suggestions"].is_object(), "{found}");
}

/// The tensors of a trained model, by name.
fn tensors(here: &Path, run: &str) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(here.join(run).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter();
    let mut all: Vec<_> = tensors.map(|(name, view)| (name, floats(view.data()))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn fine_tuning_on_the_gpu_gives_the_same_bytes_again_and_is_near_the_cpus() {
    let Some(device) = device() else { return };
    let folder = pictures();
    let here = folder.path();
    let train = |out: &str, device: &str, others: &[&str]| -> Value {
        let mut arguments = vec!["train", "--data", "data", "--size", "64", "--head", "linear"];
        arguments.extend(["--epochs", "2", "--unfreeze", "blocks.6", "--fine-tune-epochs", "2"]);
        arguments.extend(["--fine-tune-batch", "8", "--device", device, "--out", out, "--json"]);
        arguments.extend(others);
        let _ = fs::remove_dir_all(here.join("features"));
        run(here, &arguments).expect(0).json()
    };
    let [cpu, gpu] = ["cpu", &device].map(|device| train(device, device, &[]));
    assert_eq!(gpu["fine_tune"]["kept"], "maps", "{gpu}");
    assert_eq!(gpu["fine_tune"]["trained_parameters"], cpu["fine_tune"]["trained_parameters"]);
    train("again", &device, &[]);
    for file in ["model.safetensors", "fine-tune/history.csv"] {
        let read = |run: &str| fs::read(here.join(run).join(file)).unwrap();
        assert!(read(&device) == read("again"), "{file} differs from run to run");
    }
    // What every step came to, whichever weights the validation pictures then keep.
    let losses = |run: &str| -> Vec<f64> {
        let text = fs::read_to_string(here.join(run).join("fine-tune/history.csv")).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = lines.next().unwrap();
        let columns = ["loss", "val_loss"].map(|name| {
            header.iter().position(|column| *column == name).unwrap_or_else(|| panic!("{header:?}"))
        });
        lines.flat_map(|line| columns.map(|at| line[at].parse().unwrap())).collect()
    };
    let (ours, theirs) = (losses(&device), losses("cpu"));
    assert_eq!(ours.len(), 4);
    for (a, b) in ours.iter().zip(&theirs) {
        assert!((a - b).abs() < 1e-3 * b, "{ours:?}, on the CPU {theirs:?}");
    }
    for ((name, ours), (other, theirs)) in tensors(here, &device).iter().zip(tensors(here, "cpu")) {
        assert_eq!(*name, other);
        let apart = relative_error(ours, &theirs);
        // Adam divides noise by itself where gradients nearly vanish.
        assert!(apart < 2e-2, "{name}: {apart:.1e}");
    }
    // In another precision, with the statistics of batches.
    let tuned = train("bf16", &device, &["--precision", "bf16", "--batch-norm", "train"]);
    assert_eq!((&tuned["precision"], &tuned["fine_tune"]["epochs"]), (&"bf16".into(), &2.into()));
}
