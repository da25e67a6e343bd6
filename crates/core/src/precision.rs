use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::OutOfRange;

/// The number format of a frozen network's activations and filters. Sums are always f32; so are
/// pooled features and everything after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats (default).
    #[default]
    F32,
    /// bfloat16: 8 significant bits. Faster than f32 on processors that multiply it at twice the
    /// rate of f32, slower on others: measure before you choose it.
    Bf16,
    /// IEEE half precision: 11 significant bits, up to 65,504. On CUDA only.
    F16,
    /// 32-bit floats that are rounded to 11 significant bits on the way into tensor cores. On CUDA
    /// with cuDNN only.
    Tf32,
}

impl Precision {
    /// The name, as used in settings and artefacts.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Tf32 => "tf32",
        }
    }

    /// Whether the CPU computes in it.
    pub fn is_for_cpu(self) -> bool {
        match self {
            Self::F32 | Self::Bf16 => true,
            Self::F16 | Self::Tf32 => false,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = OutOfRange;

    fn from_str(name: &str) -> Result<Self, OutOfRange> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            "tf32" => Ok(Self::Tf32),
            other => {
                let remedy = "use f32 or bf16, or f16 or tf32 on CUDA";
                Err(OutOfRange::new("precision", format!("'{other}'"), remedy))
            }
        }
    }
}
