use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::Shape;

/// The network's picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// 3 for RGB.
    pub channels: usize,
}

impl Operation for Input {
    fn kind(&self) -> &'static str {
        "Input"
    }

    fn arity(&self) -> usize {
        0
    }

    fn output(&self, _inputs: &[Shape], picture: [usize; 2]) -> Result<Shape, String> {
        let [height, width] = picture;
        Ok(Shape::Map { height, width, channels: self.channels })
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.channels
    }

    fn form(&self, _inputs: &[Form]) -> Form {
        Form::Map
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
        Some("picture".into())
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::Source
    }
}
