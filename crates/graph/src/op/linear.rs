use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View, product_tensors};
use crate::{FusedOp, Shape};

/// A fully connected layer over a vector, or over each token: `weight`
/// `[out_features, in_features]`, `bias` `[out_features]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linear {
    /// Length of the input vectors.
    pub in_features: usize,
    /// Length of the output vectors.
    pub out_features: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Operation for Linear {
    fn kind(&self) -> &'static str {
        "Linear"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        let out = self.out_features;
        match inputs[0] {
            Shape::Vector(n) if n == self.in_features => Ok(Shape::Vector(out)),
            Shape::Tokens { count, width } if width == self.in_features => {
                Ok(Shape::Tokens { count, width: out })
            }
            other => {
                Err(format!("needs a vector of {}, gets {}", self.in_features, other.described()))
            }
        }
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.out_features
    }

    fn form(&self, inputs: &[Form]) -> Form {
        inputs[0]
    }

    fn tensors(&self, layer: &str) -> Vec<Tensor> {
        product_tensors(layer, vec![self.out_features, self.in_features], self.bias)
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        output.elements() as u64 * (2 * self.in_features as u64 + u64::from(self.bias))
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Position
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some(format!("linear, {}", self.out_features))
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        let &Self { in_features, out_features, bias } = self;
        let op = FusedOp::Linear { in_features, out_features };
        Fusing::Step { op, channels: out_features, bias, open: true }
    }
}
