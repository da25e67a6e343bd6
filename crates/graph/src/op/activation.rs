pub use taper_core::Activation;

use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::Shape;

impl Operation for Activation {
    fn kind(&self) -> &'static str {
        self.name()
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
        Fusing::Activation(*self)
    }
}
