//! Files with timm's names, read again as weights of the network.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::path::{Path, PathBuf};

use taper_export::{Error, Format, TimmOptions, WebOptions, export, export_web};
use taper_graph::{Graph, WeightSource, Weights, heads};
use taper_onnx::OutputForm;
use taper_outputs::OutFile;
use taper_run::Session;
use taper_weights::WeightFile;
use taper_zoo::WeightsChoice;

/// A model with seeded weights.
fn saved(
    folder: &Path,
    network: &str,
    backbone: Option<Graph>,
    head: fn(usize) -> Graph,
) -> PathBuf {
    let backbone = backbone.unwrap_or_else(|| taper_zoo::find(network).unwrap().backbone());
    let head = head(backbone.feature_width());
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    common::saved(folder, network, [backbone, head], classes).unwrap()
}

fn timm(model: &Path, output: OutputForm) -> Result<(PathBuf, taper_export::Exported), Error> {
    let path = model.with_file_name("timm.safetensors");
    let out = OutFile::check("out", &path, true)?;
    let exported = export(model, &Format::Timm(TimmOptions { output }), &out, &Session::quiet())?;
    Ok((path, exported))
}

#[test]
fn networks_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    for (network, architecture, classifier) in [
        ("efficientnet-lite0", "tf_efficientnet_lite0", "classifier"),
        ("resnet18", "resnet18", "fc"),
        ("convnext-atto", "convnext_atto", "head.fc"),
        ("convnext-tiny", "convnext_tiny", "head.fc"),
        ("mobilenet-v2", "mobilenetv2_100", "classifier"),
        ("dinov2-small", "vit_small_patch14_dinov2", "head"),
        ("repvgg-a0", "repvgg_a0", "head.fc"),
    ] {
        let model = saved(folder.path(), network, None, |width| heads::linear(width, 3));
        let (path, exported) = timm(&model, OutputForm::Logits).unwrap();
        assert_eq!(exported.architecture.as_deref(), Some(architecture));
        assert_eq!(exported.output.shape, ["batch", "3"]);
        let file = WeightFile::open(&path).unwrap();
        let head = heads::linear(exported_width(&file, classifier), 3);
        let seeded = Weights::seeded(&head);
        for own in ["weight", "bias"] {
            let given = file.values(&format!("{classifier}.{own}")).unwrap();
            assert_eq!(given, seeded.values(&format!("fc.{own}")).unwrap(), "{network}");
        }
        assert!(file.metadata()["timm"].contains("\"label_names\":[\"a\",\"b\",\"c\"]"));

        // RepVGG's branches are fused again, in f64.
        let spec = taper_zoo::find(network).unwrap();
        let backbone = spec.backbone();
        let choice = WeightsChoice::File(path);
        let own = taper_zoo::resolve(spec, &choice).unwrap();
        let expected = Weights::seeded(&backbone);
        for name in expected.names() {
            let (given, wanted) =
                (own.source.values(name).unwrap(), expected.values(name).unwrap());
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 2e-7 * b.abs();
            assert!(given.iter().zip(wanted.iter()).all(near), "{network}: {name}");
        }
    }
}

/// Inputs of the classifier in a file.
fn exported_width(file: &WeightFile, classifier: &str) -> usize {
    file.shape(&format!("{classifier}.weight")).unwrap()[1]
}

#[test]
fn what_timm_has_no_network_for_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |model: &Path| match timm(model, OutputForm::Logits) {
        Err(error @ Error::NotOfTimm { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let linear = |width| heads::linear(width, 3);
    let part = taper_zoo::find("resnet18").unwrap().graph().cut("layer2").unwrap();
    let cut = refusal(&saved(folder.path(), "resnet18", Some(part), linear));
    assert!(cut.contains("only a part of resnet18"), "{cut}");
    let deep = refusal(&saved(folder.path(), "mobilenet-v4-small", None, linear));
    assert!(deep.contains("more than one layer after the features"), "{deep}");
    for network in ["mobileone-s0", "dinov2-small-reg4"] {
        let merged = refusal(&saved(folder.path(), network, None, linear));
        assert!(merged.contains("keeps apart are one after loading"), "{merged}");
    }
    let solved = saved(folder.path(), "resnet18", None, |width| heads::logistic(width, 3));
    let text = refusal(&solved);
    assert!(text.contains("the head `logistic` is more"), "{text}");
    let soft = timm(&solved, OutputForm::Probabilities).unwrap_err().to_string();
    assert!(soft.contains("output is probabilities"), "{soft}");
    // The network without its head is one of timm's.
    let (path, exported) = timm(&solved, OutputForm::Features).unwrap();
    assert_eq!(exported.output.shape, ["batch", "512"]);
    let file = WeightFile::open(&path).unwrap();
    assert!(file.names().iter().all(|name| !name.starts_with("fc.")));
}

#[test]
fn an_interrupted_session_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = saved(folder.path(), "efficientnet-lite0", None, |width| heads::linear(width, 3));
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    let ended = Session::quiet();
    let ended = ended.until(std::time::Instant::now());
    let place = folder.path().join("timm.safetensors");
    let out = OutFile::check("out", &place, false).unwrap();
    let file = export(&model, &Format::Timm(TimmOptions::default()), &out, &ended);
    let web = folder.path().join("web");
    let made = export_web(&model, &WebOptions::default(), &web, &ended);
    for error in [file.unwrap_err(), made.unwrap_err()] {
        assert!(matches!(error, Error::Run(taper_run::Error::Interrupted)), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before);
}
