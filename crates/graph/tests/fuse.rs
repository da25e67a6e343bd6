//! What becomes of layers in a frozen network.
#![allow(clippy::unwrap_used)] // helpers of tests

use taper_graph::{
    Activation, Conv2d, FusedLayer, FusedOp, GraphBuilder, Op, Padding, WeightSource, Weights, fuse,
};
use taper_networks as networks;

#[test]
fn layer_scale_and_gelu_go_into_convolutions_and_layer_norms_stand_alone() {
    let graph = networks::convnext_atto(10).without_classifier();
    let weights = Weights::seeded(&graph);
    let layers = fuse(&graph, &weights).unwrap();
    let kinds = |kind: fn(&FusedOp) -> bool| layers.iter().filter(|l| kind(&l.op)).count();
    // 12 blocks of three, the stem, three between the stages.
    assert_eq!(kinds(|op| matches!(op, FusedOp::Conv2d(_))), 12 * 3 + 4);
    // 12 blocks, the stem, three between the stages, one before the classifier.
    assert_eq!(kinds(|op| matches!(op, FusedOp::LayerNorm { .. })), 12 + 5);
    assert_eq!(layers.len(), 40 + 17 + 1);
    let gelu = |l: &&FusedLayer| l.activation == Some(Activation::Gelu);
    assert_eq!(layers.iter().filter(gelu).count(), 12);

    let named = |name: &str| layers.iter().find(|l| graph.nodes()[l.node].name == name);
    let last = named("stages.0.blocks.0.mlp.fc2").unwrap();
    assert!(last.residual.is_some() && last.activation.is_none());
    let (folded, shift) = last.folded(&graph, &weights).unwrap();
    let read = |name: &str| weights.values(&format!("stages.0.blocks.0.{name}")).unwrap();
    let (weight, bias, gamma) = (read("mlp.fc2.weight"), read("mlp.fc2.bias"), read("gamma"));
    let per_channel = weight.len() / gamma.len();
    for (i, value) in folded.iter().enumerate() {
        let expected = f64::from(weight[i]) * f64::from(gamma[i / per_channel]);
        assert_eq!(*value, expected as f32);
    }
    assert_eq!(shift[1], (f64::from(bias[1]) * f64::from(gamma[1])) as f32);
    let norm = named("stages.0.blocks.0.norm").unwrap();
    let (scale, bias) = norm.folded(&graph, &weights).unwrap();
    assert_eq!((scale.as_slice(), bias.as_slice()), (&*read("norm.weight"), &*read("norm.bias")));
}

#[test]
fn a_residual_network_becomes_convolutions_and_pools() {
    let graph = networks::resnet50(10).without_classifier();
    let layers = fuse(&graph, &Weights::seeded(&graph)).unwrap();
    let kinds = |kind: fn(&FusedOp) -> bool| layers.iter().filter(|l| kind(&l.op)).count();
    assert_eq!(kinds(|op| matches!(op, FusedOp::Conv2d(_))), 53);
    assert_eq!(kinds(|op| matches!(op, FusedOp::MaxPool(_))), 1);
    assert_eq!(kinds(|op| matches!(op, FusedOp::GlobalAvgPool)), 1);
    assert_eq!(layers.len(), 55);
    // Each of the 16 blocks adds its shortcut in one convolution.
    assert_eq!(layers.iter().filter(|l| l.residual.is_some()).count(), 16);
    assert_eq!(layers.last().unwrap().end, graph.output());
    // Each step reads the output of an earlier one.
    let mut known = vec![0];
    for layer in &layers {
        assert!(known.contains(&layer.input));
        assert!(layer.residual.is_none_or(|r| known.contains(&r)));
        known.push(layer.end);
    }
}

#[test]
fn batch_norm_is_folded_into_the_weights() {
    let (mut g, input) = GraphBuilder::pictures("one", 1);
    let conv = Conv2d::new(1, 2, 1).padding(Padding::Symmetric(0)).bias();
    let x = g.conv("conv", input, conv);
    let x = g.batch_norm("norm", x, 2, 0.0);
    let x = g.activation("act", x, Activation::Relu);
    let x = g.layer("pool", Op::GlobalAvgPool, &[x]);
    let graph = g.finish(x);
    let mut weights = Weights::new();
    weights.insert("conv.weight", vec![2, 1, 1, 1], vec![3.0, 5.0]);
    weights.insert("conv.bias", vec![2], vec![1.0, 2.0]);
    weights.insert("norm.weight", vec![2], vec![2.0, 1.0]);
    weights.insert("norm.bias", vec![2], vec![0.5, 0.0]);
    weights.insert("norm.running_mean", vec![2], vec![4.0, 0.0]);
    weights.insert("norm.running_var", vec![2], vec![0.25, 4.0]);
    let layers = fuse(&graph, &weights).unwrap();
    let (weight, bias) = layers[0].folded(&graph, &weights).unwrap();
    // Scales 2 / 0.5 = 4 and 1 / 2; shifts (1 − 4) · 4 + 0.5 and (2 − 0) / 2.
    assert_eq!(weight, [12.0, 2.5]);
    assert_eq!(bias, [-11.5, 1.0]);
    assert_eq!(layers[0].activation, Some(Activation::Relu));
    assert_eq!(layers[0].fused.len(), 2);
    assert_eq!(layers[1].folded(&graph, &weights).unwrap(), (vec![], vec![]));
}

#[test]
fn what_cannot_be_fused_is_named() {
    let (mut g, input) = GraphBuilder::pictures("odd", 3);
    let x = g.batch_norm("first.norm", input, 3, 1e-5);
    let x = g.layer("pool", Op::GlobalAvgPool, &[x]);
    let graph = g.finish(x);
    let error = fuse(&graph, &Weights::seeded(&graph)).unwrap_err().to_string();
    assert!(error.contains("first.norm") && error.contains("convolution"), "{error}");
}
