use serde::{Deserialize, Serialize};

use super::operation::{
    Form, Fusing, Operation, Tensor, View, expect_channels, needs_map, product_tensors,
};
use crate::{FusedOp, Shape};

/// Scales each channel of a map by a number between 0 and 1 that two layers make of the means of
/// all channels: x · σ(W₂ · ReLU(W₁ · mean + b₁) + b₂).
///
/// Hu et al., *Squeeze-and-excitation networks*, 2018; `timm/layers/squeeze_excite.py`, whose
/// layers are 1 × 1 convolutions: `fc1.weight` `[reduced, channels, 1, 1]`, `fc1.bias`,
/// `fc2.weight` `[channels, reduced, 1, 1]`, `fc2.bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqueezeExcite {
    /// Channels of the map.
    pub channels: usize,
    /// Numbers between the two layers.
    pub reduced: usize,
}

impl Operation for SqueezeExcite {
    fn kind(&self) -> &'static str {
        "SqueezeExcite"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        expect_channels(inputs[0], self.channels)?;
        match inputs[0] {
            Shape::Map { .. } => Ok(inputs[0]),
            Shape::Tokens { .. } | Shape::Vector(_) => Err(needs_map(inputs[0])),
        }
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.channels
    }

    fn form(&self, _inputs: &[Form]) -> Form {
        Form::Map
    }

    fn tensors(&self, layer: &str) -> Vec<Tensor> {
        let &Self { channels, reduced } = self;
        let mut all = product_tensors(&format!("{layer}.fc1"), vec![reduced, channels, 1, 1], true);
        all.extend(product_tensors(&format!("{layer}.fc2"), vec![channels, reduced, 1, 1], true));
        all
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        (2 * output.elements() + 4 * self.channels * self.reduced) as u64
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        // The means, what is between the layers, the factors.
        2 * self.channels + self.reduced
    }

    fn view(&self) -> View {
        View::Everything
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some("squeeze and excitation".into())
    }

    fn follows(&self) -> bool {
        true
    }

    fn fusing(&self) -> Fusing {
        Fusing::Step { op: FusedOp::SqueezeExcite(*self), channels: 0, bias: false, open: true }
    }
}
