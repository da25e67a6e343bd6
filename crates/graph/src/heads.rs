//! The heads for a backbone: from its features to one logit per class.

use crate::{
    Activation, BatchNorm, Cosine, Dropout, Graph, GraphBuilder, Node, NodeId, Op, UnitLength,
};

/// One fully connected layer from the features to the logits.
pub fn linear(width: usize, classes: usize) -> Graph {
    let (mut g, x) = GraphBuilder::features("linear", width);
    g.linear("fc", x, width, classes);
    g.finish(x)
}

/// Logistic regression on features of one length, 20, and a fully connected layer: it is meant to
/// be solved, not trained in steps. On rock-paper-scissors that is more accurate on new hands than
/// features as they are, or standardised ones (`docs/heads.md`).
pub fn logistic(width: usize, classes: usize) -> Graph {
    let (mut g, x) = GraphBuilder::features("logistic", width);
    let x = g.layer("unit", Op::UnitLength(UnitLength { scale: 20.0 }), &[x]);
    g.linear("fc", x, width, classes);
    g.finish(0)
}

/// What the factor of [`cosine`] starts from.
pub const COSINE_SCALE: f32 = 20.0;

/// The cosines between the features and a learned direction for each class, times a learned factor
/// (Gidaris & Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting", section 3.2).
/// The factor starts from 20, not from their 10, since it does not come far in a few epochs.
pub fn cosine(width: usize, classes: usize) -> Graph {
    let (mut g, x) = GraphBuilder::features("cosine", width);
    let cosine = Cosine { in_features: width, out_features: classes, scale: COSINE_SCALE };
    g.layer("cosine", Op::Cosine(cosine), &[x]);
    g.finish(0)
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
