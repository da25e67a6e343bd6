#![doc = include_str!("../README.md")]

mod attention;
mod attention_pool;
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
mod squeeze_excite;
mod tokens;
mod weight;

pub use attention::AttentionGradient;
pub use attention_pool::AttentionPoolGradient;
pub use batch_norm::{Affine, BatchNorm, NormParameters, Normalised};
pub use data::DataGradient;
pub use elementwise::{activate, activation_gradient, add, multiply};
pub use fold::{Convolution, ConvolutionMut};
pub use layer_norm::LayerNormGradient;
pub use layer_scale::LayerScale;
pub use pool::PoolGradient;
pub use squeeze_excite::{SqueezeExciteGradient, SqueezeExciteTensors};
pub use tokens::{class_token_gradient, global_average_pool_gradient, patch_tokens_gradient};
pub use weight::{Gradients, WeightGradient};
