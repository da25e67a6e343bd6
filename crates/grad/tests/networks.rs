//! Gradients of whole networks against torch's in 64-bit arithmetic. Reference:
//! `crates/testing/reference/gradients.py`.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::collections::BTreeMap;

use serde_json::Value;
use taper_grad::{BatchNormMode, Boundary, Suffix, SuffixOptions, Unfreeze};
use taper_graph::{Graph, WeightSource, Weights};
use taper_networks as networks;
use taper_optim::Parameters;
use taper_testing::picture;

/// Numbers between −1 and 1 that depend on their position alone.
fn factors(count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(|i| (i as f64 * 0.7368 + 0.25).sin())
}

/// A norm and a product with [`factors`].
fn digest(values: &[f32]) -> [f64; 2] {
    let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let product = values.iter().zip(factors(values.len())).map(|(v, f)| f64::from(*v) * f);
    [square.sqrt(), product.sum()]
}

/// A picture, its mirror image and its negative, normalised: `[3, height, width, 3]`.
fn batch([height, width]: [usize; 2], mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let pixels = picture(height, width);
    let mut all = Vec::new();
    for view in 0..3 {
        for (i, _) in pixels.iter().enumerate() {
            let (row, column, channel) = (i / 3 / width, i / 3 % width, i % 3);
            let column = if view == 1 { width - 1 - column } else { column };
            let value = pixels[(row * width + column) * 3 + channel];
            let value = f64::from(if view == 2 { 255 - value } else { value });
            let (mean, std) = (f64::from(mean[channel]), f64::from(std[channel]));
            all.push(((value / 255.0 - mean) / std) as f32);
        }
    }
    all
}

struct Case {
    graph: Graph,
    size: [usize; 2],
    input: Vec<f32>,
    reference: Value,
}

fn cases() -> BTreeMap<String, Case> {
    let text = include_str!("../../testing/reference/gradients.json");
    let all: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
    let of = |(name, reference): (String, Value)| {
        let published = networks::published().find(|p| p.name == name)?;
        let side = |i: usize| reference["size"][i].as_u64().unwrap() as usize;
        let size = [side(0), side(1)];
        let spec = &published.preprocessing;
        let input = batch(size, spec.mean, spec.std);
        let graph = (published.graph)(published.classes).without_classifier();
        Some((name, Case { graph, size, input, reference }))
    };
    all.into_iter().filter_map(of).collect()
}

/// A pass forward and backward; the digests of the features and of all gradients.
fn pass(
    case: &Case,
    mode: BatchNormMode,
    unfreeze: &Unfreeze,
) -> (Suffix, Parameters, BTreeMap<String, [f64; 2]>) {
    let boundary = Boundary::find(&case.graph, unfreeze).unwrap();
    let options = SuffixOptions { batch_norm: mode, ..SuffixOptions::new(case.size, 3) };
    let mut suffix = Suffix::new(&case.graph, boundary, &options).unwrap();
    let weights = Weights::seeded(&case.graph);
    let mut parameters = suffix.parameters(&case.graph, &weights).unwrap();
    suffix.load(&parameters).unwrap();
    let fill = |rows: &mut [f32]| rows.copy_from_slice(&case.input);
    let features = suffix.forward(&mut parameters, 3, fill).unwrap();
    let mut digests = BTreeMap::from([("features".to_owned(), digest(features))]);
    let gradient: Vec<f32> = factors(features.len()).map(|f| f as f32).collect();
    suffix.backward(&mut parameters, &gradient, false).unwrap();
    for p in parameters.iter() {
        let kept = if p.gradient.is_empty() { &p.values } else { &p.gradient };
        digests.insert(p.name.clone(), digest(kept));
    }
    (suffix, parameters, digests)
}

#[test]
fn gradients_are_torchs() {
    let mut compared = 0;
    for (name, case) in cases() {
        for (mode, label) in
            [(BatchNormMode::Frozen, "frozen"), (BatchNormMode::Trained, "trained")]
        {
            let Some(reference) = case.reference[label].as_object() else { continue };
            let (_, _, digests) = pass(&case, mode, &Unfreeze::All);
            let norms = reference.values().map(|digest| digest[0].as_f64().unwrap());
            let largest = norms.fold(0.0, f64::max);
            let mut worst = (0.0, String::new());
            for (tensor, found) in &digests {
                let Some(expected) = reference.get(tensor) else {
                    // With fixed statistics, torch's script leaves them out.
                    assert!(label == "frozen" && tensor.contains(".running_"), "{name}: {tensor}");
                    continue;
                };
                let expected = [0, 1].map(|i| expected[i].as_f64().unwrap());
                // A bias before a BatchNorm with the batch's statistics has a gradient of 0.
                let is_zero = expected[0] < 1e-9 * largest;
                let norm = if is_zero { 1e-2 * largest } else { expected[0] };
                for (found, wanted) in found.iter().zip(expected) {
                    let off = (found - wanted).abs() / norm;
                    if off.is_nan() || off > worst.0 {
                        worst = (off, format!("{tensor}: {found} instead of {wanted}"));
                    }
                }
                compared += 1;
            }
            println!("{name} {label}: {:.1e} ({})", worst.0, worst.1);
            // Winograd convolutions lose about a digit.
            let torchs = case.reference["torch_f32"][label].as_f64().unwrap();
            assert!(worst.0 < f64::max(5e-5, 4.0 * torchs), "{name}, {label}: {worst:?}, {torchs}");
        }
    }
    assert!(compared > 1000, "{compared}");
}

/// All gradients and running statistics, bit for bit.
fn bits(parameters: &Parameters) -> Vec<u32> {
    let both = |p: &taper_optim::Parameter| [p.gradient.clone(), p.values.clone()].concat();
    parameters.iter().flat_map(both).map(f32::to_bits).collect()
}

#[test]
fn threads_change_no_bit() {
    let cases = cases();
    for name in ["efficientnet-lite0", "convnext-atto", "resnet18"] {
        for mode in [BatchNormMode::Frozen, BatchNormMode::Trained] {
            let of = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let run = || bits(&pass(&cases[name], mode, &Unfreeze::All).1);
                pool.install(run)
            };
            let one = of(1);
            assert!([2, 3, 8].into_iter().all(|threads| of(threads) == one), "{name} {mode:?}");
        }
    }
}

#[test]
fn a_boundary_leaves_out_what_lies_below_it() {
    let cases = cases();
    for (name, layer) in [
        ("resnet18", "layer4"),
        ("resnet18", "layer4.1.bn2"),
        ("efficientnet-lite0", "blocks.5.1.conv_pwl"),
        ("convnext-atto", "stages.3"),
        ("dinov2-small", "blocks.10"),
    ] {
        let case = &cases[name];
        let (_, whole, _) = pass(case, BatchNormMode::Frozen, &Unfreeze::All);
        // What the frozen part gives is the input of the rest.
        let unfreeze = Unfreeze::From(layer.into());
        let boundary = Boundary::find(&case.graph, &unfreeze).unwrap();
        let options = SuffixOptions::new(case.size, 3);
        let below = case.graph.up_to(boundary.cut);
        let everything = Boundary::find(&below, &Unfreeze::All).unwrap();
        let mut frozen = Suffix::new(&below, everything, &options).unwrap();
        let weights = Weights::seeded(&case.graph);
        let mut own = frozen.parameters(&below, &weights).unwrap();
        frozen.load(&own).unwrap();
        let fill = |rows: &mut [f32]| rows.copy_from_slice(&case.input);
        let maps = frozen.forward(&mut own, 3, fill).unwrap().to_vec();

        let mut suffix = Suffix::new(&case.graph, boundary, &options).unwrap();
        assert_eq!(suffix.input_len() * 3, maps.len());
        let mut parameters = suffix.parameters(&case.graph, &weights).unwrap();
        suffix.load(&parameters).unwrap();
        let fill = |rows: &mut [f32]| rows.copy_from_slice(&maps);
        let features = suffix.forward(&mut parameters, 3, fill).unwrap();
        let gradient: Vec<f32> = factors(features.len()).map(|f| f as f32).collect();
        suffix.backward(&mut parameters, &gradient, false).unwrap();
        let first = case.graph.nodes()[boundary.first].name.clone();
        let trained = parameters.iter().filter(|p| !p.gradient.is_empty()).count();
        let at = parameters.iter().position(|p| p.name.starts_with(&format!("{first}.")));
        let expected = parameters[at.unwrap()..].iter().filter(|p| p.kind.is_learnable()).count();
        assert_eq!(trained, expected, "{name} {layer}");
        for p in parameters.iter().filter(|p| !p.gradient.is_empty()) {
            let whole = whole.iter().find(|w| w.name == p.name).unwrap();
            assert_eq!(p.gradient, whole.gradient, "{name} {layer}: {}", p.name);
        }
    }
}

#[test]
fn parts_of_a_batch_add_up() {
    let case = &cases()["efficientnet-lite0"];
    let (mut suffix, mut parameters, _) = pass(case, BatchNormMode::Frozen, &Unfreeze::All);
    let whole: Vec<Vec<f32>> = parameters.iter().map(|p| p.gradient.clone()).collect();
    let picture = case.input.len() / 3;
    let width = suffix.width();
    let gradient: Vec<f32> = factors(3 * width).map(|f| f as f32).collect();
    for (first, count) in [(0, 1), (1, 2)] {
        let input = &case.input[first * picture..][..count * picture];
        suffix.forward(&mut parameters, count, |rows| rows.copy_from_slice(input)).unwrap();
        let gradient = &gradient[first * width..][..count * width];
        suffix.backward(&mut parameters, gradient, first > 0).unwrap();
    }
    for (p, whole) in parameters.iter().zip(&whole) {
        let largest = whole.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        for (a, b) in p.gradient.iter().zip(whole) {
            assert!((a - b).abs() <= 2e-5 * largest, "{}: {a} and {b}", p.name);
        }
    }
    // More pictures than there is room for.
    let error = suffix.forward(&mut parameters, 4, |_| {}).unwrap_err().to_string();
    assert!(error.contains("batch has 4"), "{error}");
}

#[test]
fn statistics_below_the_boundary_never_move() {
    let case = &cases()["resnet18"];
    let boundary = Boundary::find(&case.graph, &Unfreeze::From("layer4.1.conv2".into())).unwrap();
    let batch_norm = BatchNormMode::Trained;
    let options = SuffixOptions { batch_norm, ..SuffixOptions::new(case.size, 2) };
    let mut suffix = Suffix::new(&case.graph, boundary, &options).unwrap();
    let weights = Weights::seeded(&case.graph);
    let mut parameters = suffix.parameters(&case.graph, &weights).unwrap();
    let before = parameters.weights();
    suffix.load(&parameters).unwrap();
    let maps: Vec<f32> = factors(2 * suffix.input_len()).map(|f| f as f32).collect();
    let fill = |rows: &mut [f32]| rows.copy_from_slice(&maps);
    suffix.forward(&mut parameters, 2, fill).unwrap();
    let moved: Vec<&str> = parameters
        .iter()
        .filter(|p| *before.values(&p.name).unwrap() != p.values)
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(moved, ["layer4.1.bn2.running_mean", "layer4.1.bn2.running_var"]);
}

#[test]
fn one_value_of_each_channel_has_no_statistics() {
    let case = &cases()["resnet18"];
    let boundary = Boundary::find(&case.graph, &Unfreeze::From("layer4".into())).unwrap();
    let batch_norm = BatchNormMode::Trained;
    let options = SuffixOptions { batch_norm, ..SuffixOptions::new([32, 32], 2) };
    let mut suffix = Suffix::new(&case.graph, boundary, &options).unwrap();
    let mut parameters = suffix.parameters(&case.graph, &Weights::seeded(&case.graph)).unwrap();
    suffix.load(&parameters).unwrap();
    let error = suffix.forward(&mut parameters, 1, |_| {}).unwrap_err().to_string();
    assert!(error.contains("'layer4.0.bn1'") && error.contains("larger batches"), "{error}");
    suffix.forward(&mut parameters, 2, |_| {}).unwrap();
}

#[test]
fn what_a_normalisation_gives_is_not_kept() {
    let graph = taper_networks::resnet50(1000).without_classifier();
    let everything = Boundary::find(&graph, &Unfreeze::All).unwrap();
    let bytes = |batch_norm| {
        let options = SuffixOptions { batch_norm, ..SuffixOptions::new([224; 2], 1) };
        Suffix::bytes_per_picture(&graph, everything, &options).unwrap() as f64
    };
    // Two maps for each convolution would be twice as much.
    let ratio = bytes(BatchNormMode::Trained) / bytes(BatchNormMode::Frozen);
    assert!((1.2..1.5).contains(&ratio), "{ratio}");
}
