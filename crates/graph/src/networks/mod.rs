//! The networks that Taper knows as graphs. Layer names are those of timm, so that its weight files fit as they are.

mod efficientnet_lite;
mod inverted_residual;
mod mobilenet_v2;
mod resnet;
mod vgg;

pub use efficientnet_lite::{
    efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, efficientnet_lite3,
    efficientnet_lite4,
};
pub use mobilenet_v2::mobilenet_v2;
pub use resnet::{resnet18, resnet34, resnet50, resnet101, resnet152};
pub use vgg::{vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn};
