//! Weights under the names of torchvision and Keras against these frameworks themselves.
//! References: `crates/testing/reference/naming.py`.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};
use taper_graph::{WeightSource, Weights};
use taper_plan::{FrozenPlan, Output, PlanOptions};
use taper_testing::{picture, relative_error, zoo::thinned};
use taper_zoo::{WeightsChoice, find, resolve};

fn write(path: &Path, weights: &Weights, rename: impl Fn(&str) -> String) {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .names()
        .into_iter()
        .map(|name| {
            let values = weights.values(name).unwrap();
            let shape = weights.shape(name).unwrap().to_vec();
            // As `naming.py` does, since Keras has the fan-in elsewhere.
            let factor = match shape[..] {
                [first, .., last] if name.ends_with(".kernel") => {
                    (last as f64 / first as f64).sqrt() as f32
                }
                _ => 1.0,
            };
            let bytes = values.iter().flat_map(|v| (v * factor).to_le_bytes()).collect();
            (rename(name), shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

#[test]
fn names_of_other_frameworks_give_their_answers() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/reference/naming.safetensors");
    let bytes = fs::read(reference).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    for (case, bound) in [
        ("mobilenet-v2/torchvision", 1e-4),
        ("vgg11/torchvision", 1e-4),
        // Keras pads with its mean, Taper with its own: half a step of 255 apart.
        ("vgg16/keras", 1e-4),
    ] {
        let (model, framework) = case.split_once('/').unwrap();
        let mut shapes: BTreeMap<String, Vec<usize>> =
            serde_json::from_str(&metadata[case]).unwrap();
        // VGG's classifier has 124 million numbers that are not needed here.
        shapes.retain(|name, _| model != "vgg11" || name.starts_with("features."));
        if framework == "keras" {
            let plain = |name: &String| name.replace(":0", "").replace('/', ".");
            shapes = shapes.iter().map(|(name, shape)| (plain(name), shape.clone())).collect();
        }
        write(&path, &Weights::seeded_by_name(shapes), |name| match framework {
            "keras" => format!("{}:0", name.replace('.', "/")),
            // As a training script wraps it.
            _ => format!("module.{name}"),
        });
        let model = find(model).unwrap();
        let weights = resolve(model, &WeightsChoice::File(path.clone())).unwrap();
        let (mean, std) = (model.preprocessing.mean, model.preprocessing.std);
        let options = PlanOptions::new([224, 224], mean, std).output(Output::Features);
        let plan =
            FrozenPlan::compile(&model.backbone(), weights.source.as_ref(), &options).unwrap();
        let mut features = vec![f32::NAN; plan.output_width()];
        let mut workspace = plan.workspace(rayon::current_num_threads());
        plan.forward(&mut workspace, &picture(224, 224), 1, &mut features).unwrap();
        let expected = file.tensor(case).unwrap();
        let expected: Vec<f32> =
            expected.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let error = relative_error(&thinned(&features), &expected);
        println!("{case}: {error:.2e}");
        assert!(error < bound, "{case}: {error:.2e}");
    }
}

#[test]
fn weights_that_would_load_and_be_wrong_are_refused_and_all_that_is_wrong_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let choice = WeightsChoice::File(path.clone());
    // Keras's ResNet-50 has its strides elsewhere.
    let mut keras = Weights::new();
    keras.insert("conv1_conv/kernel:0", vec![7, 7, 3, 64], vec![0.0; 9408]);
    keras.insert("conv2_block1_1_conv/kernel:0", vec![1, 1, 64, 64], vec![0.0; 4096]);
    write(&path, &keras, str::to_owned);
    let error = resolve(find("resnet50").unwrap(), &choice).unwrap_err().to_string();
    assert!(error.contains("are Keras's") && error.contains("resnet50"), "{error}");

    // Missing, wrongly shaped and unexpected tensors together; the classifier is neither needed nor
    // unexpected.
    let model = find("resnet18").unwrap();
    let mut shapes: BTreeMap<String, Vec<usize>> =
        model.graph().parameters().into_iter().map(|p| (p.name, p.shape)).collect();
    let conv = shapes.remove("layer3.0.conv2.weight").unwrap();
    shapes.insert("layer3.0.convolution2.weight".into(), conv);
    shapes.insert("bn1.bias".into(), vec![32]);
    write(&path, &Weights::seeded_by_name(shapes), str::to_owned);
    let error = resolve(model, &choice).unwrap_err().to_string();
    for words in [
        "1 missing: 'layer3.0.conv2.weight' (nearest found: 'layer3.0.convolution2.weight')",
        "1 of a different shape: 'bn1.bias' is [32], needed [64]",
        "1 unexpected: 'layer3.0.convolution2.weight'",
    ] {
        assert!(error.contains(words), "{words} is missing: {error}");
    }
}
