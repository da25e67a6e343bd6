use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View, expect_channels, norm_tensors};
use crate::{ParameterKind, Shape};

/// Batch normalisation over the channels: `weight`, `bias`, `running_mean`, `running_var`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Channels.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f64,
    /// The share of the batch's own statistics in an update of the running ones (torch's meaning;
    /// 1 − Keras's momentum).
    pub momentum: f64,
    /// Whether the running variance uses the unbiased estimate (torch) or the biased one (Keras).
    pub unbiased: bool,
}

impl Operation for BatchNorm {
    fn kind(&self) -> &'static str {
        "BatchNorm"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        expect_channels(inputs[0], self.channels)?;
        match inputs[0] {
            Shape::Map { .. } | Shape::Vector(_) => Ok(inputs[0]),
            Shape::Tokens { .. } => {
                Err(format!("needs a feature map or a vector, gets {}", inputs[0].described()))
            }
        }
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.channels
    }

    fn form(&self, inputs: &[Form]) -> Form {
        inputs[0]
    }

    fn tensors(&self, layer: &str) -> Vec<Tensor> {
        let mut all = norm_tensors(layer, self.channels);
        for (name, kind) in [
            ("running_mean", ParameterKind::RunningMean),
            ("running_var", ParameterKind::RunningVar),
        ] {
            all.push((format!("{layer}.{name}"), vec![self.channels], kind));
        }
        all
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        2 * output.elements() as u64
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Position
    }

    fn description(&self, first: bool) -> Option<String> {
        first.then(|| "batch norm".into())
    }

    fn follows(&self) -> bool {
        true
    }

    fn fusing(&self) -> Fusing {
        Fusing::BatchNorm { eps: self.eps }
    }
}
