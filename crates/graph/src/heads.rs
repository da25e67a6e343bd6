//! The heads for a backbone: from its features to one logit per class.

use crate::{Activation, BatchNorm, Dropout, Graph, GraphBuilder, Node, NodeId, Op};

/// One fully connected layer from the features to the logits.
pub fn linear(width: usize, classes: usize) -> Graph {
    let (mut g, x) = GraphBuilder::features("linear", width);
    g.linear("fc", x, width, classes);
    g.finish(x)
}

/// The tutorial's head on pooled features: BatchNorm → Dropout 0.5 → Dense 512 ReLU → BatchNorm →
/// Dropout 0.5 → Dense K. The softmax is part of the loss and of the prediction.
///
/// BatchNorm is Keras's (`keras/src/layers/normalization/batch_normalization.py`): momentum 0.99, ε
/// 1e-3, biased variance in the moving average.
pub fn tutorial(width: usize, classes: usize) -> Graph {
    let (mut g, x) = GraphBuilder::features("tutorial", width);
    let x = keras_batch_norm(&mut g, "bn1", x, width);
    let x = g.layer("drop1", Op::Dropout(Dropout { p: 0.5 }), &[x]);
    let x = g.linear("fc1", x, width, 512);
    let x = g.activation("act1", x, Activation::Relu);
    let x = keras_batch_norm(&mut g, "bn2", x, 512);
    let x = g.layer("drop2", Op::Dropout(Dropout { p: 0.5 }), &[x]);
    g.linear("fc2", x, 512, classes);
    g.finish(0)
}

/// A multi-layer perceptron: for each width a fully connected layer, ReLU and dropout, then the
/// logits.
pub fn mlp(width: usize, hidden: &[usize], dropout: f32, classes: usize) -> Graph {
    let (mut g, mut x) = GraphBuilder::features("mlp", width);
    let mut before = width;
    for (i, &units) in hidden.iter().enumerate() {
        let n = i + 1;
        x = g.linear(format!("fc{n}"), x, before, units);
        x = g.activation(format!("act{n}"), x, Activation::Relu);
        if dropout > 0.0 {
            x = g.layer(format!("drop{n}"), Op::Dropout(Dropout { p: dropout }), &[x]);
        }
        before = units;
    }
    g.linear(format!("fc{}", hidden.len() + 1), x, before, classes);
    g.finish(0)
}

/// The head with a different dropout probability: in all of its dropout layers, or, if it has none,
/// in a new one before its last layer. 0 means no dropout.
pub fn with_dropout(head: &Graph, p: f32) -> Graph {
    let mut head = head.clone();
    let mut changed = false;
    for node in &mut head.nodes {
        if let Op::Dropout(dropout) = &mut node.op {
            dropout.p = p;
            changed = true;
        }
    }
    if changed || p == 0.0 {
        return head;
    }
    let last = head.nodes.len() - 1;
    let inputs = std::mem::replace(&mut head.nodes[last].inputs, vec![last]);
    let dropout = Node { name: "drop".into(), op: Op::Dropout(Dropout { p }), inputs };
    head.nodes.insert(last, dropout);
    head.output = last + 1;
    head
}

fn keras_batch_norm(g: &mut GraphBuilder, name: &str, input: NodeId, channels: usize) -> NodeId {
    let norm = BatchNorm { channels, eps: 1e-3, momentum: 1.0 - 0.99, unbiased: false };
    g.layer(name, Op::BatchNorm(norm), &[input])
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(shapes[head.output()], crate::Shape::Vector(3));
        assert_eq!(with_dropout(&linear(8, 3), 0.0), linear(8, 3));
    }

    #[test]
    fn mlp_layers_follow_the_list() {
        let g = mlp(1280, &[512, 256], 0.2, 7);
        let shapes = g.shapes(0, 0).unwrap();
        assert_eq!(shapes[g.output()], crate::Shape::Vector(7));
        assert_eq!(linear(4, 2).learnable_parameters(), 10);
        let expected = 1280 * 512 + 512 + 512 * 256 + 256 + 256 * 7 + 7;
        assert_eq!(g.learnable_parameters(), expected);
    }
}
