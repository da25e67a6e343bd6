use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::{FusedOp, Shape};

/// The first token of a sequence: a vision transformer's representation of the whole picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClassToken;

impl Operation for ClassToken {
    fn kind(&self) -> &'static str {
        "ClassToken"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        match inputs[0] {
            Shape::Tokens { width, .. } => Ok(Shape::Vector(width)),
            other => Err(format!("needs tokens, gets {}", other.described())),
        }
    }

    fn channels(&self, inputs: &[usize]) -> usize {
        inputs[0]
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
        View::Position
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some("class token".into())
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::Step { op: FusedOp::ClassToken, channels: 0, bias: false, open: false }
    }
}
