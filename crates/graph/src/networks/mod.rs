//! The networks that Taper knows as graphs. Layer names are those of timm, so that its weight files fit as they are.

mod efficientnet_lite;
mod resnet;
mod vgg;

pub use efficientnet_lite::efficientnet_lite0;
pub use resnet::resnet50;
pub use vgg::vgg16;
