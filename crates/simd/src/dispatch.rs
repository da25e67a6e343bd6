//! Selects the instructions for an element type and a class.

#[cfg(target_arch = "x86_64")]
use crate::class::Isa;
use crate::class::KernelClass;
use crate::instructions::{Element, Instructions, Simd, Task};
use crate::{Bf16, portable};
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512};

impl Element for f32 {
    const PER_LINE: usize = 16;
    const NAME: &'static str = "f32";

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Element for Bf16 {
    const PER_LINE: usize = 32;
    const NAME: &'static str = "bf16";

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        Bf16::from_f32(value)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        Bf16::to_f32(self)
    }
}

impl Instructions for f32 {
    #[cfg(target_arch = "x86_64")]
    type Avx512Bf16 = avx512::Avx512F32;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = avx512::Avx512F32;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = avx2::Avx2F32;
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    type Portable = portable::PortableF32;
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    type Portable = crate::wasm::WasmF32;
    const BF16: bool = false;
}

impl Instructions for Bf16 {
    #[cfg(target_arch = "x86_64")]
    type Avx512Bf16 = avx512::Avx512Bf16;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = avx512::Avx512SoftBf16;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = avx2::Avx2SoftBf16;
    type Portable = portable::PortableBf16;
    const BF16: bool = true;
}

/// Runs a task with the instructions of a class.
///
/// # Safety
/// The pointers in `task` are valid as the task describes.
pub unsafe fn dispatch<T: Task>(class: KernelClass, task: T) {
    // SAFETY: a `KernelClass` exists only for instructions that the processor has; the caller
    // answers for the pointers.
    unsafe {
        match class.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 { bf16 } => {
                if T::Elem::BF16 && bf16 {
                    <T::Elem as Instructions>::Avx512Bf16::enter(task);
                } else {
                    <T::Elem as Instructions>::Avx512::enter(task);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => <T::Elem as Instructions>::Avx2::enter(task),
            _ => <T::Elem as Instructions>::Portable::enter(task),
        }
    }
}

/// Lanes, register tile and channel step of the class for an element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// Values in one vector.
    pub lanes: usize,
    /// Pixels of the register tile of a convolution, with two vectors of output channels.
    pub mr: usize,
    /// Input channels that one dot product takes.
    pub step: usize,
}

impl Tiling {
    fn of<S: Simd>() -> Self {
        Self { lanes: S::LANES, mr: S::MR, step: S::STEP }
    }

    /// The tiling of a class for an element type.
    #[must_use]
    pub fn for_class<E: Element>(class: KernelClass) -> Self {
        match class.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 { bf16: true } => Self::of::<E::Avx512Bf16>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 { bf16: false } => Self::of::<E::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self::of::<E::Avx2>(),
            _ => Self::of::<E::Portable>(),
        }
    }
}
