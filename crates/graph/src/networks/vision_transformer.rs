use crate::{Graph, GraphBuilder, Op, VisionTransformer};

/// ViT-Base with patches of 16 pixels (Dosovitskiy et al., *An image is worth 16 × 16 words*, 2020). Features: 768, the class token
/// after the last layer norm.
///
/// Names and numerics follow `timm/models/vision_transformer.py` (`vit_base_patch16_224`).
pub fn vit_base(classes: usize) -> Graph {
    let transformer = VisionTransformer {
        image: 224,
        patch: 16,
        width: 768,
        depth: 12,
        heads: 12,
        layer_scale: false,
    };
    vision_transformer("vit-base", transformer, classes)
}

/// DINOv2-Small with patches of 14 pixels (Oquab et al., *DINOv2: Learning robust visual features without supervision*, 2023).
/// Features: 384, the class token after the last layer norm. There is no classifier: `classes` must be 0.
///
/// Names and numerics follow `timm/models/vision_transformer.py` (`vit_small_patch14_dinov2`).
pub fn dinov2_small(classes: usize) -> Graph {
    let transformer = VisionTransformer {
        image: 518,
        patch: 14,
        width: 384,
        depth: 12,
        heads: 6,
        layer_scale: true,
    };
    vision_transformer("dinov2-small", transformer, classes)
}

fn vision_transformer(name: &str, transformer: VisionTransformer, classes: usize) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let features = g.layer("transformer", Op::VisionTransformer(transformer), &[input]);
    if classes > 0 {
        g.linear("head", features, transformer.width, classes);
    }
    g.finish(features)
}
