use serde::Deserialize;
use taper_core::Interpolation::Bicubic;

use super::published::{Origin, Published, imagenet, tensorflow};
use crate::{
    Activation, Attention, Conv2d, Graph, GraphBuilder, LayerNorm, LayerScale, NodeId, Op, Padding,
    PatchTokens,
};

const VIT: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, 2020, arXiv:2010.11929",
    source: "Google (augreg, ImageNet-21k), fine-tuned by Ross Wightman (timm)",
};

const DINOV2: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, 2023, arXiv:2304.07193",
    source: "Meta (LVD-142M), in timm's form",
};

pub(super) const NETWORKS: &[Published] = &[
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
];

/// ViT-Base with patches of 16 pixels (Dosovitskiy et al., *An image is worth 16 × 16 words*,
/// 2020). Features: 768, the class token after the last layer norm.
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

/// DINOv2-Small with patches of 14 pixels (Oquab et al., *DINOv2: Learning robust visual features
/// without supervision*, 2023). Features: 384, the class token after the last layer norm. There is
/// no classifier: `classes` must be 0.
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
    let features = transformer.add(&mut g, input);
    if classes > 0 {
        g.linear("head", features, transformer.width, classes);
    }
    g.finish(features)
}

/// A vision transformer from the picture to its class token: a convolution to patches, class token
/// and learned positions, blocks of attention and an MLP (GELU, four times as wide), layer norms
/// with ε = 1e-6.
///
/// For pictures of sizes other than the training size, sides that are not multiples of a patch are
/// padded with zeros on the right and at the bottom, and the positions are resampled, as
/// `timm/models/vision_transformer.py` does with `dynamic_img_size` and `dynamic_img_pad`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct VisionTransformer {
    /// Side of the square picture in pixels for which there are learned positions.
    pub(crate) image: usize,
    /// Side of a patch in pixels.
    pub(crate) patch: usize,
    /// Numbers per token.
    pub(crate) width: usize,
    /// Blocks.
    pub(crate) depth: usize,
    /// Heads of the attention; `width` is a multiple.
    pub(crate) heads: usize,
    /// Whether each branch of a block is scaled by a learned number per channel.
    pub(crate) layer_scale: bool,
}

impl VisionTransformer {
    /// Adds all of its layers and returns the last one, whose output is the features.
    pub(crate) fn add(&self, g: &mut GraphBuilder, picture: NodeId) -> NodeId {
        let &Self { width, patch, .. } = self;
        let conv = Conv2d::new(3, width, patch).stride(patch).padding(Padding::End).bias();
        let x = g.conv("patch_embed.proj", picture, conv);
        let grid = [self.image / patch; 2];
        let mut x = g.layer("tokens", Op::PatchTokens(PatchTokens { grid, width }), &[x]);
        for block in 0..self.depth {
            x = self.add_block(g, &format!("blocks.{block}"), x);
        }
        // Only the class token is read, and the norm treats each token on its own.
        let x = g.layer("class_token", Op::ClassToken, &[x]);
        self.add_norm(g, "norm".into(), x)
    }

    fn add_block(&self, g: &mut GraphBuilder, name: &str, input: NodeId) -> NodeId {
        let &Self { width, heads, .. } = self;
        let x = self.add_norm(g, format!("{name}.norm1"), input);
        let x = g.linear(format!("{name}.attn.qkv"), x, width, 3 * width);
        let attention = Op::Attention(Attention { width, heads });
        let x = g.layer(format!("{name}.attn"), attention, &[x]);
        let x = g.linear(format!("{name}.attn.proj"), x, width, width);
        let x = self.add_scale(g, format!("{name}.ls1"), x);
        let input = g.layer(format!("{name}.add1"), Op::Add, &[x, input]);
        let x = self.add_norm(g, format!("{name}.norm2"), input);
        let x = g.linear(format!("{name}.mlp.fc1"), x, width, 4 * width);
        let x = g.activation(format!("{name}.mlp.act"), x, Activation::Gelu);
        let x = g.linear(format!("{name}.mlp.fc2"), x, 4 * width, width);
        let x = self.add_scale(g, format!("{name}.ls2"), x);
        g.layer(format!("{name}.add2"), Op::Add, &[x, input])
    }

    fn add_norm(&self, g: &mut GraphBuilder, name: String, input: NodeId) -> NodeId {
        g.layer(name, Op::LayerNorm(LayerNorm { channels: self.width, eps: 1e-6 }), &[input])
    }

    fn add_scale(&self, g: &mut GraphBuilder, name: String, input: NodeId) -> NodeId {
        if !self.layer_scale {
            return input;
        }
        g.layer(name, Op::LayerScale(LayerScale { channels: self.width }), &[input])
    }
}
