use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use taper_kernels::Kernels;

use crate::PlanError;

/// What activations and filters are stored in. Sums are f32 always; so are pooled features and
/// everything after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats (default).
    #[default]
    F32,
    /// bfloat16: 8 significant bits; twice the speed where the processor has `avx512_bf16`, none of
    /// it elsewhere.
    Bf16,
    /// IEEE half precision: 11 significant bits, up to 65,504. On CUDA only.
    F16,
    /// 32-bit floats that are rounded to 11 significant bits on the way into tensor cores. On CUDA
    /// with cuDNN only.
    Tf32,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Tf32 => "tf32",
        })
    }
}

impl FromStr for Precision {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            "tf32" => Ok(Self::Tf32),
            _ => Err(PlanError::Options(format!(
                "unknown precision {name:?}: expected f32 or bf16, or f16 or tf32 on CUDA"
            ))),
        }
    }
}

/// What a plan gives for each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Output {
    /// The features that a head starts from (default).
    #[default]
    Features,
    /// The logits of the network's own classifier.
    Logits,
}

/// How to compile a network.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Height and width of the pictures, in pixels.
    pub size: [usize; 2],
    /// Mean of each channel, of pixels in [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of pixels in [0, 1]; positive.
    pub std: Vec<f32>,
    /// f32 (default) or bf16.
    pub precision: Precision,
    /// Which instructions to use; default: the best that the processor has.
    pub kernels: Kernels,
    /// Features (default) or logits.
    pub output: Output,
    /// Pictures that one thread takes through the late layers together, at least 1; default: 4.
    /// It changes speed and memory, never the result.
    pub group: usize,
    /// Bytes of packed weights at the start of the network whose layers run picture by picture;
    /// default: 8 MiB. It changes speed and memory, never the result.
    pub early_bytes: usize,
}

impl PlanOptions {
    /// Defaults for pictures of this size, normalised as `(x / 255 − mean) / std`.
    #[must_use]
    pub fn new(size: [usize; 2], mean: impl Into<Vec<f32>>, std: impl Into<Vec<f32>>) -> Self {
        Self {
            size,
            mean: mean.into(),
            std: std.into(),
            precision: Precision::default(),
            kernels: Kernels::default(),
            output: Output::default(),
            group: 4,
            early_bytes: 8 << 20,
        }
    }

    /// With another precision.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// With other kernels.
    #[must_use]
    pub fn kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = kernels;
        self
    }

    /// With another output.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }
}
