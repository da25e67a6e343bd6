//! Which instructions the kernels use: as requested, and as found.

use std::fmt;
use std::str::FromStr;

/// Why there is no class of kernels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassError {
    /// The processor lacks the requested instructions.
    #[error("this processor has no {wanted} (best class here: {best})")]
    Unsupported {
        /// The requested class.
        wanted: &'static str,
        /// The best class of this processor.
        best: KernelClass,
    },
    /// No class of kernels has this name.
    #[error("unknown kernels {name:?}: expected auto, avx512, avx2 or portable")]
    Unknown {
        /// The name that was given.
        name: String,
    },
}

/// The request: which class of kernels to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Kernels {
    /// The best class that this processor has (default).
    #[default]
    Auto,
    /// AVX-512 (foundation instructions); bf16 in hardware where the processor has `avx512_bf16`.
    Avx512,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// Plain Rust, for every processor.
    Portable,
}

impl Kernels {
    /// Checks that this processor has the requested class.
    ///
    /// # Errors
    /// [`ClassError::Unsupported`] if a class is requested by name and the processor lacks it.
    /// `Auto` never fails.
    pub fn resolve(self) -> Result<KernelClass, ClassError> {
        let best = KernelClass::best();
        let unsupported = |wanted| Err(ClassError::Unsupported { wanted, best });
        match self {
            Self::Auto => Ok(best),
            Self::Avx512 if has_avx512() => Ok(KernelClass(Isa::Avx512 { bf16: has_bf16() })),
            Self::Avx512 => unsupported("avx512"),
            Self::Avx2 if has_avx2() => Ok(KernelClass(Isa::Avx2)),
            Self::Avx2 => unsupported("avx2"),
            Self::Portable => Ok(KernelClass(Isa::Portable)),
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

impl FromStr for Kernels {
    type Err = ClassError;

    fn from_str(name: &str) -> Result<Self, ClassError> {
        match name {
            "auto" => Ok(Self::Auto),
            "avx512" => Ok(Self::Avx512),
            "avx2" => Ok(Self::Avx2),
            "portable" => Ok(Self::Portable),
            _ => Err(ClassError::Unknown { name: name.to_owned() }),
        }
    }
}

/// A class of kernels that this processor is known to have.
///
/// It can be obtained only from [`Kernels::resolve`] and [`KernelClass::available`], which check
/// the processor: that is what makes the calls of vector instructions sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelClass(pub(crate) Isa);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Isa {
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Avx512 {
        bf16: bool,
    },
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Avx2,
    Portable,
}

impl KernelClass {
    /// The best class of this processor.
    #[must_use]
    pub fn best() -> Self {
        if has_avx512() {
            Self(Isa::Avx512 { bf16: has_bf16() })
        } else if has_avx2() {
            Self(Isa::Avx2)
        } else {
            Self(Isa::Portable)
        }
    }

    /// Every class that this processor has, best first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Kernels::Avx512, Kernels::Avx2, Kernels::Portable]
            .into_iter()
            .filter_map(|k| k.resolve().ok())
    }

    /// The name: `avx512`, `avx2` or `portable`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Avx512 { .. } => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }

    /// Whether bf16 products run in hardware (`vdpbf16ps`); without it they are emulated in f32, at
    /// f32 speed or less.
    #[must_use]
    pub fn has_bf16(self) -> bool {
        matches!(self.0, Isa::Avx512 { bf16: true })
    }

    /// The same class with bf16 products emulated in f32, to compare the two.
    #[must_use]
    pub fn without_bf16(self) -> Self {
        match self.0 {
            Isa::Avx512 { .. } => Self(Isa::Avx512 { bf16: false }),
            _ => self,
        }
    }
}

impl fmt::Display for KernelClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && has_avx2()
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
fn has_bf16() -> bool {
    has_avx512() && is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16() -> bool {
    false
}
