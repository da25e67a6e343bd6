//! Which tokens of a sequence are read.

use taper_graph::{FusedLayer, FusedOp, NodeId, Shape};

/// For each layer that produces tokens, whether only the first of them is read, so that the others
/// need not be computed: this is the case after the last attention of a vision transformer.
pub(crate) fn only_first(layers: &[FusedLayer], shapes: &[Shape], output: NodeId) -> Vec<bool> {
    let mut all_read = vec![false; shapes.len()];
    all_read[output] = true;
    let mut only_first = vec![false; shapes.len()];
    for layer in layers.iter().rev() {
        let all = all_read[layer.end];
        let is_tokens = matches!(shapes[layer.end], Shape::Tokens { .. });
        // Whether all of the input is read, and whether the first token can be computed alone.
        let (reads_all, divides) = match layer.op {
            FusedOp::ClassToken => (false, false),
            FusedOp::Linear { .. } | FusedOp::LayerNorm { .. } => (all, true),
            FusedOp::Attention(_) => (true, true),
            FusedOp::Conv2d(_)
            | FusedOp::MaxPool(_)
            | FusedOp::GlobalAvgPool
            | FusedOp::PatchTokens(_)
            | FusedOp::SqueezeExcite(_)
            | FusedOp::AttentionPool(_) => (true, false),
        };
        only_first[layer.end] = is_tokens && divides && !all;
        all_read[layer.input] |= reads_all;
        if let Some(residual) = layer.residual {
            all_read[residual] |= all;
        }
    }
    only_first
}
