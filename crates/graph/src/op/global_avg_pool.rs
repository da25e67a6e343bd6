use super::operation::{Form, Fusing, Operation, Tensor, View, needs_map};
use crate::{FusedOp, Shape};

/// Mean over all positions of a map: a vector of its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GlobalAvgPool;

impl Operation for GlobalAvgPool {
    fn kind(&self) -> &'static str {
        "GlobalAvgPool"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        match inputs[0] {
            Shape::Map { channels, .. } => Ok(Shape::Vector(channels)),
            Shape::Tokens { .. } | Shape::Vector(_) => Err(needs_map(inputs[0])),
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

    fn flops(&self, inputs: &[Shape], _output: Shape) -> u64 {
        inputs.first().map_or(0, |shape| shape.elements() as u64)
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Everything
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some("mean over all positions".into())
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::Step { op: FusedOp::GlobalAvgPool, channels: 0, bias: false, open: false }
    }
}
