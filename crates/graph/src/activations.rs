//! The memory of a network's activations, and their receptive fields.

use serde::Serialize;

use crate::{Graph, Node, Shape, op::View};

/// Memory for the activations of a batch in 32-bit floats. Weights, gradients of weights and
/// optimizer states come on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ActivationMemory {
    /// The batch size.
    pub batch: usize,
    /// The peak memory of a forward pass that drops every map after its last use, in bytes.
    pub inference_bytes: u64,
    /// What must be kept for the backward pass: the outputs of all layers that gradients flow
    /// through, and, below them, the largest set of maps that a frozen part needs at one time, in
    /// bytes.
    pub training_bytes: u64,
}

impl ActivationMemory {
    /// For one picture.
    pub(crate) fn of(
        backbone: (&Graph, &[Shape]),
        backbone_trainable: bool,
        head: Option<(&Graph, &[Shape])>,
    ) -> Self {
        let head_outputs = head.map_or(0, |(_, shapes)| all(shapes));
        let peak = peak(backbone.0, backbone.1);
        let head_peak = head.map_or(0, |(graph, shapes)| self::peak(graph, shapes));
        let kept = if backbone_trainable { kept(backbone.0, backbone.1) } else { peak };
        Self {
            batch: 1,
            inference_bytes: 4 * peak.max(head_peak),
            training_bytes: 4 * (kept + head_outputs),
        }
    }

    /// For this many pictures at once.
    #[must_use]
    pub fn at_batch(self, batch: usize) -> Self {
        let scaled = |bytes: u64| bytes / self.batch.max(1) as u64 * batch as u64;
        Self {
            batch,
            inference_bytes: scaled(self.inference_bytes),
            training_bytes: scaled(self.training_bytes),
        }
    }
}

fn all(shapes: &[Shape]) -> u64 {
    shapes.iter().map(|shape| shape.elements() as u64).sum()
}

/// The outputs of all layers, and their intermediate results.
fn kept(graph: &Graph, shapes: &[Shape]) -> u64 {
    all(shapes) + graph.nodes().iter().map(|node| hidden(node, shapes)).sum::<u64>()
}

/// Numbers that a layer computes besides its output.
fn hidden(node: &Node, shapes: &[Shape]) -> u64 {
    let inputs: Vec<Shape> = node.inputs.iter().map(|&input| shapes[input]).collect();
    node.op.operation().hidden(&inputs) as u64
}

/// The most values that exist at one time, in the order of the layers.
fn peak(graph: &Graph, shapes: &[Shape]) -> u64 {
    let nodes = graph.nodes();
    let mut last_use: Vec<usize> = (0..nodes.len()).collect();
    for (id, node) in nodes.iter().enumerate() {
        for &input in &node.inputs {
            last_use[input] = id;
        }
    }
    last_use[graph.output()] = nodes.len();
    let (mut live, mut most) = (0u64, 0u64);
    for id in 0..nodes.len() {
        live += shapes[id].elements() as u64;
        most = most.max(live + hidden(&nodes[id], shapes));
        for earlier in (0..=id).filter(|&earlier| last_use[earlier] == id) {
            live -= shapes[earlier].elements() as u64;
        }
    }
    most
}

/// For each layer, the side of the square of pixels that one of its values depends on; none after a
/// pooling over all positions, where it is the whole picture. Padding counts as part of the
/// picture, as is usual.
pub(crate) fn receptive_fields(graph: &Graph) -> Vec<Option<usize>> {
    // Side, and the distance between neighbours in pixels.
    let mut fields: Vec<Option<(usize, usize)>> = Vec::new();
    for node in graph.nodes() {
        let before = node.inputs.iter().map(|&i| fields[i]);
        // A sum sees what the larger of its inputs sees.
        let before = before.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).unwrap_or(Some((1, 1)));
        fields.push(match node.op.operation().view() {
            View::Window { kernel, stride, dilation } => {
                before.map(|(side, step)| (side + (kernel - 1) * dilation * step, step * stride))
            }
            View::Everything => None,
            View::Position => before,
        });
    }
    fields.into_iter().map(|field| field.map(|(side, _)| side)).collect()
}
