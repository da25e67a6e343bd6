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
    /// x · σ(1.702 x): CLIP's approximation of GELU.
    QuickGelu,
    /// x · σ(2 √(2 / π) (x + 0.044715 x³)), which is GELU's approximation by tanh: SigLIP's.
    GeluTanh,
}

impl Activation {
    /// The name, as a table of layers shows it: `ReLU`, `GELU` and so on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "ReLU",
            Activation::Relu6 => "ReLU6",
            Activation::Gelu => "GELU",
            Activation::QuickGelu => "QuickGELU",
            Activation::GeluTanh => "GELU (tanh)",
        }
    }

    /// Whether it only limits values, so that its derivative follows from its result; that of the
    /// others needs what it was given.
    #[must_use]
    pub fn is_clamp(self) -> bool {
        matches!(self, Activation::Relu | Activation::Relu6)
    }
}
