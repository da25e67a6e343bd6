use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View, expect_channels};
use crate::{ParameterKind, Shape};

/// Multiplies each channel by a learned number: `gamma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerScale {
    /// Channels.
    pub channels: usize,
}

impl Operation for LayerScale {
    fn kind(&self) -> &'static str {
        "LayerScale"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        expect_channels(inputs[0], self.channels).map(|()| inputs[0])
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.channels
    }

    fn form(&self, inputs: &[Form]) -> Form {
        inputs[0]
    }

    fn tensors(&self, layer: &str) -> Vec<Tensor> {
        vec![(format!("{layer}.gamma"), vec![self.channels], ParameterKind::Scale)]
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
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::LayerScale
    }
}
