//! The networks against timm, through candle and through the frozen plan. References:
//! `crates/testing/reference`.
#![allow(clippy::unwrap_used)] // helpers of tests

use candle_core::{Device, Tensor};
use taper_candle::{Network, Pass};
use taper_graph::{Graph, WeightSource, Weights};
use taper_plan::{FrozenPlan, Output, PlanOptions, Precision};
use taper_testing::reference::{NetworkReference, ReferenceWeights, networks};
use taper_testing::{assert_close, picture};
use taper_zoo::{WeightsChoice, find, resolve};

fn weights(reference: &NetworkReference, graph: &Graph) -> Box<dyn WeightSource> {
    match reference.weights {
        ReferenceWeights::Seeded => Box::new(Weights::seeded(graph)),
        ReferenceWeights::Embedded => {
            resolve(find(&reference.network).unwrap(), &WeightsChoice::Pretrained).unwrap().source
        }
    }
}

fn through_candle(r: &NetworkReference, graph: &Graph, weights: &dyn WeightSource) -> Vec<f32> {
    let network = Network::loaded(graph, weights, &Device::Cpu).unwrap();
    let pixels = picture(r.height, r.width);
    let normalised = pixels
        .iter()
        .enumerate()
        .map(|(i, p)| ((f64::from(*p) / 255.0 - r.mean[i % 3]) / r.std[i % 3]) as f32);
    let shape = (1, r.height, r.width, 3);
    let x = Tensor::from_vec(normalised.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap();
    let x = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    network.forward(&x, Pass::Evaluation).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn through_the_plan(
    r: &NetworkReference,
    graph: &Graph,
    weights: &dyn WeightSource,
    output: Output,
    precision: Precision,
) -> Vec<f32> {
    let options =
        PlanOptions::new([r.height, r.width], r.mean.map(|m| m as f32), r.std.map(|s| s as f32));
    let options = options.output(output).precision(precision);
    let plan = FrozenPlan::compile(graph, weights, &options).unwrap();
    let mut out = vec![f32::NAN; plan.output_width()];
    let mut workspace = plan.workspace(rayon::current_num_threads());
    plan.forward(&mut workspace, &picture(r.height, r.width), 1, &mut out).unwrap();
    out
}

#[test]
fn features_equal_those_of_timm() {
    let references = networks();
    assert!(references.len() >= 11, "{}", references.len());
    for r in &references {
        let backbone = find(&r.network).unwrap().backbone();
        let weights = weights(r, &backbone);
        println!("{} {} × {}", r.network, r.height, r.width);
        assert_close(&through_candle(r, &backbone, weights.as_ref()), &r.features, 1e-4);
        let plan = |precision| {
            through_the_plan(r, &backbone, weights.as_ref(), Output::Features, precision)
        };
        assert_close(&plan(Precision::F32), &r.features, 1e-4);
        assert_close(&plan(Precision::Bf16), &r.features, 2e-2);
    }
}

#[test]
fn logits_equal_those_of_timm() {
    let with_logits = networks().into_iter().filter(|r| !r.logits.is_empty());
    let mut seen = 0;
    for r in with_logits {
        // VGG-16's classifier has 124 million weights: one size is enough.
        if r.network == "vgg16" && (r.height, r.width) != (224, 224) {
            continue;
        }
        let graph = find(&r.network).unwrap().graph();
        let weights = weights(&r, &graph);
        println!("{} {} × {}", r.network, r.height, r.width);
        assert_close(&through_candle(&r, &graph, weights.as_ref()), &r.logits, 1e-4);
        let plan = through_the_plan(&r, &graph, weights.as_ref(), Output::Logits, Precision::F32);
        assert_close(&plan, &r.logits, 1e-4);
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}
