//! Small networks on seeded weights against open_clip and transformers: features of texts and of a
//! picture, and the logits. References: `crates/testing/reference/clip.py`.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{TOWER, tokenizer};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;
use taper_core::Activation;
use taper_graph::{GraphBuilder, Linear, Op, VisionTransformer, WeightSource, Weights};
use taper_kernels::KernelClass;
use taper_networks::TextTower;
use taper_plan::{FrozenPlan, PlanOptions};
use taper_text::TextEncoder;
use taper_weights::WeightFile;

#[derive(Deserialize)]
struct Small {
    texts: Vec<String>,
    tensors: BTreeMap<String, BTreeMap<String, Vec<usize>>>,
}

/// A file with seeded weights under a library's own names.
fn write(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) {
    let mut weights = Weights::seeded_by_name(tensors.clone());
    weights.insert("logit_scale", vec![], vec![2.5]);
    let bytes = |name: &str| -> Vec<u8> {
        weights.values(name).unwrap().iter().flat_map(|v| v.to_le_bytes()).collect()
    };
    let all: Vec<_> = tensors.iter().map(|(name, shape)| (name, shape, bytes(name))).collect();
    let views = all.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// ‖a − b‖ / ‖b‖.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    square(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)))
        / square(&mut b.iter().map(|v| f64::from(*v)))
}

#[test]
fn features_and_logits_are_those_of_open_clip_and_transformers() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/reference/clip/");
    let small: Small =
        serde_json::from_slice(&std::fs::read(format!("{folder}small.json")).unwrap()).unwrap();
    let bytes = std::fs::read(format!("{folder}answers.safetensors")).unwrap();
    let answers = SafeTensors::deserialize(&bytes).unwrap();
    let answer = |name: &str| -> Vec<f32> {
        let data = answers.tensor(name).unwrap();
        data.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let tokenizer = tokenizer();
    let tokens: Vec<Vec<u32>> =
        small.texts.iter().map(|text| tokenizer.tokens(text).unwrap()).collect();
    let temporary = tempfile::tempdir().unwrap();
    assert_eq!(small.tensors.len(), 4);
    for (case, tensors) in &small.tensors {
        let path = temporary.path().join("model.safetensors");
        write(&path, tensors);
        let activation = match case.ends_with("quick_gelu") {
            true => Activation::QuickGelu,
            false => Activation::Gelu,
        };
        let tower = TextTower { activation, ..TOWER };
        let weights = taper_zoo::text_weights(WeightFile::open(&path).unwrap(), &tower).unwrap();
        assert!((weights.scale - 2.5f32.exp()).abs() < 1e-5);
        let expected = [answer(&format!("{case}/text")), answer(&format!("{case}/image"))];
        for class in KernelClass::available() {
            let encoder = TextEncoder::new(&tower, weights.source.as_ref(), class).unwrap();
            let text = encoder.encode(&tokens).unwrap();
            let error = relative(&text, &expected[0]);
            assert!(error < 1e-5, "{case}: {class}: texts differ by {error:e}");
            // Alone, each gives the same bits.
            for (at, tokens) in tokens.iter().enumerate() {
                let alone = encoder.encode(std::slice::from_ref(tokens)).unwrap();
                assert_eq!(alone, text[at * tower.features..][..tower.features], "{case}: {at}");
            }

            let image = picture(&path, activation);
            let error = relative(&image, &expected[1]);
            assert!(error < 1e-5, "{case}: {class}: the picture differs by {error:e}");
            let cosine = |row: &[f32]| {
                let dot: f32 = row.iter().zip(&image).map(|(a, b)| a * b).sum();
                let length = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>().sqrt();
                dot / (length(row) * length(&image))
            };
            let logits = text.chunks_exact(tower.features).map(|row| weights.scale * cosine(row));
            let error = relative(&logits.collect::<Vec<_>>(), &answer(&format!("{case}/logits")));
            assert!(error < 1e-4, "{case}: {class}: logits differ by {error:e}");
        }
    }
}

/// The features of the seeded picture.
fn picture(path: &Path, activation: Activation) -> Vec<f32> {
    let tower = VisionTransformer {
        pre_norm: true,
        activation,
        eps: 1e-5,
        ..VisionTransformer::new(32, 8, [32, 2, 4])
    };
    let (mut g, input) = GraphBuilder::pictures("small", 3);
    let token = tower.add(&mut g, input);
    let projection = Linear { in_features: 32, out_features: 16, bias: false };
    let features = g.layer("projection", Op::Linear(projection), &[token]);
    let graph = g.finish(features);
    let weights = taper_zoo::named_as(WeightFile::open(path).unwrap(), &graph).unwrap();
    let clip = taper_zoo::find("clip-vit-b32").unwrap().preprocessing;
    let options = PlanOptions::new([32, 32], clip.mean, clip.std);
    let plan = FrozenPlan::compile(&graph, weights.as_ref(), &options).unwrap();
    let mut out = vec![f32::NAN; plan.output_width()];
    let mut workspace = plan.workspace(1);
    plan.forward(&mut workspace, &taper_testing::picture(32, 32), 1, &mut out).unwrap();
    out
}
