//! Drawings of networks: which boxes they have, and what is in them.
#![allow(clippy::unwrap_used)] // helpers of tests

use taper_graph::{Graph, diagram, heads};
use taper_networks as networks;

fn drawn(graph: &Graph, head: Option<&Graph>) -> String {
    diagram(graph, head.is_none(), head, 224, 224).unwrap()
}

/// What stands between two markers, wherever they are.
fn between<'a>(svg: &'a str, before: &'a str, after: &'a str) -> Vec<&'a str> {
    svg.split(before).skip(1).map(|rest| rest.split(after).next().unwrap()).collect()
}

/// The name of each box, and how many equal blocks it stands for.
fn block_names(graph: &Graph) -> Vec<(String, usize)> {
    let svg = drawn(graph, None);
    let names = between(&svg, "\"middle\" font-weight=\"bold\">", "</text>");
    let named = |text: &str| match text.split_once("  × ") {
        Some((name, times)) => (name.to_owned(), times.parse().unwrap()),
        None => (text.to_owned(), 1),
    };
    names.into_iter().map(named).collect()
}

#[test]
fn residual_blocks_are_boxes_and_equal_ones_are_counted() {
    let names = block_names(&networks::resnet50(1000));
    let expected = [
        ("input", 1),
        ("conv1", 1),
        ("maxpool", 1),
        ("layer1.0", 1),
        ("layer1.1", 2),
        ("layer2.0", 1),
        ("layer2.1", 3),
        ("layer3.0", 1),
        ("layer3.1", 5),
        ("layer4.0", 1),
        ("layer4.1", 2),
        ("global_pool", 1),
        ("fc", 1),
    ];
    assert_eq!(names, expected.map(|(name, times)| (name.to_owned(), times)));
    assert_eq!(block_names(&networks::vgg16(1000))[1].0, "features.0");
}

#[test]
fn the_blocks_of_a_transformer_are_counted() {
    let names = block_names(&networks::dinov2_small(0));
    let expected =
        ["input", "patch_embed.proj", "tokens", "blocks.0", "class_token"].map(str::to_owned);
    assert_eq!(names.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(names[3].1, 12);
}

#[test]
fn every_parameter_is_in_a_box_and_the_picture_is_xml() {
    for graph in [networks::vgg11_bn(10), networks::efficientnet_lite4(10), networks::resnet18(10)]
    {
        let svg = drawn(&graph, None);
        let counts = between(&svg, "font-size=\"11\">", " parameters</text>");
        let numbers = counts.iter().filter_map(|text| text.replace(',', "").parse::<usize>().ok());
        assert_eq!(numbers.sum::<usize>(), graph.learnable_parameters(), "{}", graph.name());
    }
    let backbone = networks::resnet18(10).without_classifier();
    let svg = drawn(&backbone, Some(&heads::tutorial(512, 3)));
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for word in ["layer4.1", "7 × 7 × 512", "head.fc1", "dropout 0.5", "trained"] {
        assert!(svg.contains(word), "{word}");
    }
    let opened = svg.matches("<text ").count();
    assert_eq!(opened, svg.matches("</text>").count());
}
