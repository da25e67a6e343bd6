//! Twenty steps on photographs from ImageNet weights against torch in 64-bit arithmetic. Reference:
//! `reference/fine_tuning.py`.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::path::Path;

use serde_json::Value;
use taper_core::random::{Key, Purpose};
use taper_grad::{BatchNormMode, Boundary, Network, SuffixOptions, Unfreeze};
use taper_graph::{Weights, heads};
use taper_optim::{
    Algorithm, EpsilonMode, LossConfig, Optimizer, OptimizerConfig, ParameterGroup, Targets,
};
use taper_picture::{DecodeOptions, decode_file};
use taper_zoo::{WeightsChoice, find, resolve};

const SIDE: usize = 64;
const PICTURES: usize = 8;
const CLASSES: usize = 3;

/// A norm and a product with numbers between −1 and 1 that depend on their position alone.
fn digest(values: &[f32]) -> [f64; 2] {
    let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let factor = |i: usize| (i as f64 * 0.7368 + 0.25).sin();
    let product = values.iter().enumerate().map(|(i, v)| f64::from(*v) * factor(i)).sum();
    [square.sqrt(), product]
}

/// The crops, normalised: `[8, 64, 64, 3]`.
fn input() -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/crops.png");
    let strip = decode_file(&path, &DecodeOptions::default()).unwrap().pixels.into_raw();
    let value = |i: usize| {
        let (picture, row, rest) = (i / (SIDE * SIDE * 3), i / (SIDE * 3) % SIDE, i % (SIDE * 3));
        let byte = strip[(row * PICTURES + picture) * SIDE * 3 + rest];
        ((f64::from(byte) / 255.0 - 0.5) / 0.5) as f32
    };
    (0..PICTURES * SIDE * SIDE * 3).map(value).collect()
}

/// Each stage's rate is 0.8 times that of the next one.
fn layer_decay() -> Vec<ParameterGroup> {
    let group = |prefix: String, depth: i32| ParameterGroup {
        prefix,
        rate_factor: 0.8_f64.powi(depth),
        weight_decay: None,
    };
    let stages = (0..7).map(|stage| group(format!("backbone.blocks.{stage}."), 8 - stage));
    let rest = [("backbone.conv_stem", 9), ("backbone.bn1", 9)];
    let last = [("backbone.conv_head", 1), ("backbone.bn2", 1)];
    let named = rest.into_iter().chain(last).map(|(name, depth)| group(name.into(), depth));
    stages.chain(named).collect()
}

fn check(label: &str, algorithm: Algorithm, rate: f64, batch_norm: BatchNormMode) {
    let text = include_str!("reference/fine_tuning.json");
    let reference: Value = serde_json::from_str(text).unwrap();
    let reference = &reference[label];
    let model = find("efficientnet-lite0").unwrap();
    let backbone = model.graph().without_classifier();
    let weights = resolve(model, &WeightsChoice::Pretrained).unwrap();
    let head = heads::linear(backbone.feature_width(), CLASSES);
    let head_weights = Weights::seeded(&head);
    let boundary = Boundary::find(&backbone, &Unfreeze::All).unwrap();
    let options = SuffixOptions { batch_norm, ..SuffixOptions::new([SIDE; 2], PICTURES) };
    let source = weights.source.as_ref();
    let mut network =
        Network::new((&backbone, source), boundary, (&head, &head_weights), &options).unwrap();
    let before: Vec<Vec<f32>> = network.parameters().iter().map(|p| p.values.clone()).collect();
    let config = OptimizerConfig { algorithm, groups: layer_decay() };
    let mut optimizer = Optimizer::new(config.check().unwrap(), network.parameters()).unwrap();
    let loss = LossConfig::default().check(&[PICTURES; CLASSES]).unwrap();
    let labels: Vec<u32> = (0..PICTURES as u32).map(|i| i % CLASSES as u32).collect();
    let targets = Targets::Labels(&labels);
    let input = input();
    let dropout = Key::new(0, Purpose::new("test/dropout"));
    let mut gradient = [0.0; PICTURES * CLASSES];
    for step in 0..20 {
        let fill = |rows: &mut [f32]| rows.copy_from_slice(&input);
        let logits = network.forward(PICTURES, fill, dropout, step).unwrap();
        let weight = loss.weight(targets);
        let value = loss.evaluate(logits, targets, weight, &mut gradient).unwrap();
        let expected = reference["losses"][step as usize].as_f64().unwrap();
        assert!((value - expected).abs() < 2e-4 * (1.0 + expected), "{label}, {step}: {value}");
        network.backward(&gradient).unwrap();
        optimizer.step(network.parameters_mut(), rate);
    }
    let tensors = reference["tensors"].as_object().unwrap();
    let largest = tensors.values().map(|t| t[3].as_f64().unwrap()).fold(0.0, f64::max);
    // Of weights, and of running statistics, in which the batches' own differences add up.
    let mut worst = [(0.0, String::new()), (0.0, String::new())];
    for (p, before) in network.parameters().iter().zip(&before) {
        let expected = &tensors[&p.name];
        let [norm, product, moved, first] = [0, 1, 2, 3].map(|i| expected[i].as_f64().unwrap());
        // Where the gradient is 0 but for rounding, AdamW makes whole steps of the rounding.
        if p.kind.is_learnable() && first < 1e-9 * largest {
            continue;
        }
        let found = digest(&p.values);
        let off = (found[0] - norm).abs().max((found[1] - product).abs()) / norm.max(1e-3);
        let worst = &mut worst[usize::from(!p.kind.is_learnable())];
        if off > worst.0 {
            *worst = (off, p.name.clone());
        }
        let difference: Vec<f32> = p.values.iter().zip(before).map(|(a, b)| a - b).collect();
        let own = digest(&difference)[0];
        let close = (own - moved).abs() <= 2e-2 * moved + 1e-5 * norm;
        assert!(close || !p.kind.is_learnable(), "{label}: {} moved by {own}, not {moved}", p.name);
    }
    println!("{label}: {worst:?}");
    assert!(worst[0].0 < 1e-4 && worst[1].0 < 1e-2, "{label}: {worst:?}");
}

#[test]
fn sgd_moves_the_weights_where_torch_moves_them() {
    let algorithm = Algorithm::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
    check("sgd frozen", algorithm, 3e-3, BatchNormMode::Frozen);
    check("sgd trained", algorithm, 3e-4, BatchNormMode::Trained);
}

#[test]
fn adamw_moves_the_weights_where_torch_moves_them() {
    let algorithm = Algorithm::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        epsilon_mode: EpsilonMode::Torch,
        weight_decay: 0.05,
    };
    check("adamw frozen", algorithm, 3e-4, BatchNormMode::Frozen);
    check("adamw trained", algorithm, 3e-5, BatchNormMode::Trained);
}
