use serde::{Deserialize, Serialize};

/// Zeros around a feature map before a window slides over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Padding {
    /// The same number of zeros on all four sides (torch's `padding=n`).
    Symmetric(usize),
    /// TensorFlow's `SAME`: the output is ⌈input / stride⌉; an odd zero goes to the bottom and the
    /// right.
    Same,
    /// As many as `Same`, all of them at the bottom and on the right: how timm fills up the last
    /// patches of a vision transformer (`dynamic_img_pad`).
    End,
}

impl Padding {
    /// Zeros (before, after) along one dimension of length `input`.
    pub fn amounts(
        self,
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> (usize, usize) {
        let reach = (kernel - 1) * dilation + 1;
        let total = || ((input.div_ceil(stride) - 1) * stride + reach).saturating_sub(input);
        match self {
            Padding::Symmetric(n) => (n, n),
            Padding::Same => (total() / 2, total() - total() / 2),
            Padding::End => (0, total()),
        }
    }

    /// The output's length along one dimension, or `None` if the window does not fit once.
    pub fn output(
        self,
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> Option<usize> {
        let (before, after) = self.amounts(input, kernel, stride, dilation);
        let reach = (kernel - 1) * dilation + 1;
        (input + before + after).checked_sub(reach).map(|slack| slack / stride + 1)
    }
}
