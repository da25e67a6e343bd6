//! Small networks on seeded weights against open_clip and transformers: features of texts and of a
//! picture, and the logits. References: `crates/testing/reference/clip.py` and `siglip.py`.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{SIGLIP, TOWER, siglip_tokenizer, tokenizer};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;
use taper_core::Activation;
use taper_graph::{Graph, GraphBuilder, Linear, Op, VisionTransformer, WeightSource, Weights};
use taper_kernels::KernelClass;
use taper_networks::{FastVit, Reading, TextTower};
use taper_plan::{FrozenPlan, PlanOptions};
use taper_text::{TextEncoder, Tokenizer};
use taper_weights::WeightFile;

#[derive(Deserialize)]
struct Small {
    texts: Vec<String>,
    /// Where they are not all of one size.
    networks: Option<BTreeMap<String, Network>>,
    tensors: BTreeMap<String, BTreeMap<String, Vec<usize>>>,
}

#[derive(Deserialize)]
struct Network {
    image_size: usize,
}

/// A file with seeded weights under a library's own names.
fn write(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) {
    let mut weights = Weights::seeded_by_name(tensors.clone());
    // As in the reference: attention would be all on one position otherwise.
    for (name, shape) in tensors.iter().filter(|(name, _)| name.ends_with(".gamma")) {
        let half = weights.values(name).unwrap().iter().map(|v| v / 2.0).collect();
        weights.insert(name, shape.clone(), half);
    }
    for (name, value) in [("logit_scale", 2.5), ("logit_bias", -10.0)] {
        if let Some(shape) = tensors.get(name) {
            weights.insert(name, shape.clone(), vec![value]);
        }
    }
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
    let tokenizer = tokenizer();
    let cases = compare("clip", |case| {
        let activation = match case.ends_with("quick_gelu") {
            true => Activation::QuickGelu,
            false => Activation::Gelu,
        };
        let tower = TextTower { activation, ..TOWER };
        Some(Own { tower, tokenizer: &tokenizer, network: clip(activation), model: "clip-vit-b32" })
    });
    assert_eq!(cases, 4);
}

#[test]
fn those_of_siglip_too() {
    let tokenizer = siglip_tokenizer();
    let cases = compare("siglip", |case| {
        let (tower, model) = (SIGLIP, "siglip-b16");
        case.ends_with("/siglip").then(|| Own {
            tower,
            tokenizer: &tokenizer,
            network: siglip(),
            model,
        })
    });
    assert_eq!(cases, 2);
}

#[test]
fn those_of_mobileclip_too() {
    let tokenizer = tokenizer();
    let cases = compare("siglip", |case| {
        let reading = Reading::Marked { padding: 0 };
        let tower = TextTower { reading, activation: Activation::Gelu, ..TOWER };
        let small = FastVit::mobileclip([1, 1, 1, 2], [8, 16, 32, 64]);
        let (network, model) = (small.projected("small", 16), "mobileclip-s1");
        case.ends_with("/mobileclip").then_some(Own {
            tower,
            tokenizer: &tokenizer,
            network,
            model,
        })
    });
    assert_eq!(cases, 1);
}

/// What is compared with a reference.
struct Own<'a> {
    tower: TextTower,
    tokenizer: &'a Tokenizer,
    network: Graph,
    /// Has its mean and deviation of pixels.
    model: &'a str,
}

/// Compares all cases of a folder that there is something for, and says how many.
fn compare<'a>(folder: &str, own: impl Fn(&str) -> Option<Own<'a>>) -> usize {
    let folder = format!("{}/../testing/reference/{folder}/", env!("CARGO_MANIFEST_DIR"));
    let small: Small =
        serde_json::from_slice(&std::fs::read(format!("{folder}small.json")).unwrap()).unwrap();
    let bytes = std::fs::read(format!("{folder}answers.safetensors")).unwrap();
    let answers = SafeTensors::deserialize(&bytes).unwrap();
    let answer = |name: &str| -> Vec<f32> {
        let data = answers.tensor(name).unwrap();
        data.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let temporary = tempfile::tempdir().unwrap();
    let mut cases = 0;
    for (case, tensors) in &small.tensors {
        let Some(Own { tower, tokenizer, network, model }) = own(case) else { continue };
        cases += 1;
        let tokens: Vec<Vec<u32>> =
            small.texts.iter().map(|text| tokenizer.tokens(text).unwrap()).collect();
        let size = small.networks.as_ref().map_or(32, |all| all[case].image_size);
        let path = temporary.path().join("model.safetensors");
        write(&path, tensors);
        let weights = taper_zoo::text_weights(WeightFile::open(&path).unwrap(), &tower).unwrap();
        assert!((weights.scale - 2.5f32.exp()).abs() < 1e-5);
        let bias = if tensors.contains_key("logit_bias") { -10.0 } else { 0.0 };
        assert_eq!(weights.bias.to_bits(), f32::to_bits(bias));
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

            let image = picture(&path, &network, model, size);
            let error = relative(&image, &expected[1]);
            assert!(error < 1e-5, "{case}: {class}: the picture differs by {error:e}");
            let cosine = |row: &[f32]| {
                let dot: f32 = row.iter().zip(&image).map(|(a, b)| a * b).sum();
                let length = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>().sqrt();
                dot / (length(row) * length(&image))
            };
            let logits =
                text.chunks_exact(tower.features).map(|row| weights.scale * cosine(row) + bias);
            let error = relative(&logits.collect::<Vec<_>>(), &answer(&format!("{case}/logits")));
            assert!(error < 1e-4, "{case}: {class}: logits differ by {error:e}");
        }
    }
    cases
}

fn clip(activation: Activation) -> Graph {
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
    g.finish(features)
}

fn siglip() -> Graph {
    let activation = Activation::GeluTanh;
    let small = VisionTransformer::new(32, 8, [32, 2, 4]);
    let (mut g, input) = GraphBuilder::pictures("small", 3);
    let features = VisionTransformer { prefix: 0, activation, ..small }.add(&mut g, input);
    g.finish(features)
}

/// The features of the seeded picture.
fn picture(path: &Path, graph: &Graph, model: &str, size: usize) -> Vec<f32> {
    let weights = taper_zoo::named_as(WeightFile::open(path).unwrap(), graph).unwrap();
    let spec = taper_zoo::find(model).unwrap().preprocessing;
    let options = PlanOptions::new([size, size], spec.mean, spec.std);
    let plan = FrozenPlan::compile(graph, weights.as_ref(), &options).unwrap();
    let mut out = vec![f32::NAN; plan.output_width()];
    let mut workspace = plan.workspace(1);
    plan.forward(&mut workspace, &taper_testing::picture(size, size), 1, &mut out).unwrap();
    out
}
