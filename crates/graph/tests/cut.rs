//! Networks that end at an earlier layer.

use taper_graph::{Op, Shape};
use taper_networks as networks;

#[test]
fn a_cut_at_any_layer_of_any_kind_gives_a_vector() {
    let graph = networks::resnet18(10);
    let shapes = graph.shapes(64, 64).unwrap();
    for (node, shape) in graph.nodes().iter().zip(shapes).skip(1) {
        let cut = graph.cut(&node.name).unwrap();
        let width = shape.channels();
        assert_eq!(cut.feature_width(), width, "{}", node.name);
        assert_eq!(cut.shapes(64, 64).unwrap()[cut.output()], Shape::Vector(width));
        assert_eq!(cut.features(), cut.output());
    }
    let whole = graph.cut("global_pool").unwrap();
    assert_eq!(whole, graph.without_classifier());
    assert!(graph.cut("input").unwrap_err().to_string().contains("cut later"));
}

#[test]
fn transformers_are_cut_like_any_network() {
    let graph = networks::vit_base(10);
    let shapes = graph.shapes(224, 224).unwrap();
    for (node, shape) in graph.nodes().iter().zip(shapes).skip(1) {
        let cut = graph.cut(&node.name).unwrap();
        let width = shape.channels();
        assert_eq!(cut.shapes(224, 224).unwrap()[cut.output()], Shape::Vector(width));
    }
    let cut = graph.cut("blocks.5").unwrap();
    assert_eq!(cut, graph.cut("blocks.5.add2").unwrap());
    assert_eq!((cut.feature_width(), cut.total_stride()), (768, 16));
    let names: Vec<&str> = cut.nodes().iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names[names.len() - 2..], ["blocks.5.add2", "cut_pool"]);
    assert_eq!(cut.nodes()[cut.output()].op, Op::ClassToken);
}

#[test]
fn a_group_stands_for_its_last_layer() {
    let graph = networks::resnet50(10);
    assert_eq!(graph.cut("layer3").unwrap(), graph.cut("layer3.5.act3").unwrap());
    assert_eq!(graph.cut("layer4.0").unwrap(), graph.cut("layer4.0.act3").unwrap());
    // Later layers are removed; layers on another branch stay.
    let cut = graph.cut("layer2.0.add").unwrap();
    let names: Vec<&str> = cut.nodes().iter().map(|n| n.name.as_str()).collect();
    assert!(names.contains(&"layer2.0.downsample.1") && !names.contains(&"layer2.1.conv1"));
    // VGG's features are followed by two layers of 4096.
    let vgg = networks::vgg16(10).cut("pre_logits.act2").unwrap();
    assert_eq!(vgg.feature_width(), 4096);
    assert_eq!(vgg.last_feature_map(), vgg.output() - 1);
}

#[test]
fn an_unknown_layer_gets_the_nearest_names() {
    let graph = networks::efficientnet_lite0(10);
    let error = graph.cut("block.4").unwrap_err().to_string();
    assert!(error.contains("'block.4'") && error.contains("blocks.4"), "{error}");
    assert!(error.contains("the summary of the network"), "{error}");
}
