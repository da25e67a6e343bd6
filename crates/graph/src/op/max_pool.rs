use serde::{Deserialize, Serialize};

use super::conv2d::slide;
use super::operation::{Form, Fusing, Operation, Tensor, View};
use crate::{FusedOp, Padding, Shape};

/// A maximum over a window. The padding never wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// Side of the square window.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Padding at the border; the padded values never win.
    pub padding: Padding,
}

impl Operation for MaxPool {
    fn kind(&self) -> &'static str {
        "MaxPool"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        let window = (self.kernel, self.stride, 1);
        slide(inputs[0], window, self.padding, inputs[0].channels())
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
        output.elements() as u64 * (self.kernel * self.kernel) as u64
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Window { kernel: self.kernel, stride: self.stride, dilation: 1 }
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some(format!("max {0} × {0} / {1}", self.kernel, self.stride))
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        Fusing::Step { op: FusedOp::MaxPool(*self), channels: 0, bias: false, open: false }
    }
}
