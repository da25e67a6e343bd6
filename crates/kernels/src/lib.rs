#![doc = include_str!("../README.md")]

mod algorithm;
mod attention;
mod buffer;
mod class;
mod conv;
mod convert;
mod depthwise;
mod error;
mod gelu;
mod layer_norm;
mod matmul;
mod pixels;
mod pool;
mod shape;
mod simd;
mod softmax;
mod team;
mod tile;
mod tokens;
mod winograd;

pub use algorithm::Algorithm;
pub use attention::Attention;
pub use buffer::{AlignedBuffer, Bf16, Element};
pub use class::{KernelClass, Kernels};
pub use conv::{Epilogue, PackedFilter};
pub use convert::convert;
pub use error::KernelError;
pub use layer_norm::LayerNorm;
pub use matmul::{Matrix, matmul};
pub use pixels::PixelFilter;
pub use pool::{Pool, PoolKind, global_average_pool};
pub use shape::{Activation, Conv2dShape, Padding, Window};
pub use team::Team;
pub use tokens::{class_token, patch_tokens};
