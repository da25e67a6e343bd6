use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::Shape;

/// Scales each vector, or each token, to one length: x · `scale` / ‖x‖. A vector of zeros stays
/// zeros, with gradients of 0; one with a NaN or an infinite value becomes NaN.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UnitLength {
    /// The length of the output, above 0.
    pub scale: f32,
}

impl Operation for UnitLength {
    fn kind(&self) -> &'static str {
        "UnitLength"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        match inputs[0] {
            Shape::Map { .. } => {
                Err(format!("needs a vector or tokens, gets {}", inputs[0].described()))
            }
            vectors => Ok(vectors),
        }
    }

    fn channels(&self, inputs: &[usize]) -> usize {
        inputs[0]
    }

    fn form(&self, inputs: &[Form]) -> Form {
        inputs[0]
    }

    fn tensors(&self, _layer: &str) -> Vec<Tensor> {
        Vec::new()
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        3 * output.elements() as u64
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Position
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some(format!("length {}", self.scale))
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::HeadOnly
    }
}
