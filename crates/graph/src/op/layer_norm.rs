use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View, expect_channels, norm_tensors};
use crate::{FusedOp, Shape};

/// Normalisation over the channels of each position: `weight`, `bias`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayerNorm {
    /// Channels.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl Operation for LayerNorm {
    fn kind(&self) -> &'static str {
        "LayerNorm"
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
        norm_tensors(layer, self.channels)
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        // Mean, variance, scale and shift.
        8 * output.elements() as u64
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Position
    }

    fn description(&self, first: bool) -> Option<String> {
        first.then(|| "layer norm".into())
    }

    fn follows(&self) -> bool {
        true
    }

    fn fusing(&self) -> Fusing {
        let op = FusedOp::LayerNorm { channels: self.channels, eps: self.eps };
        Fusing::Step { op, channels: self.channels, bias: true, open: false }
    }
}
