use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::Shape;

/// In training, zeroes each value with probability `p` and divides the others by 1 − p.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// Probability of a zero, in [0, 1).
    pub p: f32,
}

impl Operation for Dropout {
    fn kind(&self) -> &'static str {
        "Dropout"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        Ok(inputs[0])
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

    fn flops(&self, _inputs: &[Shape], _output: Shape) -> u64 {
        0
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Position
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some(format!("dropout {}", self.p))
    }

    fn follows(&self) -> bool {
        true
    }

    fn fusing(&self) -> Fusing {
        Fusing::Nothing
    }
}
