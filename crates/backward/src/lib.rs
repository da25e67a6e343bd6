#![doc = include_str!("../README.md")]

mod attention;
mod batch_norm;
mod checks;
mod data;
mod elementwise;
mod fold;
mod layer_norm;
mod layer_scale;
mod outer;
mod partial;
mod pool;
mod rows;
mod tokens;
mod weight;

pub use attention::AttentionGradient;
pub use batch_norm::{Affine, BatchNorm, NormParameters, Normalised};
pub use data::DataGradient;
pub use elementwise::{activate, activation_gradient, add, multiply};
pub use fold::{Convolution, ConvolutionMut};
pub use layer_norm::LayerNormGradient;
pub use layer_scale::LayerScale;
pub use pool::PoolGradient;
pub use tokens::{class_token_gradient, global_average_pool_gradient, patch_tokens_gradient};
pub use weight::{Gradients, WeightGradient};
