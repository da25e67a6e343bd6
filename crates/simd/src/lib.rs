#![doc = include_str!("../README.md")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
mod buffer;
mod class;
mod dispatch;
mod instructions;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;

pub use bf16::Bf16;
pub use buffer::AlignedBuffer;
pub use class::{ClassError, KernelClass, Kernels};
pub use dispatch::{Tiling, dispatch};
pub use instructions::{Element, Simd, Task};
