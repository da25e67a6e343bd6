use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::{FusedOp, Shape};

/// Pools all tokens into one by attention: for each head, the mean of the tokens' values, weighted
/// by the softmax of their scores over the tokens.
///
/// The input tokens hold a score for each head, then the values of all heads: `heads + width`
/// numbers. With scores q · k / √d of a learned query q, this is multi-head attention pooling (Lee
/// et al., *Set Transformer*, 2019; Zhai et al., *Scaling Vision Transformers*, 2022): since q is
/// the same for all pictures, it is part of the linear layer before
/// (`timm/layers/attention_pool.py` keeps both apart).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttentionPool {
    /// Width of the output token.
    pub width: usize,
    /// Heads; the width is a multiple.
    pub heads: usize,
}

impl Operation for AttentionPool {
    fn kind(&self) -> &'static str {
        "AttentionPool"
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
            Shape::Tokens { width: found, .. } if found == heads + width => {
                Ok(Shape::Tokens { count: 1, width })
            }
            other => Err(format!("needs tokens of {}, gets {}", heads + width, other.described())),
        }
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.width
    }

    fn form(&self, _inputs: &[Form]) -> Form {
        Form::Tokens
    }

    fn tensors(&self, _layer: &str) -> Vec<Tensor> {
        Vec::new()
    }

    fn flops(&self, inputs: &[Shape], _output: Shape) -> u64 {
        // A multiply-add for each value; the softmax is negligible in comparison.
        2 * inputs[0].elements() as u64
    }

    fn hidden(&self, inputs: &[Shape]) -> usize {
        // The weights after the softmax.
        match inputs[0] {
            Shape::Tokens { count, .. } => self.heads * count,
            Shape::Map { .. } | Shape::Vector(_) => 0,
        }
    }

    fn view(&self) -> View {
        View::Everything
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some(format!("attention pooling, {} heads", self.heads))
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::Step { op: FusedOp::AttentionPool(*self), channels: 0, bias: false, open: false }
    }
}
