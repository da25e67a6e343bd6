use taper_core::{Activation, Fit, Interpolation, Preprocessing};
use taper_graph::{
    Attention, Conv2d, Graph, GraphBuilder, LayerScale, NodeId, Op, Padding, SqueezeExcite,
};

use crate::{
    clip,
    published::{Origin, Published, imagenet},
    text::{Reading, TextTower},
};

const FASTVIT: Origin = Origin {
    licence: "LicenseRef-fastvit",
    paper: "Vasu et al., FastViT: A Fast Hybrid Vision Transformer using Structural Reparameterization, 2023, arXiv:2303.14189",
    source: "Apple, in timm's form",
};

const MOBILECLIP: Origin = Origin {
    licence: "LicenseRef-apple-amlr",
    paper: "Vasu et al., MobileCLIP: Fast Image-Text Models through Multi-Modal Reinforced Training, 2023, arXiv:2311.17049",
    source: "Apple (DataCompDR-1B), for research only, in open_clip's form",
};

const MOBILECLIP2: Origin = Origin {
    licence: "LicenseRef-apple-amlr",
    paper: "Faghri et al., MobileCLIP2: Improving Multi-Modal Reinforced Training, 2025, arXiv:2508.20691",
    source: "Apple (DFNDR-2B), for research only, in open_clip's form",
};

pub(crate) const NETWORKS: &[Published] = &[
    FASTVIT.network("fastvit-t8", "timm/fastvit_t8.apple_in1k", imagenet(256, 0.9), fastvit_t8),
    FASTVIT.network("fastvit-t12", "timm/fastvit_t12.apple_in1k", imagenet(256, 0.9), fastvit_t12),
    FASTVIT.network("fastvit-s12", "timm/fastvit_s12.apple_in1k", imagenet(256, 0.9), fastvit_s12),
    FASTVIT.network(
        "fastvit-sa12",
        "timm/fastvit_sa12.apple_in1k",
        imagenet(256, 0.9),
        fastvit_sa12,
    ),
    FASTVIT.network(
        "fastvit-sa24",
        "timm/fastvit_sa24.apple_in1k",
        imagenet(256, 0.9),
        fastvit_sa24,
    ),
    FASTVIT.network(
        "fastvit-sa36",
        "timm/fastvit_sa36.apple_in1k",
        imagenet(256, 0.9),
        fastvit_sa36,
    ),
    FASTVIT.network(
        "fastvit-ma36",
        "timm/fastvit_ma36.apple_in1k",
        imagenet(256, 0.95),
        fastvit_ma36,
    ),
    with_text(MOBILECLIP.network(
        "mobileclip-s1",
        "apple/MobileCLIP-S1-OpenCLIP",
        PIXELS,
        mobileclip_s1,
    )),
    with_text(MOBILECLIP.network(
        "mobileclip-s2",
        "apple/MobileCLIP-S2-OpenCLIP",
        PIXELS,
        mobileclip_s2,
    )),
    with_text(MOBILECLIP2.network(
        "mobileclip2-s0",
        "timm/MobileCLIP2-S0-OpenCLIP",
        PIXELS,
        mobileclip2_s0,
    )),
];

/// The whole shorter side, bilinear, pixels from 0 to 1.
const PIXELS: Preprocessing = Preprocessing {
    size: 256,
    interpolation: Interpolation::Bilinear,
    fit: Fit::Crop { fraction: 1.0 },
    mean: [0.0; 3],
    std: [1.0; 3],
};

const fn with_text(network: Published) -> Published {
    let text = TextTower {
        reading: Reading::Marked { padding: 0 },
        ..clip::text(512, 8, Activation::Gelu)
    };
    Published { classes: 0, file: "open_clip_model.safetensors", text: Some(text), ..network }
}

/// FastViT-T8 (Vasu et al., *FastViT: A fast hybrid vision transformer using structural
/// reparameterization*, 2023) in its deployed form. Features: 768.
///
/// Names and numerics follow `timm/models/fastvit.py` (`fastvit_t8`) after `reparameterize`:
/// weights in their training form, with several branches per convolution, are fused on loading, and
/// so is the normalisation before attention.
pub fn fastvit_t8(classes: usize) -> Graph {
    FastVit { mlp: 3, ..FastVit::new([2, 2, 4, 2], [48, 96, 192, 384]) }
        .classifier("fastvit-t8", classes)
}

/// FastViT-T12: as [`fastvit_t8`], deeper and wider. Features: 1024.
pub fn fastvit_t12(classes: usize) -> Graph {
    FastVit { mlp: 3, ..FastVit::new([2, 2, 6, 2], WIDTHS) }.classifier("fastvit-t12", classes)
}

/// FastViT-S12: as [`fastvit_t12`] with wider blocks.
pub fn fastvit_s12(classes: usize) -> Graph {
    FastVit::new([2, 2, 6, 2], WIDTHS).classifier("fastvit-s12", classes)
}

/// FastViT-SA12: as [`fastvit_s12`] with attention in the last stage.
pub fn fastvit_sa12(classes: usize) -> Graph {
    FastVit { attention: true, ..FastVit::new([2, 2, 6, 2], WIDTHS) }
        .classifier("fastvit-sa12", classes)
}

/// FastViT-SA24: as [`fastvit_sa12`], deeper.
pub fn fastvit_sa24(classes: usize) -> Graph {
    FastVit { attention: true, ..FastVit::new([4, 4, 12, 4], WIDTHS) }
        .classifier("fastvit-sa24", classes)
}

/// FastViT-SA36: as [`fastvit_sa12`], deeper.
pub fn fastvit_sa36(classes: usize) -> Graph {
    FastVit { attention: true, ..FastVit::new([6, 6, 18, 6], WIDTHS) }
        .classifier("fastvit-sa36", classes)
}

/// FastViT-MA36: as [`fastvit_sa36`], wider. Features: 1216.
pub fn fastvit_ma36(classes: usize) -> Graph {
    FastVit { attention: true, ..FastVit::new([6, 6, 18, 6], [76, 152, 304, 608]) }
        .classifier("fastvit-ma36", classes)
}

/// MobileCLIP-S1's network of pictures (Vasu et al., *MobileCLIP*, 2023): MCi1, a FastViT.
/// Features: 512, the projected mean, whose cosine with the answer of the text tower is what it was
/// trained on. There is no classifier: `classes` must be 0.
///
/// Names and numerics follow `timm/models/fastvit.py` (`fastvit_mci1`).
pub fn mobileclip_s1(_classes: usize) -> Graph {
    FastVit::mobileclip([4, 12, 20, 4], WIDTHS).projected("mobileclip-s1", 512)
}

/// MobileCLIP-S2's network of pictures, MCi2: as [`mobileclip_s1`], deeper and wider.
pub fn mobileclip_s2(_classes: usize) -> Graph {
    FastVit::mobileclip([4, 12, 24, 4], [80, 160, 320, 640]).projected("mobileclip-s2", 512)
}

/// MobileCLIP2-S0's network of pictures, MCi0: as [`mobileclip_s1`], less deep (Faghri et al.,
/// *MobileCLIP2*, 2025).
pub fn mobileclip2_s0(_classes: usize) -> Graph {
    FastVit::mobileclip([2, 6, 10, 2], WIDTHS).projected("mobileclip2-s0", 512)
}

const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// A FastViT in its deployed form, as in `timm/models/fastvit.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastVit {
    /// Blocks of each stage.
    pub depths: [usize; 4],
    /// Channels of each stage.
    pub widths: [usize; 4],
    /// How many times wider the middle of an MLP is.
    pub mlp: usize,
    /// Whether the last stage has attention, behind a convolution for positions.
    pub attention: bool,
    /// Whether what halves the map ends with an activation, and in the last two stages with squeeze
    /// and excitation before it: MobileCLIP's form.
    pub gated: bool,
}

impl FastVit {
    /// One without attention, MLPs four times as wide.
    pub const fn new(depths: [usize; 4], widths: [usize; 4]) -> Self {
        Self { depths, widths, mlp: 4, attention: false, gated: false }
    }

    /// In the form of MobileCLIP.
    pub const fn mobileclip(depths: [usize; 4], widths: [usize; 4]) -> Self {
        Self { depths, widths, mlp: 3, attention: true, gated: true }
    }

    fn classifier(self, name: &str, classes: usize) -> Graph {
        let (mut g, input) = GraphBuilder::pictures(name, 3);
        let features = self.add(&mut g, input);
        g.linear("head.fc", features, 2 * self.widths[3], classes);
        g.finish(features)
    }

    /// The network whose features are a projection of the means.
    pub fn projected(self, name: &str, features: usize) -> Graph {
        let (mut g, input) = GraphBuilder::pictures(name, 3);
        let means = self.add(&mut g, input);
        let projected = g.linear("head.fc", means, 2 * self.widths[3], features);
        g.finish(projected)
    }

    /// Adds all of its layers and returns the last one, the means of the last map.
    pub fn add(&self, g: &mut GraphBuilder, picture: NodeId) -> NodeId {
        let stem = self.widths[0];
        let conv = Conv2d::new(3, stem, 3).stride(2).padding(Padding::Symmetric(1));
        let x = activated(g, "stem.0", picture, conv);
        let conv = Conv2d::new(stem, stem, 3).groups(stem).stride(2).padding(Padding::Symmetric(1));
        let x = activated(g, "stem.1", x, conv);
        let mut x = activated(g, "stem.2", x, Conv2d::new(stem, stem, 1));
        for stage in 0..4 {
            x = self.add_stage(g, stage, x);
        }
        let (last, wide) = (self.widths[3], 2 * self.widths[3]);
        let conv = Conv2d::new(last, wide, 3).groups(last).padding(Padding::Symmetric(1));
        let x = g.conv("final_conv.reparam_conv", x, conv.bias());
        let op = SqueezeExcite { channels: wide, reduced: wide / 16 };
        let x = g.layer("final_conv.se", Op::SqueezeExcite(op), &[x]);
        let x = g.activation("final_conv.act", x, Activation::Gelu);
        g.layer("head.global_pool", Op::GlobalAvgPool, &[x])
    }

    fn add_stage(&self, g: &mut GraphBuilder, stage: usize, input: NodeId) -> NodeId {
        let (width, name) = (self.widths[stage], format!("stages.{stage}"));
        let mut x = match stage {
            0 => input,
            _ => self.add_downsample(g, stage, input),
        };
        let with_attention = self.attention && stage == 3;
        if with_attention {
            let conv = Conv2d::new(width, width, 7).groups(width).padding(Padding::Symmetric(3));
            x = g.conv(format!("{name}.pos_emb.reparam_conv"), x, conv.bias());
        }
        for block in 0..self.depths[stage] {
            let name = format!("{name}.blocks.{block}");
            let scale = if with_attention {
                x = add_attention(g, &name, width, x);
                "layer_scale_2"
            } else {
                let conv =
                    Conv2d::new(width, width, 3).groups(width).padding(Padding::Symmetric(1));
                x = g.conv(format!("{name}.token_mixer.reparam_conv"), x, conv.bias());
                "layer_scale"
            };
            let y = self.add_mlp(g, &name, width, x);
            let op = Op::LayerScale(LayerScale { channels: width });
            let y = g.layer(format!("{name}.{scale}"), op, &[y]);
            x = g.layer(format!("{name}.add"), Op::Add, &[y, x]);
        }
        x
    }

    /// Half the sides, and the channels of the stage.
    fn add_downsample(&self, g: &mut GraphBuilder, stage: usize, input: NodeId) -> NodeId {
        let (before, width) = (self.widths[stage - 1], self.widths[stage]);
        let name = format!("stages.{stage}.downsample.proj");
        let conv = Conv2d::new(before, width, 7).groups(before).stride(2);
        let conv = conv.padding(Padding::Symmetric(3)).bias();
        let mut x = g.conv(format!("{name}.0.reparam_conv"), input, conv);
        if self.gated && stage >= 2 {
            let op = SqueezeExcite { channels: width, reduced: width / 4 };
            x = g.layer(format!("{name}.0.se"), Op::SqueezeExcite(op), &[x]);
        }
        if self.gated {
            x = g.activation(format!("{name}.0.act"), x, Activation::Gelu);
        }
        activated(g, &format!("{name}.1"), x, Conv2d::new(width, width, 1))
    }

    fn add_mlp(&self, g: &mut GraphBuilder, name: &str, width: usize, input: NodeId) -> NodeId {
        let wide = self.mlp * width;
        let conv = Conv2d::new(width, width, 7).groups(width).padding(Padding::Symmetric(3));
        let x = g.conv(format!("{name}.mlp.conv.conv"), input, conv);
        let x = g.batch_norm(format!("{name}.mlp.conv.bn"), x, width, 1e-5);
        let x = g.conv(format!("{name}.mlp.fc1"), x, Conv2d::new(width, wide, 1).bias());
        let x = g.activation(format!("{name}.mlp.act"), x, Activation::Gelu);
        g.conv(format!("{name}.mlp.fc2"), x, Conv2d::new(wide, width, 1).bias())
    }
}

fn activated(g: &mut GraphBuilder, name: &str, x: NodeId, conv: Conv2d) -> NodeId {
    let x = g.conv(format!("{name}.reparam_conv"), x, conv.bias());
    g.activation(format!("{name}.act"), x, Activation::Gelu)
}

/// Attention with heads of 32 numbers over all positions of a map.
fn add_attention(g: &mut GraphBuilder, name: &str, width: usize, input: NodeId) -> NodeId {
    let qkv = Conv2d::new(width, 3 * width, 1).bias();
    let x = g.conv(format!("{name}.token_mixer.qkv"), input, qkv);
    let op = Op::Attention(Attention { width, heads: width / 32 });
    let x = g.layer(format!("{name}.token_mixer"), op, &[x]);
    let x = g.conv(format!("{name}.token_mixer.proj"), x, Conv2d::new(width, width, 1).bias());
    let op = Op::LayerScale(LayerScale { channels: width });
    let x = g.layer(format!("{name}.layer_scale_1"), op, &[x]);
    g.layer(format!("{name}.add1"), Op::Add, &[x, input])
}
