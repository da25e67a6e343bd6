#![doc = include_str!("../README.md")]

mod activations;
mod cut;
mod diagram;
mod error;
mod fuse;
mod graph;
pub mod heads;
#[cfg(feature = "identity")]
mod identity;
mod op;
mod stored;
mod summary;
mod vision_transformer;
mod weights;

pub use activations::ActivationMemory;
pub use diagram::diagram;
pub use error::{Error, Result};
pub use fuse::{FusedLayer, FusedOp, THIN_CHANNELS, fuse};
pub use graph::{Graph, GraphBuilder, Node, NodeId, Parameter, ParameterKind};
#[cfg(feature = "identity")]
pub use identity::{features_identity, weights_identity};
pub use op::{
    Activation, Attention, AttentionPool, BatchNorm, Conv2d, Cosine, Dropout, Features, Input,
    LayerNorm, LayerScale, Linear, MaxPool, Op, Padding, PatchTokens, Shape, SqueezeExcite,
    UnitLength,
};
pub use summary::{LayerSummary, ParameterCount, Summary, grouped};
pub use vision_transformer::VisionTransformer;
pub use weights::{Mismatch, WeightSource, Weights, check_weights, check_weights_in};
