//! Summaries of networks against published figures.
#![allow(clippy::unwrap_used)] // helpers of tests

use taper_graph::{Graph, Summary, heads};
use taper_networks as networks;

#[test]
fn published_parameters_and_cost() {
    let counted = |g: &Graph| g.learnable_parameters();
    assert_eq!(counted(&networks::resnet50(1000)), 25_557_032);
    assert_eq!(counted(&networks::vgg16(1000)), 138_357_544);
    assert_eq!(counted(&networks::efficientnet_lite0(1000)), 4_652_008);
    // semantics.md: Keras's 23,587,712 are torchvision's with running statistics plus 26,560
    // biases.
    let backbone = networks::resnet50(1000).without_classifier();
    let with_statistics = backbone.learnable_parameters() + backbone.running_statistics();
    assert_eq!(with_statistics + 26_560, 23_587_712);
    let summary = Summary::new(&backbone, false, None, 256, 256).unwrap();
    assert!((summary.flops as f64 / 1e9 - 10.7).abs() < 0.1, "{}", summary.flops);
    assert_eq!(summary.last_feature_map, [8, 8, 2048]);
    let vgg = networks::vgg16(1000).without_classifier();
    let summary = Summary::new(&vgg, false, None, 224, 224).unwrap();
    assert!((summary.flops as f64 / 1e9 - 30.7).abs() < 0.1, "{}", summary.flops);
}

#[test]
fn feature_maps_follow_the_total_stride() {
    for graph in [
        networks::resnet50(3).without_classifier(),
        networks::vgg16(3).without_classifier(),
        networks::efficientnet_lite0(3).without_classifier(),
    ] {
        assert_eq!(graph.total_stride(), 32, "{}", graph.name());
        for (input, side) in [(256, 8), (224, 7), (64, 2), (32, 1)] {
            let summary = Summary::new(&graph, false, None, input, input).unwrap();
            assert_eq!(summary.last_feature_map[..2], [side, side], "{}", graph.name());
            assert_eq!(summary.warnings.is_empty(), side >= 4, "{}", graph.name());
        }
        let error = graph.shapes(16, 16).unwrap_err().to_string();
        assert!(error.contains("at least 32"), "{error}");
    }
}

#[test]
fn the_table_names_frozen_and_trained_layers() {
    let backbone = networks::efficientnet_lite0(1000).without_classifier();
    let head = heads::tutorial(backbone.feature_width(), 3);
    let summary = Summary::new(&backbone, false, Some(&head), 224, 224).unwrap();
    assert_eq!(summary.parameters.trainable, 660_995);
    assert_eq!(summary.parameters.non_trainable, 4_652_008 - 1_281_000);
    let table = summary.to_string();
    assert!(table.contains("head.fc1"), "{table}");
    assert!(table.contains("frozen"), "{table}");
    assert!(table.contains("655,872"), "{table}");
}

#[test]
fn vgg_classifier_needs_224() {
    let graph = networks::vgg16(1000);
    let error = graph.shapes(192, 192).unwrap_err().to_string();
    assert!(error.contains("pre_logits.fc1") && error.contains("at least 224 × 224"), "{error}");
    assert!(graph.shapes(256, 256).is_ok());
    // For a network with its classifier, these are still the figures of the last feature map.
    let summary = Summary::new(&graph, false, None, 224, 224).unwrap();
    assert_eq!(summary.receptive_field, Some(212));
}

#[test]
fn the_patches_of_a_transformer_are_its_last_feature_map() {
    let graph = networks::vit_base(1000);
    let at = |side| Summary::new(&graph, false, None, side, side).unwrap();
    let summary = at(224);
    assert_eq!(
        (&summary.last_feature_map[..], summary.receptive_field),
        (&[14, 14, 768][..], None)
    );
    assert!(summary.warnings.is_empty() && at(50).warnings.is_empty());
    assert!(at(48).warnings[0].contains("at least 64 × 64"), "{:?}", at(48).warnings);
}

/// The receptive field of the last feature map.
fn last_field(graph: &Graph) -> usize {
    let summary = Summary::new(graph, false, None, 224, 224).unwrap();
    summary.receptive_field.unwrap()
}

/// Araujo et al., "Computing receptive fields of convolutional neural networks", Distill 2019:
/// VGG-16 212, MobileNetV2 491. For ResNet it has the variant with strides in other convolutions
/// (483). By hand for this one: 7, 11 after the pooling; 3 × 8 → 35; 8 + 3 × 16 → 91; 16 + 5 × 32 →
/// 267; 32 + 2 × 64 → 427.
#[test]
fn receptive_fields_are_the_published_ones() {
    assert_eq!(last_field(&networks::vgg16(10)), 212);
    assert_eq!(last_field(&networks::mobilenet_v2(10)), 491);
    assert_eq!(last_field(&networks::resnet50(10)), 427);
    let graph = networks::resnet18(10);
    let layers = Summary::new(&graph, false, None, 224, 224).unwrap().layers;
    let field = |id: usize| layers[id].receptive_field;
    assert_eq!((field(0), field(1), field(graph.features())), (Some(1), Some(7), None));
}

#[test]
fn memory_is_what_must_exist_at_once() {
    let memory_of = |graph: &Graph, trainable: bool, head: Option<&Graph>| {
        Summary::new(graph, trainable, head, 224, 224).unwrap().activations
    };
    let graph = networks::vgg16(10).without_classifier();
    let memory = memory_of(&graph, true, None);
    // Two maps of 224 × 224 × 64: input and output of the first activation.
    assert_eq!(memory.inference_bytes, 4 * 2 * 224 * 224 * 64);
    let shapes = graph.shapes(224, 224).unwrap();
    let sum: u64 = shapes.iter().map(|s| s.elements() as u64).sum();
    assert_eq!(memory.training_bytes, 4 * sum);
    assert_eq!(memory.at_batch(8).training_bytes, 32 * sum);
    assert_eq!(memory.at_batch(8).at_batch(2), memory.at_batch(2));

    // Twelve blocks, each with 18 layers' tokens and two sets of scores; before them the patches
    // and the tokens, after them the class token and its norm.
    let of_vit = memory_of(&networks::vit_base(10).without_classifier(), true, None);
    let blocks = 12 * (18 * 197 * 768 + 2 * 12 * 197 * 197);
    let around = (196 + 197 + 2) * 768 + 3 * 224 * 224;
    assert_eq!(of_vit.training_bytes, 4 * (blocks + around));
    assert!(of_vit.training_bytes > 10 * of_vit.inference_bytes);

    let frozen = memory_of(&graph, false, Some(&heads::linear(512, 3)));
    assert_eq!(frozen.inference_bytes, memory.inference_bytes);
    assert_eq!(frozen.training_bytes, memory.inference_bytes + 4 * (512 + 3));
}
