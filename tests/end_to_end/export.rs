//! `taper export`: files for other programs.

use std::{fs, path::Path};

use rten_tensor::{AsView, Layout};
use serde_json::Value;

use crate::support::{picture, pictures, quick_with, run};

/// Pictures of the exact size, which are not resampled: only the network is compared.
const SIDE: u32 = 64;

fn exact(here: &Path) -> Vec<String> {
    let folder = here.join("exact");
    fs::create_dir_all(&folder).unwrap();
    let names = (0..4).map(|n| {
        let picture = picture(["red", "blue"][n as usize % 2], n);
        let part = image::imageops::crop_imm(&picture, n, 0, SIDE, SIDE).to_image();
        part.save(folder.join(format!("{n}.png"))).unwrap();
        format!("exact/{n}.png")
    });
    names.collect()
}

/// What `rten` makes of an ONNX file for these pictures, a row for each.
fn answers(file: &Path, pictures: &[String]) -> Vec<Vec<f32>> {
    let here = file.parent().unwrap();
    let model = rten::Model::load_file(file).unwrap();
    let pixels: Vec<u8> = pictures
        .iter()
        .flat_map(|name| image::open(here.join(name)).unwrap().to_rgb8().into_raw())
        .collect();
    let side = SIDE as usize;
    let value = rten::Value::from_shape(&[pictures.len(), side, side, 3], pixels).unwrap();
    let (input, output) = (model.input_ids()[0], model.output_ids()[0]);
    let mut given = model.run(vec![(input, value.into())], &[output], None).unwrap();
    let given: rten_tensor::NdTensor<f32, 2> = given.remove(0).try_into().unwrap();
    let width = given.size(1);
    given.iter().copied().collect::<Vec<f32>>().chunks(width).map(<[f32]>::to_vec).collect()
}

#[test]
fn an_onnx_file_gives_the_probabilities_of_predict() {
    let folder = pictures();
    let here = folder.path();
    let names = exact(here);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let squash = ["--fit", "squash", "--precision", "f32"];
    let trainings: [(&str, Vec<&str>); 2] = [
        ("tuned", ["--unfreeze", "blocks.6", "--fine-tune-epochs", "1"].to_vec()),
        ("solved", ["--head", "logistic"].to_vec()),
    ];
    for (name, own) in trainings {
        let base = if name == "solved" {
            vec!["train", "--data", "data", "--size", "64"]
        } else {
            quick_with(&["--out", name])
        };
        let out = if name == "solved" { vec!["--out", name] } else { Vec::new() };
        run(here, &[base, out, own, squash.to_vec(), vec!["-q"]].concat()).expect(0);
        let exported = run(here, &["export", name, "--format", "onnx", "--json"]).expect(0).json();
        assert_eq!(exported["file"], format!("{name}.onnx"));
        assert_eq!(exported["input"]["shape"], serde_json::json!(["batch", "64", "64", "3"]));
        assert_eq!(exported["output"]["name"], "probabilities");
        assert_eq!(exported["classes"], serde_json::json!(["blue", "red"]));

        let predicted =
            run(here, &[&["predict", name], &names[..], &["--json"]].concat()).expect(0).stdout;
        let given = answers(&here.join(format!("{name}.onnx")), &exact(here));
        let mut differ = 0;
        for (line, given) in predicted.lines().zip(&given) {
            let answer: Value = serde_json::from_str(line).unwrap();
            for (label, given) in ["blue", "red"].into_iter().zip(given) {
                let wanted = answer["probabilities"][label].as_f64().unwrap();
                assert!((f64::from(*given) - wanted).abs() <= 1e-5, "{name}: {given} {wanted}");
                differ += usize::from((wanted - 0.5).abs() < 0.499_999);
            }
        }
        assert_eq!(given.len(), names.len());
        assert!(differ > 0, "probabilities of 0 and 1 alone would hide differences");
    }
}

#[test]
fn the_same_model_gives_the_same_bytes_and_nothing_is_replaced() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["-q"])).expect(0);
    let model = "run/model.safetensors";
    run(here, &["export", model, "--format", "onnx"]).expect(0);
    run(here, &["export", "run", "--format", "onnx", "--out", "again.onnx"]).expect(0);
    let bytes = |name: &str| fs::read(here.join(name)).unwrap();
    assert!(bytes("run.onnx") == bytes("again.onnx"));
    run(here, &["export", "run", "--format", "onnx"]).complains(2, &["run.onnx", "--overwrite"]);
    let over = ["export", "run", "--format", "onnx", "--output", "logits", "--overwrite"];
    run(here, &over).expect(0);
    assert!(bytes("run.onnx") != bytes("again.onnx"));

    // A trained model is not replaced, whatever is said.
    let onto = ["export", "run", "--format", "safetensors", "--out", model, "--overwrite"];
    run(here, &onto).complains(2, &["this is a trained model"]);
    let said = run(here, &["export", "run", "--format", "safetensors"]).expect(0).stdout;
    let line = "timm.create_model(\"tf_efficientnet_lite0\", num_classes=2, checkpoint_path=\"run.timm.safetensors\")";
    assert!(said.contains(line), "{said}");
    assert!(said.contains("Apache-2.0"), "{said}");
    // It is a file of weights, for Taper too.
    let again = quick_with(&["--weights", "run.timm.safetensors", "--out", "b", "-q"]);
    run(here, &again).expect(0);
}

#[test]
fn what_cannot_be_written_is_refused_before_anything_is() {
    let folder = pictures();
    let here = folder.path();
    let quick = ["train", "--data", "data", "--size", "64", "--out", "run", "-q"];
    run(here, &quick).expect(0);
    let onnx = |more: &[&str]| run(here, &[&["export", "run", "--format", "onnx"], more].concat());
    onnx(&["--opset", "16"]).complains(2, &["--opset is 16", "17 to 21"]);
    onnx(&["--batch", "0"]).complains(2, &["--batch", "1 to 4096"]);
    onnx(&["--batch", "many"]).complains(2, &["--batch", "dynamic"]);
    onnx(&["--output", "features", "--embed-labels"]).complains(2, &["--embed-labels"]);
    onnx(&["--out", "a.pb"]).complains(2, &["--out is a.pb", ".onnx"]);
    onnx(&["--out", "no/a.onnx"]).complains(2, &["there is no folder"]);
    let timm =
        |more: &[&str]| run(here, &[&["export", "run", "--format", "safetensors"], more].concat());
    timm(&[]).complains(2, &["the head `logistic` is more", "--format onnx", "--head linear"]);
    timm(&["--opset", "17"]).complains(2, &["--opset is 17", "--format onnx"]);
    timm(&["--output", "probabilities"]).complains(2, &["--output is probabilities", "logits"]);
    run(here, &["export", "run"]).complains(2, &["--format"]);
    run(here, &["export", "nothing", "--format", "onnx"]).complains(2, &["there is no such file"]);
    run(here, &["export", "data/test/red/00.jpg", "--format", "onnx"])
        .complains(2, &["this is a picture"]);
    fs::write(here.join("run/model.safetensors"), b"12345678{").unwrap();
    onnx(&[]).complains(1, &["model.safetensors"]);
    let left: Vec<_> = fs::read_dir(here).unwrap().map(|f| f.unwrap().file_name()).collect();
    let files = left.iter().map(|name| name.to_string_lossy().into_owned());
    assert!(files.into_iter().all(|name| !name.contains("onnx") && !name.contains("timm")));
}

/// Probabilities of `blue` for the pictures of `exact`.
fn blues(here: &Path, model: &str) -> Vec<f64> {
    let names = exact(here);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let predict = [&["predict", model, "--precision", "f32", "--json"], &names[..]].concat();
    let lines = run(here, &predict).expect(0).stdout;
    let parsed = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.map(|answer| answer["probabilities"]["blue"].as_f64().unwrap()).collect()
}

#[test]
fn a_folder_for_browsers_holds_the_model_in_16_bits_and_no_recipe() {
    let folder = pictures();
    let here = folder.path();
    let own = ["--unfreeze", "blocks.6", "--fine-tune-epochs", "1", "--out", "tuned", "-q"];
    run(here, &quick_with(&own)).expect(0);
    let web = |more: &[&str]| run(here, &[&["export", "tuned", "--format", "web"], more].concat());
    let exported = web(&["--json"]).expect(0).json();
    assert_eq!(exported["folder"], "tuned-web");
    assert_eq!(exported["package"], "tuned-web");
    assert_eq!(exported["classes"], serde_json::json!(["blue", "red"]));
    assert!(exported["rounded"].as_u64().unwrap() > 0, "{exported}");
    let listed = exported["files"].as_array().unwrap();
    assert_eq!(fs::read_dir(here.join("tuned-web")).unwrap().count(), listed.len());
    for file in listed {
        let path = here.join("tuned-web").join(file["name"].as_str().unwrap());
        assert_eq!(fs::metadata(path).unwrap().len(), file["bytes"].as_u64().unwrap());
    }
    web(&["--weights", "f32", "--out", "whole"]).expect(0);
    let size = |name: &str| fs::metadata(here.join(name)).unwrap().len();
    let (half, whole) = ("tuned-web/model.safetensors", "whole/model.safetensors");
    assert!(size(half) < size(whole) && size(whole) < size("tuned/model.safetensors"));

    // What is in the folders is a model for the program too.
    let (original, rounded, same) = (blues(here, "tuned"), blues(here, half), blues(here, whole));
    assert_eq!(original, same);
    assert_ne!(original, rounded);
    // Four pictures of noise have taught it, so that it amplifies every difference.
    for (a, b) in original.iter().zip(&rounded) {
        assert!((a - b).abs() < 0.05, "{original:?} {rounded:?}");
    }
    // The recipe names folders of this machine.
    let kept = fs::read(here.join("tuned/model.safetensors")).unwrap();
    let given = fs::read(here.join(half)).unwrap();
    let has_none = |content: &[u8]| {
        let empty = br#"\"recipe\":\"\""#;
        content.windows(empty.len()).any(|part| part == empty)
    };
    assert!(!has_none(&kept) && has_none(&given));

    web(&[]).complains(2, &["tuned-web", "exists"]);
    web(&["--overwrite"]).complains(2, &["--overwrite", "replaces no folder"]);
    web(&["--opset", "17"]).complains(2, &["--opset is 17", "--format onnx"]);
    web(&["--output", "logits"]).complains(2, &["--output is logits", "probabilities"]);
    let onnx = ["export", "tuned", "--format", "onnx", "--weights", "f32"];
    run(here, &onnx).complains(2, &["--weights is f32", "--format web"]);
}
