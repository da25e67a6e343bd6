use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::Shape;

/// Sum of two inputs of the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Add;

impl Operation for Add {
    fn kind(&self) -> &'static str {
        "Add"
    }

    fn arity(&self) -> usize {
        2
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        if inputs[0] == inputs[1] {
            return Ok(inputs[0]);
        }
        Err(format!("cannot add {} and {}", inputs[0], inputs[1]))
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
        output.elements() as u64
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Position
    }

    fn description(&self, _first: bool) -> Option<String> {
        None
    }

    fn follows(&self) -> bool {
        true
    }

    fn fusing(&self) -> Fusing {
        Fusing::Add
    }
}
