use taper_core::Interpolation::Bicubic;
use taper_graph::{Graph, GraphBuilder, VisionTransformer};

use crate::published::{Origin, Published, imagenet, tensorflow};

const VIT: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, 2020, arXiv:2010.11929",
    source: "Google (augreg, ImageNet-21k), fine-tuned by Ross Wightman (timm)",
};

const REGISTERS: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Darcet et al., Vision Transformers Need Registers, 2023, arXiv:2309.16588",
    source: "Meta (LVD-142M), in timm's form",
};

const DINOV2: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, 2023, arXiv:2304.07193",
    source: "Meta (LVD-142M), in timm's form",
};

pub(crate) const NETWORKS: &[Published] = &[
    VIT.network(
        "vit-base",
        "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
        tensorflow(224, 0.9, Bicubic),
        vit_base,
    ),
    Published {
        classes: 0,
        ..DINOV2.network(
            "dinov2-small",
            "timm/vit_small_patch14_dinov2.lvd142m",
            imagenet(518, 1.0),
            dinov2_small,
        )
    },
    Published {
        classes: 0,
        ..REGISTERS.network(
            "dinov2-small-reg4",
            "timm/vit_small_patch14_reg4_dinov2.lvd142m",
            imagenet(518, 1.0),
            dinov2_small_reg4,
        )
    },
    Published {
        classes: 0,
        ..REGISTERS.network(
            "dinov2-base-reg4",
            "timm/vit_base_patch14_reg4_dinov2.lvd142m",
            imagenet(518, 1.0),
            dinov2_base_reg4,
        )
    },
];

/// ViT-Base with patches of 16 pixels (Dosovitskiy et al., *An image is worth 16 × 16 words*,
/// 2020). Features: 768, the class token after the last layer norm.
///
/// Names and numerics follow `timm/models/vision_transformer.py` (`vit_base_patch16_224`).
pub fn vit_base(classes: usize) -> Graph {
    let transformer = VisionTransformer::new(224, 16, [768, 12, 12]);
    vision_transformer("vit-base", transformer, classes)
}

/// DINOv2-Small with patches of 14 pixels (Oquab et al., *DINOv2: Learning robust visual features
/// without supervision*, 2023). Features: 384, the class token after the last layer norm. There is
/// no classifier: `classes` must be 0.
///
/// Names and numerics follow `timm/models/vision_transformer.py` (`vit_small_patch14_dinov2`).
pub fn dinov2_small(classes: usize) -> Graph {
    let transformer =
        VisionTransformer { layer_scale: true, ..VisionTransformer::new(518, 14, [384, 12, 6]) };
    vision_transformer("dinov2-small", transformer, classes)
}

/// DINOv2-Small with four registers (Darcet et al., *Vision transformers need registers*, 2023), as
/// [`dinov2_small`] otherwise.
///
/// timm keeps the registers in a tensor of their own, `reg_token`, and has positions for patches
/// alone; loaded, the registers follow the class token in `cls_token`, and positions before those
/// of the patches are zeros.
pub fn dinov2_small_reg4(classes: usize) -> Graph {
    registers("dinov2-small-reg4", [384, 12, 6], classes)
}

/// DINOv2-Base with four registers, as [`dinov2_small_reg4`]. Features: 768.
pub fn dinov2_base_reg4(classes: usize) -> Graph {
    registers("dinov2-base-reg4", [768, 12, 12], classes)
}

fn registers(name: &str, sizes: [usize; 3], classes: usize) -> Graph {
    let plain = VisionTransformer { layer_scale: true, ..VisionTransformer::new(518, 14, sizes) };
    vision_transformer(name, VisionTransformer { prefix: 5, ..plain }, classes)
}

fn vision_transformer(name: &str, transformer: VisionTransformer, classes: usize) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let features = transformer.add(&mut g, input);
    if classes > 0 {
        g.linear("head", features, transformer.width, classes);
    }
    g.finish(features)
}
