#![doc = include_str!("../README.md")]

mod algorithm;
mod attention;
mod attention_pool;
mod conv;
mod convert;
mod depthwise;
mod ending;
mod error;
mod filter;
mod gelu;
mod layer_norm;
mod matmul;
mod pixels;
mod pool;
mod scratch;
mod shape;
mod softmax;
mod squeeze_excite;
mod team;
mod tile;
mod tokens;
mod winograd;

/// What kernels of other crates are built from: `taper-backward` has the gradients.
pub mod parts {
    pub use crate::ending::Ending;
    pub use crate::error::{bad_shape, check_len, product};
    pub use crate::gelu::{GELU_TANH, QUICK_GELU, normal, sigmoid, smooth};
    pub use crate::scratch::{table, table_len};
    pub use crate::softmax::{exp, softmax};
    pub use crate::team::SharedMut;
    pub use crate::tile::Tile;
    pub use crate::winograd::{G4, input_transform};
}

pub use algorithm::Algorithm;
pub use attention::Attention;
pub use attention_pool::AttentionPool;
pub use convert::convert;
pub use error::KernelError;
pub use filter::{Epilogue, PackedFilter};
pub use layer_norm::LayerNorm;
pub use matmul::{Matrix, matmul};
pub use pixels::PixelFilter;
pub use pool::{Pool, PoolKind, global_average_pool};
pub use shape::{Border, Conv2dShape, Window};
pub use squeeze_excite::SqueezeExcite;
pub use taper_core::Activation;
pub use taper_simd::{AlignedBuffer, Bf16, ClassError, Element, KernelClass, Kernels};
pub use team::Team;
pub use tokens::{class_token, patch_tokens};
