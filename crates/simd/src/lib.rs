#![doc = include_str!("../README.md")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
mod class;
mod instructions;
mod portable;

pub use buffer::{AlignedBuffer, Bf16, Element};
pub use class::{ClassError, KernelClass, Kernels};
pub use instructions::{Simd, Task, Tiling, dispatch};
