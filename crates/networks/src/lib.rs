#![doc = include_str!("../README.md")]

mod clip;
mod convnext;
mod efficientnet_lite;
mod fastvit;
mod inverted_residual;
mod mobilenet_v2;
mod mobilenet_v4;
mod mobileone;
mod published;
mod repvgg;
mod resnet;
mod siglip;
mod text;
mod vgg;
mod vision_transformer;

pub use clip::*;
pub use convnext::*;
pub use efficientnet_lite::*;
pub use fastvit::*;
pub use mobilenet_v2::*;
pub use mobilenet_v4::*;
pub use mobileone::*;
pub use published::{Origin, Published};
pub use repvgg::*;
pub use resnet::*;
pub use siglip::*;
pub use text::{Cleaning, Reading, TextTower, Tokens};
pub use vgg::*;
pub use vision_transformer::*;

/// The networks of every family.
const FAMILIES: &[&[Published]] = &[
    clip::NETWORKS,
    convnext::NETWORKS,
    efficientnet_lite::NETWORKS,
    fastvit::NETWORKS,
    mobilenet_v2::NETWORKS,
    mobilenet_v4::NETWORKS,
    mobileone::NETWORKS,
    repvgg::NETWORKS,
    resnet::NETWORKS,
    siglip::NETWORKS,
    vgg::NETWORKS,
    vision_transformer::NETWORKS,
];

/// All networks whose weights are published, family by family.
pub fn published() -> impl Iterator<Item = &'static Published> {
    FAMILIES.iter().copied().flatten()
}
