use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::{FusedOp, Shape};

/// Multi-head self-attention between its two linear layers: softmax(Q Kᵀ / √d) V for each head,
/// from tokens that hold the queries, keys and values of all heads in sequence (timm's `attn.qkv`).
/// Positions of a map are its tokens, row by row.
///
/// Vaswani et al., *Attention is all you need*, 2017; `timm/layers/attention.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// Width of the output tokens; the input tokens are three times as wide.
    pub width: usize,
    /// Heads; the width is a multiple.
    pub heads: usize,
}

impl Operation for Attention {
    fn kind(&self) -> &'static str {
        "Attention"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        let &Self { width, heads } = self;
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(format!("{heads} heads cannot share tokens of {width}"));
        }
        match inputs[0] {
            Shape::Tokens { count, width: found } if found == 3 * width => {
                Ok(Shape::Tokens { count, width })
            }
            Shape::Map { height, width: columns, channels } if channels == 3 * width => {
                Ok(Shape::Map { height, width: columns, channels: width })
            }
            other => Err(format!("needs tokens of {}, gets {}", 3 * width, other.described())),
        }
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.width
    }

    fn form(&self, inputs: &[Form]) -> Form {
        inputs[0]
    }

    fn tensors(&self, _layer: &str) -> Vec<Tensor> {
        Vec::new()
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        let count = output.positions();
        // Two products of all tokens with all; the softmax is negligible in comparison.
        4 * (count * count * self.width) as u64
    }

    fn hidden(&self, inputs: &[Shape]) -> usize {
        // Scores of every head before and after their softmax.
        2 * self.heads * inputs[0].positions().pow(2)
    }

    fn view(&self) -> View {
        View::Everything
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some(format!("attention of {} heads", self.heads))
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::Step { op: FusedOp::Attention(*self), channels: 0, bias: false, open: false }
    }
}
