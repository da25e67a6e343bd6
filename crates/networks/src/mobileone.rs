use taper_core::Interpolation::Bilinear;
use taper_core::Preprocessing;
use taper_graph::{Activation, Conv2d, Graph, GraphBuilder, NodeId, Op, Padding, SqueezeExcite};

use crate::published::{Origin, Published, imagenet};

const MOBILEONE: Origin = Origin {
    licence: "LicenseRef-mobileone",
    paper: "Vasu et al., MobileOne: An Improved One Millisecond Mobile Backbone, 2022, arXiv:2206.04040",
    source: "Apple, in timm's form",
};

pub(crate) const NETWORKS: &[Published] = &[
    MOBILEONE.network("mobileone-s0", "timm/mobileone_s0.apple_in1k", pixels(0.875), mobileone_s0),
    MOBILEONE.network("mobileone-s1", "timm/mobileone_s1.apple_in1k", pixels(0.9), mobileone_s1),
    MOBILEONE.network("mobileone-s2", "timm/mobileone_s2.apple_in1k", pixels(0.9), mobileone_s2),
    MOBILEONE.network("mobileone-s3", "timm/mobileone_s3.apple_in1k", pixels(0.9), mobileone_s3),
    MOBILEONE.network("mobileone-s4", "timm/mobileone_s4.apple_in1k", pixels(0.9), mobileone_s4),
];

const fn pixels(fraction: f32) -> Preprocessing {
    Preprocessing { interpolation: Bilinear, ..imagenet(224, fraction) }
}

/// MobileOne-S0 (Vasu et al., *MobileOne: An improved one millisecond mobile backbone*, 2022) in
/// its deployed form: depthwise and 1 × 1 convolutions with bias and ReLU. Features: 1024.
///
/// Names and numerics follow `timm/models/byobnet.py` (`mobileone_s0`) after `reparameterize`:
/// weights in their training form, with up to six branches per convolution, are fused on loading.
pub fn mobileone_s0(classes: usize) -> Graph {
    mobileone("mobileone-s0", 48, [48, 128, 256, 1024], [0, 0], classes)
}

/// MobileOne-S1: as [`mobileone_s0`], wider. Features: 1280.
pub fn mobileone_s1(classes: usize) -> Graph {
    mobileone("mobileone-s1", 64, [96, 192, 512, 1280], [0, 0], classes)
}

/// MobileOne-S2: as [`mobileone_s0`], wider. Features: 2048.
pub fn mobileone_s2(classes: usize) -> Graph {
    mobileone("mobileone-s2", 64, [96, 256, 640, 2048], [0, 0], classes)
}

/// MobileOne-S3: as [`mobileone_s0`], wider. Features: 2048.
pub fn mobileone_s3(classes: usize) -> Graph {
    mobileone("mobileone-s3", 64, [128, 320, 768, 2048], [0, 0], classes)
}

/// MobileOne-S4: as [`mobileone_s0`], wider, with squeeze and excitation in its last blocks.
/// Features: 2048.
pub fn mobileone_s4(classes: usize) -> Graph {
    mobileone("mobileone-s4", 64, [192, 448, 896, 2048], [5, 1], classes)
}

/// `widths`: channels of the stages; `squeezed`: how many of the last blocks of the third and
/// fourth stage have squeeze and excitation.
fn mobileone(
    name: &str,
    stem: usize,
    widths: [usize; 4],
    squeezed: [usize; 2],
    classes: usize,
) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let first = Conv2d::new(3, stem, 3).stride(2).padding(Padding::Symmetric(1));
    let mut x = block(&mut g, "stem", input, first, false);
    let mut channels = stem;
    for (stage, (depth, width)) in [2, 8, 10, 1].into_iter().zip(widths).enumerate() {
        let squeezed = stage.checked_sub(2).map_or(0, |late| squeezed[late]);
        for at in 0..depth {
            let stride = if at == 0 { 2 } else { 1 };
            let squeeze = at + squeezed >= depth;
            let conv = Conv2d::new(channels, channels, 3).groups(channels);
            let conv = conv.stride(stride).padding(Padding::Symmetric(1));
            x = block(&mut g, &format!("stages.{stage}.{}", 2 * at), x, conv, squeeze);
            let conv = Conv2d::new(channels, width, 1);
            x = block(&mut g, &format!("stages.{stage}.{}", 2 * at + 1), x, conv, squeeze);
            channels = width;
        }
    }
    let features = g.layer("head.global_pool", Op::GlobalAvgPool, &[x]);
    g.linear("head.fc", features, channels, classes);
    g.finish(features)
}

fn block(g: &mut GraphBuilder, name: &str, x: NodeId, conv: Conv2d, squeeze: bool) -> NodeId {
    let channels = conv.out_channels;
    let mut x = g.conv(format!("{name}.reparam_conv"), x, conv.bias());
    if squeeze {
        let op = SqueezeExcite { channels, reduced: channels / 16 };
        x = g.layer(format!("{name}.attn"), Op::SqueezeExcite(op), &[x]);
    }
    g.activation(format!("{name}.act"), x, Activation::Relu)
}
