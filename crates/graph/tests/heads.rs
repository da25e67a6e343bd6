//! The heads: their layers, parameters and shapes.
#![allow(clippy::unwrap_used)] // helpers of tests

use taper_graph::{
    Dropout, Graph, Op, Shape, Weights, fuse,
    heads::{cosine, linear, logistic, mlp, tutorial, with_dropout},
};

/// The counts of `semantics.md`: 8,192 + 1,049,088 + 2,048 + 1,539, of which 1,055,747 are
/// trainable.
#[test]
fn the_tutorials_head_has_its_published_parameters() {
    let per_layer = |graph: &Graph| {
        let mut counts = vec![0; graph.nodes().len()];
        for p in graph.parameters() {
            counts[p.node] += p.shape.iter().product::<usize>();
        }
        counts.into_iter().filter(|c| *c > 0).collect::<Vec<_>>()
    };
    let resnet = tutorial(2048, 3);
    assert_eq!(per_layer(&resnet), [8_192, 1_049_088, 2_048, 1_539]);
    assert_eq!(resnet.learnable_parameters(), 1_055_747);
    assert_eq!(resnet.learnable_parameters() + resnet.running_statistics(), 1_060_867);
    let lite = tutorial(1280, 3);
    assert_eq!(per_layer(&lite), [5_120, 655_872, 2_048, 1_539]);
    assert_eq!(lite.learnable_parameters(), 660_995);
}

#[test]
fn dropout_is_changed_or_added() {
    let dropouts = |graph: &Graph| -> Vec<f32> {
        let p = graph
            .nodes()
            .iter()
            .filter_map(|n| if let Op::Dropout(Dropout { p }) = n.op { Some(p) } else { None });
        p.collect()
    };
    assert_eq!(dropouts(&with_dropout(&tutorial(8, 3), 0.2)), [0.2, 0.2]);
    assert_eq!(dropouts(&with_dropout(&mlp(8, &[4], 0.5, 3), 0.0)), [0.0]);
    let head = with_dropout(&linear(8, 3), 0.3);
    assert_eq!(dropouts(&head), [0.3]);
    let names: Vec<&str> = head.nodes().iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["features", "drop", "fc"]);
    let shapes = head.shapes(0, 0).unwrap();
    assert_eq!(shapes[head.output()], Shape::Vector(3));
    assert_eq!(with_dropout(&linear(8, 3), 0.0), linear(8, 3));
}

#[test]
fn mlp_layers_follow_the_list() {
    let g = mlp(1280, &[512, 256], 0.2, 7);
    let shapes = g.shapes(0, 0).unwrap();
    assert_eq!(shapes[g.output()], Shape::Vector(7));
    assert_eq!(linear(4, 2).learnable_parameters(), 10);
    let expected = 1280 * 512 + 512 + 512 * 256 + 256 + 256 * 7 + 7;
    assert_eq!(g.learnable_parameters(), expected);
}

#[test]
fn heads_on_directions_have_their_parameters_and_are_not_compiled() {
    for (head, parameters) in [(logistic(8, 3), 27), (cosine(8, 3), 25)] {
        assert_eq!(head.learnable_parameters(), parameters);
        assert_eq!(head.shapes(0, 0).unwrap()[head.output()], Shape::Vector(3));
        let error = fuse(&head, &Weights::seeded(&head)).unwrap_err().to_string();
        assert!(error.contains("it is part of heads"), "{error}");
    }
}
