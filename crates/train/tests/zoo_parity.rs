//! Every network of the registry against timm: specification, tensors, answers on seeded weights.
//! References: `crates/testing/reference/zoo.py`.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use taper_core::{Fit, Interpolation};
use taper_graph::{Graph, Weights};
use taper_nn::{Network, Pass};
use taper_plan::{FrozenPlan, Output, PlanOptions, Precision};
use taper_testing::{
    assert_close, picture,
    zoo::{ZooReference, answers, specifications, tensors, thinned},
};
use taper_zoo::{ModelSpec, find, models};

/// Networks that are slow through candle are compared at the odd size only; the plan does all sizes.
const SLOW: u64 = 6_000_000_000;

fn through_candle(
    r: &ZooReference,
    model: &ModelSpec,
    graph: &Graph,
    weights: &Weights,
) -> Vec<f32> {
    let network = Network::loaded(graph, weights, &Device::Cpu).unwrap();
    let (mean, std) = (model.preprocessing.mean, model.preprocessing.std);
    let pixels = picture(r.height, r.width);
    let normalised: Vec<f32> = pixels
        .iter()
        .enumerate()
        .map(|(i, p)| {
            ((f64::from(*p) / 255.0 - f64::from(mean[i % 3])) / f64::from(std[i % 3])) as f32
        })
        .collect();
    let x = Tensor::from_vec(normalised, (1, r.height, r.width, 3), &Device::Cpu).unwrap();
    let x = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    network.forward(&x, Pass::Evaluation).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn through_the_plan(
    r: &ZooReference,
    model: &ModelSpec,
    graph: &Graph,
    weights: &Weights,
    output: Output,
    precision: Precision,
) -> Vec<f32> {
    let (mean, std) = (model.preprocessing.mean, model.preprocessing.std);
    let options =
        PlanOptions::new([r.height, r.width], mean, std).output(output).precision(precision);
    let plan = FrozenPlan::compile(graph, weights, &options).unwrap();
    let mut out = vec![f32::NAN; plan.output_width()];
    let mut workspace = plan.workspace(rayon::current_num_threads());
    plan.forward(&mut workspace, &picture(r.height, r.width), 1, &mut out).unwrap();
    out
}

#[test]
fn the_registry_says_what_timm_says() {
    let known = specifications();
    for model in models() {
        let timm = &known[model.name];
        let p = model.preprocessing;
        assert_eq!(model.hub.repository, timm.repository);
        assert_eq!(model.licence.to_lowercase(), timm.licence, "{}", model.name);
        let interpolation = match p.interpolation {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (p.size, interpolation),
            (timm.size, timm.interpolation.as_str()),
            "{}",
            model.name
        );
        assert_eq!(p.fit, Fit::Crop { fraction: timm.crop }, "{}", model.name);
        assert_eq!((p.mean, p.std), (timm.mean, timm.std), "{}", model.name);
        assert_eq!(model.parameters, timm.parameters, "{}", model.name);
        assert_eq!((model.feature_width, model.classes), (timm.features, timm.classes));
    }
    assert_eq!(known.len(), models().len(), "every network has its reference");
}

#[test]
fn graphs_name_and_shape_their_tensors_as_timm_does() {
    for model in models() {
        let ours: BTreeMap<String, Vec<usize>> =
            model.graph().parameters().into_iter().map(|p| (p.name, p.shape)).collect();
        assert_eq!(ours, tensors(model.name), "{}", model.name);
    }
}

#[test]
fn features_equal_those_of_timm() {
    let mut backbones: BTreeMap<String, (Graph, Weights)> = BTreeMap::new();
    for r in answers() {
        let model = find(&r.network).unwrap();
        let (backbone, weights) = backbones.entry(r.network.clone()).or_insert_with(|| {
            let backbone = model.backbone();
            let weights = Weights::seeded(&backbone);
            (backbone, weights)
        });
        println!("{} {} × {}", r.network, r.height, r.width);
        let odd = r.height != r.width;
        if odd || model.flops() < SLOW {
            let features = through_candle(&r, model, backbone, weights);
            assert_close(&thinned(&features), &r.features, 1e-4);
        }
        let plan = |precision| {
            let features =
                through_the_plan(&r, model, backbone, weights, Output::Features, precision);
            thinned(&features)
        };
        assert_close(&plan(Precision::F32), &r.features, 1e-4);
        assert_close(&plan(Precision::Bf16), &r.features, 2e-2);
    }
}

#[test]
fn logits_equal_those_of_timm() {
    let mut seen = 0;
    for r in answers() {
        let model = find(&r.network).unwrap();
        // VGG's classifiers have 124 million weights, all alike: vgg16 stands for them in `parity.rs`.
        if (r.height, r.width) != (224, 224) || r.network.starts_with("vgg") || r.logits.is_empty()
        {
            continue;
        }
        let graph = model.graph();
        let weights = Weights::seeded(&graph);
        println!("{} {} × {}", r.network, r.height, r.width);
        if model.flops() < SLOW {
            let logits = through_candle(&r, model, &graph, &weights);
            assert_close(&thinned(&logits), &r.logits, 1e-4);
        }
        let logits = through_the_plan(&r, model, &graph, &weights, Output::Logits, Precision::F32);
        assert_close(&thinned(&logits), &r.logits, 1e-4);
        seen += 1;
    }
    assert!(seen >= 11, "{seen}");
}
