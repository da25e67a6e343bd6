use serde::{Deserialize, Serialize};

/// An element-wise activation function, as used in networks and fused by kernels into the layer
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x · Φ(x), with the exact Φ.
    Gelu,
}

impl Activation {
    /// The name, as a table of layers shows it: `ReLU`, `ReLU6` or `GELU`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "ReLU",
            Activation::Relu6 => "ReLU6",
            Activation::Gelu => "GELU",
        }
    }
}
