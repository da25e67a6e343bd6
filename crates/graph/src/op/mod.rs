//! What layers do: one file per operation, listed here.

mod activation;
mod add;
mod attention;
mod attention_pool;
mod batch_norm;
mod class_token;
mod conv2d;
mod cosine;
mod dropout;
mod features;
mod global_avg_pool;
mod input;
mod layer_norm;
mod layer_scale;
mod linear;
mod max_pool;
mod operation;
mod padding;
mod patch_tokens;
mod shape;
mod squeeze_excite;
mod unit_length;

use serde::{Deserialize, Serialize};

pub use activation::Activation;
pub use attention::Attention;
pub use attention_pool::AttentionPool;
pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use cosine::Cosine;
pub use dropout::Dropout;
pub use features::Features;
pub use input::Input;
pub use layer_norm::LayerNorm;
pub use layer_scale::LayerScale;
pub use linear::Linear;
pub use max_pool::MaxPool;
pub(crate) use operation::{Form, Fusing, Operation, View};
pub use padding::Padding;
pub use patch_tokens::PatchTokens;
pub use shape::Shape;
pub use squeeze_excite::SqueezeExcite;
pub use unit_length::UnitLength;

/// What a layer does.
///
/// Every consumer of a graph matches this exhaustively, so that a new operation compiles only once
/// all of them handle it: `docs/extending.md`. Saved artefacts contain the variants' names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// The network's picture.
    Input(Input),
    /// The features that a head takes as input.
    Features(Features),
    /// A convolution.
    Conv2d(Conv2d),
    /// Batch normalisation over the channels.
    BatchNorm(BatchNorm),
    /// A function of each value.
    Activation(Activation),
    /// Maximum over a sliding window.
    MaxPool(MaxPool),
    /// Mean over all positions of a map: a vector of its channels.
    GlobalAvgPool,
    /// A fully connected layer over a vector, or over each token.
    Linear(Linear),
    /// Sum of two inputs of the same shape.
    Add,
    /// Normalisation over the channels of each position.
    LayerNorm(LayerNorm),
    /// Multiplies each channel by a learned number.
    LayerScale(LayerScale),
    /// Zeroes values at random in training.
    Dropout(Dropout),
    /// From a map of patches to tokens: learned tokens and positions.
    PatchTokens(PatchTokens),
    /// Scales each channel of a map by what follows from the means of all channels.
    SqueezeExcite(SqueezeExcite),
    /// Multi-head self-attention between its two linear layers.
    Attention(Attention),
    /// From tokens with scores and values to one token, weighted by the scores.
    AttentionPool(AttentionPool),
    /// The first token of a sequence, as a vector.
    ClassToken,
    /// Scales each vector to one length.
    UnitLength(UnitLength),
    /// The cosines with learned directions, times a learned factor.
    Cosine(Cosine),
}

impl Op {
    /// The only place that dispatches to the operations' common interface.
    pub(crate) fn operation(&self) -> &dyn Operation {
        match self {
            Op::Input(op) => op,
            Op::Features(op) => op,
            Op::Conv2d(op) => op,
            Op::BatchNorm(op) => op,
            Op::Activation(op) => op,
            Op::MaxPool(op) => op,
            Op::GlobalAvgPool => &global_avg_pool::GlobalAvgPool,
            Op::Linear(op) => op,
            Op::Add => &add::Add,
            Op::LayerNorm(op) => op,
            Op::LayerScale(op) => op,
            Op::Dropout(op) => op,
            Op::PatchTokens(op) => op,
            Op::SqueezeExcite(op) => op,
            Op::Attention(op) => op,
            Op::AttentionPool(op) => op,
            Op::ClassToken => &class_token::ClassToken,
            Op::UnitLength(op) => op,
            Op::Cosine(op) => op,
        }
    }

    /// The kind's usual name.
    pub fn kind(&self) -> &'static str {
        self.operation().kind()
    }

    /// How many inputs it takes.
    pub fn arity(&self) -> usize {
        self.operation().arity()
    }
}
