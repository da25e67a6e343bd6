use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::Shape;

/// The input of a head: already a vector of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// The backbone's feature width.
    pub width: usize,
}

impl Operation for Features {
    fn kind(&self) -> &'static str {
        "Features"
    }

    fn arity(&self) -> usize {
        0
    }

    fn output(&self, _inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        Ok(Shape::Vector(self.width))
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.width
    }

    fn form(&self, _inputs: &[Form]) -> Form {
        Form::Vector
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
        View::Everything
    }

    fn description(&self, _first: bool) -> Option<String> {
        None
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::Source
    }
}
