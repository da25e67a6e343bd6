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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks;

    fn last_field(graph: &Graph) -> usize {
        receptive_fields(graph)[graph.last_feature_map()].unwrap()
    }

    /// Araujo et al., "Computing receptive fields of convolutional neural networks", Distill 2019:
    /// VGG-16 212, MobileNetV2 491. For ResNet it has the variant with strides in other
    /// convolutions (483). By hand for this one: 7, 11 after the pooling; 3 × 8 → 35; 8 + 3 × 16 →
    /// 91; 16 + 5 × 32 → 267; 32 + 2 × 64 → 427.
    #[test]
    fn receptive_fields_are_the_published_ones() {
        assert_eq!(last_field(&networks::vgg16(10)), 212);
        assert_eq!(last_field(&networks::mobilenet_v2(10)), 491);
        assert_eq!(last_field(&networks::resnet50(10)), 427);
        let graph = networks::resnet18(10);
        let fields = receptive_fields(&graph);
        assert_eq!((fields[0], fields[1], fields[graph.features()]), (Some(1), Some(7), None));
    }

    #[test]
    fn memory_is_what_must_exist_at_once() {
        let graph = networks::vgg16(10).without_classifier();
        let shapes = graph.shapes(224, 224).unwrap();
        let memory = ActivationMemory::of((&graph, &shapes), true, None);
        // Two maps of 224 × 224 × 64: input and output of the first activation.
        assert_eq!(memory.inference_bytes, 4 * 2 * 224 * 224 * 64);
        let sum: u64 = shapes.iter().map(|s| s.elements() as u64).sum();
        assert_eq!(memory.training_bytes, 4 * sum);
        assert_eq!(memory.at_batch(8).training_bytes, 32 * sum);
        assert_eq!(memory.at_batch(8).at_batch(2), memory.at_batch(2));

        // Twelve blocks, each with 18 layers' tokens and two sets of scores; before them the
        // patches and the tokens, after them the class token and its norm.
        let vit = networks::vit_base(10).without_classifier();
        let vit_shapes = vit.shapes(224, 224).unwrap();
        let of_vit = ActivationMemory::of((&vit, &vit_shapes), true, None);
        let blocks = 12 * (18 * 197 * 768 + 2 * 12 * 197 * 197);
        let around = (196 + 197 + 2) * 768 + 3 * 224 * 224;
        assert_eq!(of_vit.training_bytes, 4 * (blocks + around));
        assert!(of_vit.training_bytes > 10 * of_vit.inference_bytes);

        let head = crate::heads::linear(512, 3);
        let head_shapes = head.shapes(0, 0).unwrap();
        let frozen = ActivationMemory::of((&graph, &shapes), false, Some((&head, &head_shapes)));
        assert_eq!(frozen.inference_bytes, memory.inference_bytes);
        assert_eq!(frozen.training_bytes, memory.inference_bytes + 4 * (512 + 3));
    }
}
