#![doc = include_str!("../README.md")]

mod clip;
mod convnext;
mod efficientnet_lite;
mod inverted_residual;
mod mobilenet_v2;
mod mobilenet_v4;
mod published;
mod repvgg;
mod resnet;
mod text;
mod vgg;
mod vision_transformer;

pub use clip::*;
pub use convnext::*;
pub use efficientnet_lite::*;
pub use mobilenet_v2::*;
pub use mobilenet_v4::*;
pub use published::{Origin, Published};
pub use repvgg::*;
pub use resnet::*;
pub use text::{Reading, TextTower, Tokens};
pub use vgg::*;
pub use vision_transformer::*;

/// The networks of every family.
const FAMILIES: &[&[Published]] = &[
    clip::NETWORKS,
    convnext::NETWORKS,
    efficientnet_lite::NETWORKS,
    mobilenet_v2::NETWORKS,
    mobilenet_v4::NETWORKS,
    repvgg::NETWORKS,
    resnet::NETWORKS,
    vgg::NETWORKS,
    vision_transformer::NETWORKS,
];

/// All networks whose weights are published, family by family.
pub fn published() -> impl Iterator<Item = &'static Published> {
    FAMILIES.iter().copied().flatten()
}
