//! The networks that Taper knows as graphs. Layer names are those of timm, so that its weight files
//! fit as they are.

mod convnext;
mod efficientnet_lite;
mod inverted_residual;
mod mobilenet_v2;
mod mobilenet_v4;
mod repvgg;
mod resnet;
mod vgg;
mod vision_transformer;

pub use convnext::{
    convnext_atto, convnext_base, convnext_femto, convnext_nano, convnext_pico, convnext_small,
    convnext_tiny,
};
pub use efficientnet_lite::{
    efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, efficientnet_lite3,
    efficientnet_lite4,
};
pub use mobilenet_v2::mobilenet_v2;
pub use mobilenet_v4::{mobilenet_v4_large, mobilenet_v4_medium, mobilenet_v4_small};
pub use repvgg::{repvgg_a0, repvgg_a1, repvgg_a2, repvgg_b0};
pub use resnet::{resnet18, resnet34, resnet50, resnet101, resnet152};
pub use vgg::{vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn};
pub(crate) use vision_transformer::VisionTransformer;
pub use vision_transformer::{dinov2_small, vit_base};
