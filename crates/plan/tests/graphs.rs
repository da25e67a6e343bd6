//! Fusing: networks that can be compiled agree with f64, others are refused with the layer's name.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{pixels, reference, relative_error};
use taper_graph::{
    Activation, Conv2d, Dropout, Graph, GraphBuilder, MaxPool, Op, Padding, SqueezeExcite,
    VisionTransformer, Weights,
};
use taper_networks::{self as networks, FastVit};
use taper_plan::{FrozenPlan, Kernels, PlanError, PlanOptions, Precision};

fn compile(graph: &Graph, size: [usize; 2]) -> Result<FrozenPlan, PlanError> {
    FrozenPlan::compile(graph, &Weights::seeded(graph), &PlanOptions::new(size, [0.4; 3], [0.3; 3]))
}

fn check(graph: &Graph, size: [usize; 2]) -> FrozenPlan {
    check_within(graph, size, [1e-5, 2e-2])
}

/// `limits`: in f32 and in bf16.
fn check_within(graph: &Graph, size: [usize; 2], limits: [f64; 2]) -> FrozenPlan {
    let plan = compile(graph, size).unwrap();
    let half = PlanOptions::new(size, [0.4; 3], [0.3; 3]).precision(Precision::Bf16);
    let half = FrozenPlan::compile(graph, &Weights::seeded(graph), &half).unwrap();
    let pixels = pixels(plan.picture_len());
    let features = graph.without_classifier();
    let weights = Weights::seeded(&features);
    let expected = reference(&features, &weights, size, &[0.4; 3], &[0.3; 3], &pixels);
    for (plan, limit) in [&plan, &half].into_iter().zip(limits) {
        let mut out = vec![f32::NAN; plan.output_width()];
        plan.forward(&mut plan.workspace(1), &pixels, 1, &mut out).unwrap();
        let error = relative_error(&out, &expected);
        assert!(error <= limit, "{} in {}: {error:e}", graph.name(), plan.precision());
    }
    plan
}

/// Only the first maps, with few channels, stay in f32.
#[test]
fn thin_layers_stay_in_f32() {
    let wide = |graph: &Graph| -> Vec<String> {
        let options = PlanOptions::new([64, 64], [0.4; 3], [0.3; 3]).precision(Precision::Bf16);
        let plan = FrozenPlan::compile(graph, &Weights::seeded(graph), &options).unwrap();
        let layers = plan.layers().into_iter();
        let special = layers.filter(|l| l.shape.ends_with("in f32") || l.algorithm == "round");
        special.map(|l| format!("{} {}", l.name, l.algorithm)).collect()
    };
    assert_eq!(
        wide(&networks::efficientnet_lite0(10)),
        [
            "conv_stem pixels",
            "blocks.0.0.conv_dw depthwise",
            "blocks.0.0.conv_pw direct",
            "blocks.0.0.bn2 round"
        ]
    );
    assert!(wide(&networks::resnet50(10)).is_empty());
    // A residual that is read in both precisions is rounded once.
    let (mut g, x) = start("thin residual");
    let a = g.conv("a", x, Conv2d::new(8, 8, 3).padding(Padding::Symmetric(1)).bias());
    let sum = g.layer("sum", Op::Add, &[a, x]);
    let b = g.conv("b", sum, Conv2d::new(8, 40, 1).bias());
    let graph = finish(g, b);
    check(&graph, [12, 12]);
    assert_eq!(wide(&graph), ["stem pixels", "stem.act round"]);
}

fn refusal(graph: &Graph) -> String {
    match compile(graph, [16, 16]).unwrap_err() {
        error @ PlanError::Unsupported { .. } => error.to_string(),
        other => panic!("another error: {other}"),
    }
}

const RELU: Activation = Activation::Relu;

/// A stem of 8 channels, so that what follows reads a feature map.
fn start(name: &str) -> (GraphBuilder, usize) {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let stem = g.conv("stem", input, Conv2d::new(3, 8, 3).stride(2).padding(Padding::Same).bias());
    let stem = g.activation("stem.act", stem, RELU);
    (g, stem)
}

fn finish(mut g: GraphBuilder, x: usize) -> Graph {
    let features = g.layer("pool", Op::GlobalAvgPool, &[x]);
    g.finish(features)
}

#[test]
fn either_side_of_a_sum_can_take_the_residual() {
    // The shortcut is computed first, last, or is the block's own input.
    for order in 0..3 {
        let (mut g, x) = start("residual");
        let conv = Conv2d::new(8, 8, 3).padding(Padding::Symmetric(1));
        let (a, b);
        if order == 0 {
            a = g.conv("a", x, conv);
            b = g.conv("b", x, Conv2d::new(8, 8, 1).bias());
        } else {
            b = if order == 1 { g.conv("b", x, Conv2d::new(8, 8, 1).bias()) } else { x };
            a = g.conv("a", x, conv);
        }
        let a = g.batch_norm("a.norm", a, 8, 1e-3);
        let sum = g.layer("sum", Op::Add, &[a, b]);
        let out = g.activation("act", sum, RELU);
        let plan = check(&finish(g, out), [15, 18]);
        let layers = plan.layers();
        assert_eq!(layers.len(), if order == 2 { 3 } else { 4 });
        let holds = |fused: &[String], name: &str| fused.iter().any(|f| f == name);
        assert!(layers.iter().any(|l| holds(&l.fused, "sum") && holds(&l.fused, "act")));
    }
}

#[test]
fn a_convolution_that_two_layers_read_is_not_fused_away() {
    let (mut g, x) = start("fork");
    let a = g.conv("a", x, Conv2d::new(8, 8, 1).bias());
    let relu = g.conv("b", a, Conv2d::new(8, 8, 1).groups(2));
    let relu = g.activation("b.act", relu, Activation::Relu6);
    let c = g.conv("c", relu, Conv2d::new(8, 8, 3).padding(Padding::Same).groups(8));
    let sum = g.layer("sum", Op::Add, &[c, a]);
    check(&finish(g, sum), [9, 12]);
}

#[test]
fn pools_dropout_and_a_dilated_convolution_are_computed() {
    let (mut g, x) = start("pools");
    let x = g.max_pool("max", x, MaxPool { kernel: 3, stride: 2, padding: Padding::Symmetric(1) });
    let x = g.layer("drop", Op::Dropout(Dropout { p: 0.5 }), &[x]);
    let x =
        g.conv("wide", x, Conv2d { dilation: 2, ..Conv2d::new(8, 20, 3).padding(Padding::Same) });
    check(&finish(g, x), [32, 20]);
}

#[test]
fn a_head_behind_the_features_is_compiled_with_them() {
    let (mut g, x) = start("head");
    let x = g.layer("pool", Op::GlobalAvgPool, &[x]);
    let x = g.linear("fc1", x, 8, 30);
    let x = g.activation("fc1.act", x, RELU);
    let x = g.linear("fc2", x, 30, 5);
    check(&g.finish(x), [16, 16]);
}

/// What a network gives where its frozen part ends.
/// Squeeze and excitation, attention between maps, and groups with two outputs each.
#[test]
fn a_fastvit_is_computed() {
    let small = FastVit { mlp: 2, ..FastVit::mobileclip([1, 1, 1, 2], [8, 16, 32, 64]) };
    let graph = small.projected("small", 10);
    // Attention on random weights is nearly all on one position.
    check_within(&graph, [64, 64], [1e-5, 6e-2]);
    check_within(&graph, [75, 96], [1e-5, 6e-2]);
    // ReLU directly after it, and a map as the output.
    let (mut g, x) = start("squeezed");
    let op = SqueezeExcite { channels: 8, reduced: 3 };
    let x = g.layer("se", Op::SqueezeExcite(op), &[x]);
    let x = g.activation("act", x, Activation::Relu);
    let y = g.layer("again", Op::SqueezeExcite(op), &[x]);
    check(&finish(g, y), [13, 9]);
}

#[test]
fn what_cannot_follow_squeeze_and_excitation_is_named() {
    let (mut g, x) = start("squeezed");
    let op = SqueezeExcite { channels: 8, reduced: 3 };
    let x = g.layer("se", Op::SqueezeExcite(op), &[x]);
    let x = g.batch_norm("norm", x, 8, 1e-5);
    let error = refusal(&finish(g, x));
    assert!(error.contains("'norm'") && error.contains("follow a convolution"), "{error}");
}

/// Tokens with no learned one before them, pooled by attention, and with several.
#[test]
fn tokens_are_pooled_by_attention_or_follow_registers() {
    for prefix in [0, 1, 5] {
        for activation in [Activation::Gelu, Activation::GeluTanh] {
            let (mut g, input) = GraphBuilder::pictures("tokens", 3);
            let small = VisionTransformer::new(32, 8, [24, 2, 3]);
            let x = VisionTransformer { prefix, activation, ..small }.add(&mut g, input);
            let graph = g.finish(x);
            check(&graph, [32, 32]);
            // Another grid, filled up with zeros.
            check(&graph, [27, 44]);
        }
    }
}

#[test]
fn a_plan_may_end_with_maps_or_tokens() {
    let (g, x) = start("map");
    check(&g.finish(x), [15, 18]);
    for (graph, layer) in [
        (networks::efficientnet_lite0(10), "blocks.1.0.bn3"),
        (networks::resnet18(10), "layer2.1.act2"),
        (networks::dinov2_small(0), "blocks.1.norm1"),
    ] {
        let cut = graph.nodes().iter().position(|node| node.name == layer).unwrap();
        let part = graph.up_to(cut);
        let plan = check(&part, [56, 70]);
        // Pictures do not depend on those beside them.
        let pixels = pixels(5 * plan.picture_len());
        let (mut all, mut one) =
            (vec![0.0; 5 * plan.output_width()], vec![0.0; plan.output_width()]);
        plan.forward(&mut plan.workspace(2), &pixels, 5, &mut all).unwrap();
        let last = &pixels[4 * plan.picture_len()..];
        plan.forward(&mut plan.workspace(1), last, 1, &mut one).unwrap();
        assert_eq!(all[4 * plan.output_width()..], one, "{layer}");
    }
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let (mut g, x) = start("pre-activation");
    let x = g.max_pool("max", x, MaxPool { kernel: 2, stride: 2, padding: Padding::Symmetric(0) });
    let x = g.batch_norm("lonely", x, 8, 1e-5);
    let message = refusal(&finish(g, x));
    assert!(message.contains("'lonely' (BatchNorm)"), "{message}");

    let (mut g, x) = start("double");
    let x = g.layer("twice", Op::Add, &[x, x]);
    let message = refusal(&finish(g, x));
    assert!(message.contains("'twice' (Add)"), "{message}");

    let (mut g, input) = GraphBuilder::pictures("no convolution", 3);
    let x =
        g.max_pool("max", input, MaxPool { kernel: 2, stride: 2, padding: Padding::Symmetric(0) });
    let message = refusal(&finish(g, x));
    assert!(message.contains("'max' (MaxPool)") && message.contains("pixels"), "{message}");

    let (mut g, input) = GraphBuilder::pictures("dilated stem", 3);
    let x = g.conv("stem", input, Conv2d { dilation: 2, ..Conv2d::new(3, 8, 3) });
    let error = compile(&finish(g, x), [16, 16]).unwrap_err();
    assert!(matches!(&error, PlanError::Layer { layer, .. } if layer == "stem"), "{error}");
}

#[test]
fn wrong_calls_are_refused() {
    let (g, x) = start("plain");
    let graph = finish(g, x);
    let weights = Weights::seeded(&graph);
    let options = PlanOptions::new([16, 16], [0.4; 3], [0.3; 3]);
    let plan = FrozenPlan::compile(&graph, &weights, &options).unwrap();
    let mut workspace = plan.workspace(2);
    let pixels = vec![0; 2 * plan.picture_len()];
    let mut out = vec![0.0; 16];
    assert!(plan.forward(&mut workspace, &pixels, 2, &mut out).is_ok());
    assert!(plan.forward(&mut workspace, &[], 0, &mut []).is_ok());
    let error = plan.forward(&mut workspace, &pixels[1..], 2, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "pixels holds 1535 values, expected 1536 for 2 pictures");
    let error = plan.forward(&mut workspace, &pixels, 2, &mut out[1..]).unwrap_err();
    assert_eq!(error.to_string(), "output holds 15 values, expected 16 for 2 pictures");
    let other = FrozenPlan::compile(&graph, &weights, &options).unwrap();
    let error = other.forward(&mut workspace, &pixels, 2, &mut out).unwrap_err();
    assert!(matches!(error, PlanError::ForeignWorkspace));

    let with = |change: fn(&mut PlanOptions)| {
        let mut options = options.clone();
        change(&mut options);
        FrozenPlan::compile(&graph, &weights, &options).unwrap_err()
    };
    assert!(matches!(with(|o| o.group = 0), PlanError::Options(_)));
    assert!(matches!(with(|o| o.std = vec![0.0; 3]), PlanError::Layer { .. }));
    assert!(matches!(with(|o| o.mean = vec![0.5]), PlanError::Layer { .. }));
    assert!(matches!(with(|o| o.size = [1, 1]), PlanError::Graph(_)));
    if Kernels::Avx512.resolve().is_err() {
        assert!(matches!(with(|o| o.kernels = Kernels::Avx512), PlanError::Kernels(_)));
    }
    let error = FrozenPlan::compile(&graph, &Weights::new(), &options).unwrap_err();
    assert!(error.to_string().contains("stem.weight"), "{error}");
    assert!("f8".parse::<Precision>().is_err());
    for precision in ["f16", "tf32"] {
        let precision = precision.parse::<Precision>().unwrap();
        let options = options.clone().precision(precision);
        let error = FrozenPlan::compile(&graph, &weights, &options).unwrap_err().to_string();
        assert!(error.contains("the CPU does not compute in"), "{error}");
    }
    assert_eq!("bf16".parse::<Precision>().unwrap(), Precision::Bf16);
}
