use crate::{
    Activation, Attention, AttentionPool, Conv2d, GraphBuilder, LayerNorm, LayerScale, NodeId, Op,
    Padding, PatchTokens,
};

/// A vision transformer from the picture to its class token: a convolution to patches, class token
/// and learned positions, blocks of attention and an MLP (four times as wide). Without a class
/// token, attention pools all tokens, as in SigLIP.
///
/// Names and numerics follow `timm/models/vision_transformer.py`. For pictures of sizes other than
/// the training size, sides that are not multiples of a patch are padded with zeros on the right
/// and at the bottom, and the positions are resampled, as there with `dynamic_img_size` and
/// `dynamic_img_pad`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VisionTransformer {
    /// Side of the square picture in pixels for which there are learned positions.
    pub image: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Numbers per token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of the attention; `width` is a multiple.
    pub heads: usize,
    /// Learned tokens before the patches: the class token, and registers after it; 0 for attention
    /// pooling instead.
    pub prefix: usize,
    /// Whether each branch of a block is scaled by a learned number per channel.
    pub layer_scale: bool,
    /// Whether the tokens are normalised before the first block, and the convolution to patches
    /// has no bias, as in CLIP (`norm_pre`).
    pub pre_norm: bool,
    /// Of the MLPs.
    pub activation: Activation,
    /// Added to the variance by layer norms.
    pub eps: f64,
}

impl VisionTransformer {
    /// One as in Dosovitskiy et al. 2020: GELU, ε = 1e-6, neither scales nor a norm in front. The
    /// numbers are those of the fields of these names.
    pub const fn new(image: usize, patch: usize, [width, depth, heads]: [usize; 3]) -> Self {
        Self {
            image,
            patch,
            width,
            depth,
            heads,
            prefix: 1,
            layer_scale: false,
            pre_norm: false,
            activation: Activation::Gelu,
            eps: 1e-6,
        }
    }

    /// Adds all of its layers and returns the last one, whose output is the features.
    pub fn add(&self, g: &mut GraphBuilder, picture: NodeId) -> NodeId {
        let &Self { width, patch, .. } = self;
        let conv = Conv2d::new(3, width, patch).stride(patch).padding(Padding::End);
        let conv = if self.pre_norm { conv } else { conv.bias() };
        let x = g.conv("patch_embed.proj", picture, conv);
        let grid = [self.image / patch; 2];
        let tokens = PatchTokens { prefix: self.prefix, ..PatchTokens::new(grid, width) };
        let mut x = g.layer("tokens", Op::PatchTokens(tokens), &[x]);
        if self.pre_norm {
            x = self.add_norm(g, "norm_pre".into(), x);
        }
        for block in 0..self.depth {
            x = self.add_block(g, &format!("blocks.{block}"), x);
        }
        if self.prefix == 0 {
            return self.add_pool(g, x);
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
        let x = g.activation(format!("{name}.mlp.act"), x, self.activation);
        let x = g.linear(format!("{name}.mlp.fc2"), x, 4 * width, width);
        let x = self.add_scale(g, format!("{name}.ls2"), x);
        g.layer(format!("{name}.add2"), Op::Add, &[x, input])
    }

    /// `timm/layers/attention_pool.py`, with the query inside the linear layer: [`AttentionPool`].
    fn add_pool(&self, g: &mut GraphBuilder, input: NodeId) -> NodeId {
        let &Self { width, heads, .. } = self;
        let x = self.add_norm(g, "norm".into(), input);
        let x = g.linear("attn_pool.scores_values", x, width, heads + width);
        let pool = Op::AttentionPool(AttentionPool { width, heads });
        let x = g.layer("attn_pool", pool, &[x]);
        let input = g.linear("attn_pool.proj", x, width, width);
        let x = self.add_norm(g, "attn_pool.norm".into(), input);
        let x = g.linear("attn_pool.mlp.fc1", x, width, 4 * width);
        let x = g.activation("attn_pool.mlp.act", x, self.activation);
        let x = g.linear("attn_pool.mlp.fc2", x, 4 * width, width);
        let x = g.layer("attn_pool.add", Op::Add, &[x, input]);
        g.layer("pooled", Op::ClassToken, &[x])
    }

    fn add_norm(&self, g: &mut GraphBuilder, name: String, input: NodeId) -> NodeId {
        g.layer(name, Op::LayerNorm(LayerNorm { channels: self.width, eps: self.eps }), &[input])
    }

    fn add_scale(&self, g: &mut GraphBuilder, name: String, input: NodeId) -> NodeId {
        if !self.layer_scale {
            return input;
        }
        g.layer(name, Op::LayerScale(LayerScale { channels: self.width }), &[input])
    }
}
