use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::{ParameterKind, Shape};

/// The cosine between a vector and each row of `weight`, `[out_features, in_features]`, times
/// `scale` · `gamma`, where `gamma`, `[1]`, is learned and starts from 1. The cosine with a vector
/// of zeros is 0, with gradients of 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cosine {
    /// Length of the input vectors.
    pub in_features: usize,
    /// Length of the output vectors.
    pub out_features: usize,
    /// The factor before anything is learned, above 0.
    pub scale: f32,
}

impl Operation for Cosine {
    fn kind(&self) -> &'static str {
        "Cosine"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        match inputs[0] {
            Shape::Vector(n) if n == self.in_features => Ok(Shape::Vector(self.out_features)),
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
        let shape = vec![self.out_features, self.in_features];
        vec![
            (format!("{layer}.weight"), shape, ParameterKind::Weight),
            (format!("{layer}.gamma"), vec![1], ParameterKind::Scale),
        ]
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        (2 * output.elements() as u64 + 3) * self.in_features as u64
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        self.in_features
    }

    fn view(&self) -> View {
        View::Position
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some(format!("cosine, {}", self.out_features))
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::HeadOnly
    }
}
